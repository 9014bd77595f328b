//! Where the stores of the tests are: an SQLite file, or a database of a PostgreSQL server that the
//! tests start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

use mse_cas::keys::RootKey;
use mse_cas::store::{Freshness, LeavesOnly, Location, Store, StoreError, Witness};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};

/// Runs the same test on each database.
macro_rules! on_both {
    ($($(#[$meta:meta])* $name:ident;)+) => {$(
        mod $name {
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name($crate::places::Place::sqlite()).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name($crate::places::Place::postgres().await).await;
            }
        }
    )+};
}
pub(crate) use on_both;

/// A place for one store, with its root key and a witness.
pub(crate) struct Place {
    pub(crate) location: Location,
    pub(crate) root: RootKey,
    pub(crate) folder: tempfile::TempDir,
    /// Keeps the server up.
    server: Option<Arc<Server>>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            location: Location::Sqlite(folder.path().join("cas.db")),
            root: RootKey::generate(),
            folder,
            server: None,
        }
    }

    pub(crate) async fn postgres() -> Self {
        Self::on(Server::shared()).await
    }

    /// On a server of its own.
    pub(crate) async fn on(server: Arc<Server>) -> Self {
        let database = server.new_database().await;
        Self {
            location: Location::Postgres(Box::new(server.options().database(&database))),
            root: RootKey::generate(),
            folder: tempfile::tempdir().unwrap(),
            server: Some(server),
        }
    }

    pub(crate) fn witness(&self) -> Witness {
        Witness::at(self.folder.path().join("witness"))
    }

    pub(crate) async fn create(&self) -> Store {
        let audit = Arc::new(LeavesOnly);
        Store::create(&self.location, &self.root, audit, Some(self.witness()))
            .await
            .unwrap()
    }

    pub(crate) async fn open(&self) -> Result<Store, StoreError> {
        self.open_with(Freshness::Witness(self.witness())).await
    }

    pub(crate) async fn open_with(&self, freshness: Freshness) -> Result<Store, StoreError> {
        Store::open(&self.location, &self.root, Arc::new(LeavesOnly), freshness).await
    }
}

impl Place {
    /// The database, for those who get at it behind the store's back.
    pub(crate) async fn raw(&self) -> Raw {
        match &self.location {
            Location::Sqlite(path) => {
                let options = SqliteConnectOptions::new().filename(path);
                Raw::Sqlite(SqlitePool::connect_with(options).await.unwrap())
            }
            Location::Postgres(options) => {
                Raw::Postgres(PgPool::connect_with((**options).clone()).await.unwrap())
            }
        }
    }

    /// The folder in which everything lies that the database wrote.
    pub(crate) fn data(&self) -> PathBuf {
        match &self.server {
            None => self.folder.path().to_owned(),
            Some(server) => server.data(),
        }
    }
}

/// A row of the table `cell`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawCell {
    pub(crate) kind: i64,
    pub(crate) key: Vec<u8>,
    pub(crate) sequence: i64,
    pub(crate) expires: Option<i64>,
    pub(crate) sealed: Vec<u8>,
}

/// A row of the tables `history` or `chain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawLink {
    pub(crate) sequence: i64,
    pub(crate) head: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
}

/// A database without a store around it.
pub(crate) enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

macro_rules! each {
    ($raw:expr, $pool:ident => $body:expr) => {
        match $raw {
            Raw::Sqlite($pool) => $body,
            Raw::Postgres($pool) => $body,
        }
    };
}

impl Raw {
    pub(crate) async fn cells(&self) -> Vec<RawCell> {
        type Row = (i64, Vec<u8>, i64, Option<i64>, Vec<u8>);
        const SQL: &str = "SELECT kind, key, sequence, expires, sealed FROM cell ORDER BY 1, 2";
        let rows: Vec<Row> =
            each!(self, pool => sqlx::query_as(SQL).fetch_all(pool).await.unwrap());
        let cell = |(kind, key, sequence, expires, sealed)| RawCell {
            kind,
            key,
            sequence,
            expires,
            sealed,
        };
        rows.into_iter().map(cell).collect()
    }

    pub(crate) async fn put(&self, cell: &RawCell) {
        self.delete(cell).await;
        const SQL: &str = "INSERT INTO cell (kind, key, sequence, expires, sealed)
             VALUES ($1, $2, $3, $4, $5)";
        each!(self, pool => {
            let query = sqlx::query(SQL).bind(cell.kind).bind(&cell.key).bind(cell.sequence);
            query.bind(cell.expires).bind(&cell.sealed).execute(pool).await.unwrap();
        });
    }

    pub(crate) async fn delete(&self, cell: &RawCell) {
        const SQL: &str = "DELETE FROM cell WHERE kind = $1 AND key = $2";
        each!(self, pool => {
            let query = sqlx::query(SQL).bind(cell.kind).bind(&cell.key);
            query.execute(pool).await.unwrap();
        });
    }

