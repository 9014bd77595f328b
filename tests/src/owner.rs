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

use crate::namespaces::Network;
use crate::platform::copy_tree;
use crate::programs::{program, repository};

/// A machine with an owner's folder, and a CAS of its own. Everything is gone with it.
pub struct Owner {
    folder: TempDir,
    network: Option<Network>,
    cas: Option<Child>,
    variables: Vec<(&'static str, String)>,
}

impl Owner {
    /// Without a CAS.
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            network: None,
            cas: None,
            variables: Vec::new(),
        }
    }

    /// The same on a machine of its own: what its commands start has a network that is nobody else's.
    /// `None` where [`Network::new`] makes none.
    pub fn in_network() -> Option<Self> {
        let network = Network::new(1)?;
        let mut owner = Self::new();
        owner.network = Some(network);
        Some(owner)
    }

    /// Runs a CAS of which it is the owner, and that believes this machine's simulated platform;
    /// attests it under the name `here`. `listen` is where: `127.0.0.1:0`. Gives its `host:port`.
    pub fn run_cas(&mut self, listen: &str) -> String {
        let running = self.start_cas(listen);
        let address = running["address"].as_str().unwrap().to_owned();
        self.attest(&address, &running);
        address
    }

    /// The same; it is known at `address`, which leads there, too.
    pub fn run_cas_at(&mut self, listen: &str, address: &str) {
        let running = self.start_cas(listen);
        self.attest(address, &running);
    }

    /// Gives what the CAS says of itself.
    fn start_cas(&mut self, listen: &str) -> Value {
        self.done(&["cas", "keygen"]);
        let mut command = self.command(&["cas", "run", "--data", "cas", "--create"]);
        command
            .args(["--listen", listen])
            .args(["--accept-simulated", "this-machine", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let running = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|event| event["event"] == "running")
            .expect("the CAS runs");
        self.cas = Some(child);
        running
    }

    fn attest(&self, address: &str, running: &Value) {
        let anchor = self.anchor();
        let mut words = vec!["cas", "attest", address, "--name", "here"];
        words.extend(["--pccs", running["pccs"].as_str().unwrap()]);
        words.extend(["--simulated", &anchor, "--accept-simulated", "this-machine"]);
        self.done(&words);
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

    /// Its network, if it has one of its own.
    ///
    /// # Panics
    ///
    /// If it has none.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("it was made `in_network`")
    }

    /// `mse` with these words, in its folder and its network.
    pub fn command(&self, words: &[&str]) -> Command {
        let mse = program("mse");
        let command = match &self.network {
            Some(network) => network.command(1, &mse),
            None => Command::new(mse),
        };
        self.in_folder(command, words)
    }

    /// `mse` with these words, in its folder and this machine's network, where there are package
    /// servers.
    fn command_outside(&self, words: &[&str]) -> Command {
        self.in_folder(Command::new(program("mse")), words)
    }

    fn in_folder(&self, mut command: Command, words: &[&str]) -> Command {
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
        done(self.command(words))
    }

    /// The same as JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.done(&words)).unwrap()
    }

    /// The same where there are package servers.
    pub fn json_outside(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&done(self.command_outside(&words))).unwrap()
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

/// What the command printed. It must have done what it was told.
fn done(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
