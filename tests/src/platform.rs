//! A real `mse-server` and real `mse` users, for tests that go the whole way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::node::Node;
use crate::programs::{image_cache, program};

/// How long a step of a test may take before the test is stuck.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// An embedded platform in a folder of its own. Killed with everything when dropped.
pub struct Server {
    process: Child,
    /// What it said when it was ready.
    pub ready: Ready,
    dir: TempDir,
    options: Vec<String>,
    /// The URL of its database, if it is not in its folder.
    database: Option<String>,
}

/// The ready file.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Ready {
    /// `host:port` of the API.
    pub api: String,
    /// `host:port` of the gateway.
    pub gateway: String,
    /// One-time login token.
    pub token: String,
    /// File of the simulated platform's trust anchor.
    pub trust_anchor: PathBuf,
    /// Its process.
    pub pid: u32,
}

impl Server {
    /// With the defaults and three free slots of hardware.
    pub fn start() -> Self {
        Self::start_with(&["--hardware", "4g-eu-001=8:4096:2"])
    }

    /// With more options.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_on(options, None)
    }

    /// With a PostgreSQL database.
    pub fn start_on_database(url: &str) -> Self {
        let hardware = ["--hardware", "4g-eu-001=8:4096:2"];
        Self::start_on(&hardware, Some(url.to_owned()))
    }

    fn start_on(options: &[&str], database: Option<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let any = "127.0.0.1:0";
        let (process, ready) = spawn_at(dir.path(), &options, database.as_deref(), any, any);
        Self {
            process,
            ready,
            dir,
            options,
            database,
        }
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Everything it wrote to its own log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    /// `http://host:port` of the API.
    pub fn url(&self) -> String {
        format!("http://{}", self.ready.api)
    }

    /// `kill -9`, as a crash would.
    pub fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The code with which it ends by itself.
    pub fn ended(&mut self) -> Option<i32> {
        let status = until("mse-server has ended", || self.process.try_wait().unwrap());
        status.code()
    }

    /// Starts it again on the same data and the same ports.
    pub fn restart(&mut self) {
        let _ = fs::remove_file(self.dir.path().join("ready.json"));
        let (process, ready) = spawn_at(
            self.dir.path(),
            &self.options,
            self.database.as_deref(),
            &self.ready.api,
            &self.ready.gateway,
        );
        self.process = process;
        self.ready = ready;
    }

    /// Processes whose program lies in this platform's data: its enclaves and their sandboxes.
    pub fn enclave_processes(&self) -> Vec<u32> {
        let data = self.data();
        let Ok(processes) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        processes
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                fs::read_link(format!("/proc/{pid}/exe"))
                    .is_ok_and(|program| program.starts_with(&data))
            })
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- log of mse-server\n{}", self.log());
        }
    }
}

