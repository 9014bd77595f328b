//! A user with a home of their own, a project, and a platform to deploy to.

mod answers;
mod enclave;
mod platform;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use answers::some_app;
pub(crate) use platform::{FakePlatform, Lie};

/// The bytes of the enclave program that everybody agrees on.
const ENCLAVE_PROGRAM: &[u8] = b"the enclave program";

/// What must never be seen outside this machine and the enclave.
pub(crate) const CODE_CANARY: &str = "code-canary-8d1f";
pub(crate) const SECRET_CANARY: &str = "secret-canary-77aa";

/// A user of `mse`, with folders that are nobody else's.
pub(crate) struct User {
    home: TempDir,
}

impl User {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("mse-enclave"), ENCLAVE_PROGRAM).unwrap();
        Self { home }
    }

    /// A user who is logged in at `platform` and has chosen to trust its simulation.
    pub(crate) fn of(platform: &FakePlatform) -> Self {
        let user = Self::new();
        user.log_in(platform);
        user.trust(platform);
        user
    }

    pub(crate) fn log_in(&self, platform: &FakePlatform) {
        let output = self.mse(&["login", "--server", &platform.url(), "--token", "one-time"]);
        assert_eq!(output.code, 0, "{output:?}");
    }

    pub(crate) fn trust(&self, platform: &FakePlatform) {
        let file = self.path("anchor.toml");
        fs::write(&file, platform.trust_anchor()).unwrap();
        let output = self.mse(&["trust", "add", "anchor.toml"]);
        assert_eq!(output.code, 0, "{output:?}");
    }

    /// Writes a project `hello` that can be deployed.
    pub(crate) fn project(&self) {
        self.write(
            "mse.toml",
            r#"name = "hello"
python_application = "app:app"
healthcheck_endpoint = "/health"
tests_cmd = ""
tests_requirements = []

[cloud]
code = "mse_src"
tests = "tests"
docker = "mse-flask:20261123000000"
project = "default"
hardware = "4g-eu-001"
secrets = "secrets.json"
"#,
        );
        self.write("mse_src/app.py", &format!("app = '{CODE_CANARY}'\n"));
        self.write("mse_src/sub/data.txt", "data");
        self.write("tests/test_app.py", "");
        self.write(
            "secrets.json",
            &format!(r#"{{"token": "{SECRET_CANARY}"}}"#),
        );
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.path("conf")
    }

    /// The folders of all contexts.
    pub(crate) fn contexts(&self) -> Vec<PathBuf> {
        fs::read_dir(self.conf().join("context"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    }

    /// Runs `mse` in the user's home.
    pub(crate) fn mse(&self, words: &[&str]) -> Ran {
        self.mse_with(words, &[])
    }

    /// Runs `mse` with more environment.
    pub(crate) fn mse_with(&self, words: &[&str], environment: &[(&str, &str)]) -> Ran {
        let output = self
            .command(words)
            .envs(environment.iter().copied())
            .output();
        Ran::of(&output.unwrap())
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(mse_binary());
        command
            .args(words)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TZ", "UTC")
            .env("MSE_CONF_PATH", self.conf())
            // Runtimes are made once for all tests.
            .env(
                "MSE_CACHE_PATH",
                concat!(env!("CARGO_TARGET_TMPDIR"), "/mse-cache"),
            )
            .env("MSE_ENCLAVE", self.path("mse-enclave"))
            .timeout(std::time::Duration::from_secs(120));
        command
    }

    /// Deploys the project and gives the result.
    pub(crate) fn deploy(&self) -> Value {
        let output = self.mse(&["deploy", "--json"]);
        assert_eq!(output.code, 0, "{output:?}");
        output.json()
    }
}

/// The `mse` that is tested.
pub(crate) fn mse_binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_mse"))
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().expect("an exit code"),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// The one document on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error document on standard error.
    #[track_caller]
    pub(crate) fn error(&self) -> Value {
        let value: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        value["error"].clone()
    }

    /// All three, for snapshots.
    pub(crate) fn shown(&self) -> String {
        format!(
            "exit code: {}\n--- stdout\n{}--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }

    #[track_caller]
    pub(crate) fn failed_with(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(words), "`{words}` is not in {self:?}");
    }
}

/// Whether `needle` is in any file below `folder`.
pub(crate) fn is_below(folder: &Path, needle: &[u8]) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).ok()? {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if let Some(found) = is_below(&path, needle) {
                return Some(found);
            }
        } else if fs::read(&path)
            .unwrap()
            .windows(needle.len())
            .any(|window| window == needle)
        {
            return Some(path);
        }
    }
    None
}
