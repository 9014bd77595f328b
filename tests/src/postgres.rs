//! A PostgreSQL server of a test's own: in a folder of its own, reachable by a socket in it, and in a
//! network namespace by TCP, too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mse_crypto::Zeroizing;
use mse_workload::launch::DatabaseUrl;

/// A server that runs until it is dropped.
pub struct Postgres {
    folder: tempfile::TempDir,
    databases: AtomicU32,
    /// The namespace that it runs in, and its address there.
    network: Option<(String, String)>,
}

impl Postgres {
    /// One for all tests of a process. It is stopped when no test uses it any more.
    pub fn shared() -> Arc<Self> {
        static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Reachable by its socket only.
    pub fn start() -> Self {
        Self::start_in(None)
    }

    /// In the network namespace `name`, listening on `address` for everybody in `10.0.0.0/8`.
    pub fn in_namespace(name: &str, address: &str) -> Self {
        Self::start_in(Some((name.to_owned(), address.to_owned())))
    }

    fn start_in(network: Option<(String, String)>) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("mse-pg-")
            .tempdir_in("/tmp")
            .unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(folder.path()));
        }
        let server = Self {
            folder,
            databases: AtomicU32::new(0),
            network,
        };
        run(server
            .program("initdb")
            .arg("--pgdata")
            .arg(server.data())
            .args([
                "--username=postgres",
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
            ]));
        let mut address = "";
        let mut rules = String::from(RULES);
        if let Some((_, own)) = &server.network {
            address = own;
            rules.push_str("host all all 10.0.0.0/8 trust\n");
        }
        std::fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
        let options = format!(
            "-c listen_addresses='{address}' -c unix_socket_directories='{}' -c shared_buffers=16MB",
            server.folder.path().display()
        );
        run(server
            .program("pg_ctl")
            .arg("--pgdata")
            .arg(server.data())
            .args(["--wait", "--silent", "--log"])
            .arg(server.folder.path().join("log"))
            .args(["-o", &options, "start"]));
        server
    }

    /// A new, empty database.
    pub fn database(&self) -> Database<'_> {
        let name = format!("cas{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        Database { server: self, name }
    }

    /// Stops it without warning, as a crash would, and starts it again.
    pub fn crash_and_restart(&self) {
        run(self
            .program("pg_ctl")
            .arg("--pgdata")
            .arg(self.data())
            .args(["-m", "immediate", "--wait", "--silent", "--log"])
            .arg(self.folder.path().join("log"))
            .arg("restart"));
    }

    fn sql(&self, database: &str, sql: &str) {
        run(self
            .client("psql", database)
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-c", sql]));
    }

    /// A client of the server, by its socket.
    fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--host").arg(self.folder.path()).args([
            "--username=postgres",
            "--dbname",
            database,
        ]);
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A program of the server, which does not run as root.
    fn program(&self, name: &str) -> Command {
        let path = find(name).unwrap_or_else(|| {
            panic!("`{name}` is not on this machine: apt-get install postgresql (or ./x setup)")
        });
        let mut words: Vec<std::ffi::OsString> = Vec::new();
        if let Some((namespace, _)) = &self.network {
            words.extend(["ip", "netns", "exec", namespace].map(Into::into));
        }
        if is_root() {
            words.extend(["runuser", "-u", "postgres", "--"].map(Into::into));
        }
        words.push(path.into());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        // Nobody but us may be able to enter the folder we stand in.
        command.current_dir("/tmp");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self
            .program("pg_ctl")
            .arg("--pgdata")
            .arg(self.data())
            .args(["-m", "immediate", "stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A database of a server.
pub struct Database<'a> {
    server: &'a Postgres,
    name: String,
}

impl Database<'_> {
    /// Runs statements as the superuser.
    pub fn sql(&self, sql: &str) {
        self.server.sql(&self.name, sql);
    }

    /// The URL for another user, who logs in with a password.
    pub fn text_for(&self, user: &str, password: &str) -> String {
        self.text()
            .replace("postgres@", &format!("{user}:{password}@"))
    }

    /// What a CAS is told.
    pub fn url(&self) -> DatabaseUrl {
        DatabaseUrl(Zeroizing::new(self.text()))
    }

    /// The same as text: by TCP if the server is in a namespace.
    pub fn text(&self) -> String {
        match &self.server.network {
            Some((_, address)) => format!("postgres://postgres@{address}/{}", self.name),
            None => format!(
                "postgres://postgres@localhost/{}?host={}",
                self.name,
                self.server.folder.path().display()
            ),
        }
    }

    /// All of it, as `pg_dump` writes it.
    pub fn dump(&self) -> Vec<u8> {
        let output = self
            .server
            .client("pg_dump", &self.name)
            .args(["--clean", "--if-exists"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Puts back what [`Database::dump`] gave, in one transaction, while whoever uses it goes on.
    pub fn restore(&self, dump: &[u8]) {
        let file = self.server.folder.path().join("dump.sql");
        std::fs::write(&file, dump).unwrap();
        run(self
            .server
            .client("psql", &self.name)
            .args(["-q", "-1", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&file));
    }
}

/// The superuser of the tests is believed; other users have passwords.
const RULES: &str = "local all postgres trust\nlocal all all scram-sha-256\n";

/// Debian keeps the programs of the server out of the path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|entry| entry.path().join("bin")));
    }
    folders
        .into_iter()
        .map(|folder| folder.join(program))
        .find(|path| path.exists())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    Path::new("/proc/self").metadata().unwrap().uid() == 0
}

fn run(command: &mut Command) {
    // A server that goes on in the background must not hold our end of a pipe.
    let status = command
        .stdout(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