fn spawn_at(
    dir: &Path,
    options: &[String],
    database: Option<&str>,
    api: &str,
    gateway: &str,
) -> (Child, Ready) {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("server.log"))
        .unwrap();
    let ready_file = dir.join("ready.json");
    let mut process = Command::new(program("mse-server"))
        .args(["--listen", api, "--gateway", gateway, "--app-ports", "0"])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .arg("--image-cache")
        .arg(image_cache())
        .arg("--ready-file")
        .arg(&ready_file)
        .args(options)
        .envs(database.map(|url| ("MSE_SERVER_DATABASE", url)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut ready: Ready = until("mse-server is ready", || {
        if let Ok(Some(status)) = process.try_wait() {
            let log = fs::read_to_string(dir.join("server.log")).unwrap_or_default();
            panic!("mse-server ended with {status}:\n{log}");
        }
        fs::read(&ready_file)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
    });
    ready.api = ready.api.trim_start_matches("http://").to_owned();
    (process, ready)
}

/// Somebody with a configuration folder of their own who runs `mse`.
pub struct Person {
    home: TempDir,
    trust: Option<PathBuf>,
}

impl Person {
    /// Somebody who has nothing yet.
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            trust: None,
        }
    }

    /// Somebody who trusts `server`'s simulated platform on purpose.
    pub fn trusting(server: &Server) -> Self {
        let person = Self {
            trust: Some(server.ready.trust_anchor.clone()),
            ..Self::new()
        };
        person
            .run(&["trust", "add", path(&server.ready.trust_anchor)])
            .succeeded();
        person
    }

    /// The owner account of `server`, logged in and trusting its simulated platform.
    pub fn owner(server: &Server) -> Self {
        let person = Self::trusting(server);
        person.log_in(server);
        person
    }

    /// Logs in with the server's one-time token.
    pub fn log_in(&self, server: &Server) {
        self.run(&[
            "login",
            "--server",
            &server.url(),
            "--token",
            &server.ready.token,
        ])
        .succeeded();
    }

    /// The folder with everything `mse` keeps.
    pub fn conf(&self) -> PathBuf {
        self.home.path().join("conf")
    }

    /// A folder to work in.
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// A command line of `mse` for this person, ready to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.prepared(Command::new(program("mse")), arguments)
    }

    /// The same of an `mse` that runs somewhere else.
    pub fn prepared(&self, mut command: Command, arguments: &[&str]) -> Command {
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("MSE_CONF_PATH", self.conf())
            .env("TMPDIR", self.home.path())
            .current_dir(self.home.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `mse` on a node, with these variables, to its end.
    pub fn run_on(&self, node: &Node, variables: &[(&str, &Path)], arguments: &[&str]) -> Ran {
        let mut command = self.prepared(node.command(program("mse")), arguments);
        for (name, value) in variables {
            command.env(name, value);
        }
        Ran::of(arguments, &command.output().unwrap())
    }

    /// Runs `mse` with `arguments` to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran::of(arguments, &output)
    }

    /// Copies an example and gives the path of its `mse.toml`.
    pub fn take_example(&self, name: &str) -> PathBuf {
        let target = self.home.path().join(name);
        copy_tree(
            &crate::programs::repository().join("examples").join(name),
            &target,
        );
        target.join("mse.toml")
    }

    /// Copies the example `helloworld`, with `canary` in its code and in a secret.
    pub fn take_app_with(&self, canary: &str) -> PathBuf {
        let manifest = self.take_example("helloworld");
        let code = manifest.with_file_name("mse_src").join("app.py");
        let text = format!("# {canary}\n{}", fs::read_to_string(&code).unwrap());
        fs::write(&code, text).unwrap();
        let secrets = manifest.with_file_name("secrets.json");
        fs::write(secrets, format!("{{\"password\": \"{canary}\"}}")).unwrap();
        let text = fs::read_to_string(&manifest).unwrap();
        let text = text.replace("[cloud]\n", "[cloud]\nsecrets = \"secrets.json\"\n");
        fs::write(&manifest, text).unwrap();
        manifest
    }

    /// Deploys the project of `manifest` and gives what `--json` says.
    pub fn deploy(&self, manifest: &Path, options: &[&str]) -> Value {
        let mut arguments = vec!["deploy", "-y", "--json", "--path", path(manifest)];
        arguments.extend_from_slice(options);
        self.run(&arguments).succeeded().json()
    }

    /// Whether this person trusts some simulated platform.
    pub fn trusts(&self) -> bool {
        self.trust.is_some()
    }
}

impl Default for Person {
    fn default() -> Self {
        Self::new()
    }
}

/// What became of a command.
#[derive(Debug)]
pub struct Ran {
    /// What was run.
    pub command: String,
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    fn of(arguments: &[&str], output: &Output) -> Self {
        Self {
            command: format!("mse {}", arguments.join(" ")),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// It must have ended with 0.
    pub fn succeeded(self) -> Self {
        self.ended_with(0)
    }

    /// It must have ended with `code`.
    pub fn ended_with(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "`{}`\n--- stdout\n{}\n--- stderr\n{}",
            self.command, self.stdout, self.stderr
        );
        self
    }

    /// Standard error must say `what`.
    pub fn saying(self, what: &str) -> Self {
        assert!(
            self.stderr.to_lowercase().contains(&what.to_lowercase()),
            "`{}` does not say `{what}`:\n{}",
            self.command,
            self.stderr
        );
        self
    }

    /// Standard output as one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("`{}`: {error}\n{}", self.command, self.stdout))
    }
}

/// Looks until `look` finds something. A test that waits for ever says for what.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Copies a folder with everything in it.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A path as an argument.
pub fn path(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}
