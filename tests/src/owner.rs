//! Who builds images and applies meshes: a folder with configuration, cache and documents of its own,
//! the real `mse` at the command line, and a CAS that it runs on this machine's simulated TEE.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::platform::copy_tree;
use crate::programs::{program, repository};

/// A machine with an owner's folder, and a CAS of its own. Everything is gone with it.
pub struct Owner {
    folder: TempDir,
    cas: Option<Child>,
    variables: Vec<(&'static str, String)>,
}

impl Owner {
    /// Without a CAS.
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            cas: None,
            variables: Vec::new(),
        }
    }

    /// Runs a CAS of which it is the owner, and that believes this machine's simulated platform;
    /// attests it under the name `here`. `listen` is where: `127.0.0.1:0`. Gives its `host:port`.
    pub fn run_cas(&mut self, listen: &str) -> String {
        self.done(&["cas", "keygen"]);
        let mut command = self.command(&["cas", "run", "--data", "cas", "--create"]);
        command
            .args(["--listen", listen])
            .args(["--accept-simulated", "this-machine", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let running = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|event| event["event"] == "running")
            .expect("the CAS runs");
        // It ends when nobody reads what it says.
        std::thread::spawn(move || lines.for_each(drop));
        self.cas = Some(child);
        let anchor = self.anchor();
        let address = running["address"].as_str().unwrap().to_owned();
        let mut attest = vec!["cas", "attest", &address];
        attest.extend([
            "--name",
            "here",
            "--pccs",
            running["pccs"].as_str().unwrap(),
        ]);
        attest.extend(["--simulated", &anchor, "--accept-simulated", "this-machine"]);
        self.done(&attest);
        address
    }

    /// What `mse` has in its environment from now on.
    pub fn set(&mut self, variable: &'static str, value: String) {
        self.variables.push((variable, value));
    }

    /// What this machine's simulated platform is trusted by.
    pub fn anchor(&self) -> String {
        let file = self.platform().join("trust-anchor.toml");
        file.to_str().unwrap().to_owned()
    }

    /// The folder of this machine's simulated platform.
    pub fn platform(&self) -> PathBuf {
        self.path("conf/simulated-platform")
    }

    /// A file of its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into its folder.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Copies what is in `folder` into its own.
    pub fn take(&self, folder: &Path) {
        copy_tree(folder, self.folder.path());
    }

    /// Copies `examples/mesh` into its folder, each file as `edited`.
    pub fn take_example(&self, edited: impl Fn(&str) -> String) {
        let example = repository().join("examples/mesh");
        for file in [
            "mesh.yaml",
            "counter/counter.py",
            "counter/service.yaml",
            "web/web.py",
            "web/service.yaml",
        ] {
            let text = fs::read_to_string(example.join(file)).unwrap();
            self.write(file, &edited(&text));
        }
    }

    /// `mse` with these words, in its folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("mse"));
        command
            .current_dir(self.folder.path())
            .env("MSE_CONF_PATH", self.path("conf"))
            .env("MSE_CACHE_PATH", self.path("cache"))
            .env("MSE_CAS", program("mse-cas"))
            .env_remove("MSE_SIMULATED")
            .env_remove("MSE_CAS_NAME")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .args(words);
        command
    }

    /// How `mse` with these words ended.
    pub fn ran(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What it printed. It must have done what it was told.
    pub fn done(&self, words: &[&str]) -> String {
        let output = self.ran(words);
        assert!(
            output.status.success(),
            "{words:?}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same as JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.done(&words)).unwrap()
    }
}

impl Default for Owner {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.ran(&["mesh", "down"]);
        if let Some(cas) = &mut self.cas {
            let _ = kill(Pid::from_raw(cas.id().cast_signed()), Signal::SIGTERM);
            let _ = cas.wait();
        }
    }
}