    /// The rows of `history`, and that of `chain` as the last.
    pub(crate) async fn links(&self) -> Vec<RawLink> {
        const SQL: &str = "SELECT sequence, head, sealed FROM history ORDER BY 1";
        const CHAIN: &str = "SELECT sequence, head, sealed FROM chain";
        type Row = (i64, Vec<u8>, Vec<u8>);
        let mut rows: Vec<Row> =
            each!(self, pool => sqlx::query_as(SQL).fetch_all(pool).await.unwrap());
        let chain: Vec<Row> =
            each!(self, pool => sqlx::query_as(CHAIN).fetch_all(pool).await.unwrap());
        rows.extend(chain);
        let link = |(sequence, head, sealed)| RawLink {
            sequence,
            head,
            sealed,
        };
        rows.into_iter().map(link).collect()
    }

    pub(crate) async fn put_history(&self, link: &RawLink) {
        self.delete_history(link.sequence).await;
        const SQL: &str = "INSERT INTO history (sequence, head, sealed) VALUES ($1, $2, $3)";
        each!(self, pool => {
            let query = sqlx::query(SQL).bind(link.sequence).bind(&link.head).bind(&link.sealed);
            query.execute(pool).await.unwrap();
        });
    }

    pub(crate) async fn delete_history(&self, sequence: i64) {
        const SQL: &str = "DELETE FROM history WHERE sequence = $1";
        each!(self, pool => {
            sqlx::query(SQL).bind(sequence).execute(pool).await.unwrap();
        });
    }

    pub(crate) async fn set_chain(&self, link: &RawLink) {
        const SQL: &str = "UPDATE chain SET sequence = $1, head = $2, sealed = $3";
        each!(self, pool => {
            let query = sqlx::query(SQL).bind(link.sequence).bind(&link.head).bind(&link.sealed);
            query.execute(pool).await.unwrap();
        });
    }

    pub(crate) async fn run(&self, sql: &'static str) {
        each!(self, pool => {
            sqlx::query(sql).execute(pool).await.unwrap();
        });
    }

    /// Puts everything back to a state that was read before.
    pub(crate) async fn put_back(&self, cells: &[RawCell], links: &[RawLink]) {
        self.run("DELETE FROM cell").await;
        self.run("DELETE FROM history").await;
        for cell in cells {
            self.put(cell).await;
        }
        let (chain, history) = links.split_last().unwrap();
        for link in history {
            self.put_history(link).await;
        }
        self.set_chain(chain).await;
    }
}

/// A PostgreSQL server in a folder of its own, reachable by a socket in it only.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    databases: AtomicU32,
}

impl Server {
    /// The server of this test process. It is stopped when no test uses it any more.
    pub(crate) fn shared() -> Arc<Self> {
        static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SERVER
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub(crate) fn start() -> Self {
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
        };
        let data = server.data();
        run(as_postgres("initdb").arg("--pgdata").arg(&data).args([
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--encoding=UTF8",
        ]));
        server.control("start");
        server
    }

    /// Stops it as a crash would.
    pub(crate) fn kill(&self) {
        run(as_postgres("pg_ctl")
            .arg("--pgdata")
            .arg(self.data())
            .args(["-m", "immediate", "stop"]));
    }

    pub(crate) fn control(&self, what: &str) {
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}' -c shared_buffers=16MB",
            self.folder.path().display()
        );
        run(as_postgres("pg_ctl")
            .arg("--pgdata")
            .arg(self.data())
            .args(["--wait", "--silent", "--log"])
            .arg(self.folder.path().join("log"))
            .args(["-o", &options, what]));
    }

    pub(crate) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(self.folder.path())
            .username("postgres")
            .database("postgres")
    }

    pub(crate) async fn new_database(&self) -> String {
        let name = format!("cas{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let pool = PgPool::connect_with(self.options()).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
        name
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = as_postgres("pg_ctl")
            .arg("--pgdata")
            .arg(self.data())
            .args(["-m", "immediate", "stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A program of PostgreSQL, which does not run as root.
fn as_postgres(program: &str) -> Command {
    let path = find(program).unwrap_or_else(|| {
        panic!("`{program}` is not on this machine: apt-get install postgresql (or ./x setup)")
    });
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(path);
    // Nobody but us may be able to enter the folder we stand in.
    command.current_dir("/tmp");
    command
}

/// Debian keeps the programs of the server out of the path.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<_> = versions.flatten().map(|entry| entry.path()).collect();
        versions.sort();
        folders.extend(
            versions
                .into_iter()
                .rev()
                .map(|version| version.join("bin")),
        );
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
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}
