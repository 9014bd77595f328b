//! The owner of an application at the command line, with a CAS and a registry of its own: from
//! service manifests to the chart of a mesh, by the real programs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::programs::{program, repository};
use crate::registry::ImageRegistry;

/// A machine with an owner's folder, a CAS that believes this machine's simulated platform, and a
/// registry.
pub struct MeshOwner {
    folder: TempDir,
    cas: Child,
    /// `host:port` of the CAS.
    pub cas_address: String,
    /// Where the images are.
    pub registry: ImageRegistry,
}

impl MeshOwner {
    /// The CAS listens on `host`.
    pub fn with_cas_on(host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        done(&mut command(folder.path(), &["cas", "keygen"]));
        let (cas, running) = start_cas(folder.path(), host);
        let owner = Self {
            folder,
            cas,
            cas_address: running["address"].as_str().unwrap().to_owned(),
            registry: ImageRegistry::start(),
        };
        let anchor = owner.platform().join("trust-anchor.toml");
        owner.done(&[
            "cas",
            "attest",
            &owner.cas_address,
            "--name",
            "here",
            "--pccs",
            running["pccs"].as_str().unwrap(),
            "--simulated",
            anchor.to_str().unwrap(),
            "--accept-simulated",
            "this-machine",
        ]);
        owner
    }

    /// The simulated platform.
    pub fn platform(&self) -> PathBuf {
        self.path("conf/simulated-platform")
    }

    /// A path in the owner's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Copies `examples/mesh` here, for this CAS and registry, with further replacements.
    pub fn take_example(&self, replacements: &[(&str, &str)]) {
        let example = repository().join("examples/mesh");
        for file in [
            "mesh.yaml",
            "counter/counter.py",
            "counter/service.yaml",
            "web/web.py",
            "web/service.yaml",
        ] {
            let text = fs::read_to_string(example.join(file)).unwrap();
            let mut text = text
                .replace("localhost:5000", &self.registry.address())
                .replace("localhost:18765", &self.cas_address);
            for (from, to) in replacements {
                text = text.replace(from, to);
            }
            let path = self.path(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    /// Builds the image of a service and pushes it.
    pub fn build(&self, service: &str) {
        let manifest = format!("{service}/service.yaml");
        self.done(&["apply", "-f", &manifest, "--plain-http"]);
    }

    /// Brings the policies to the CAS, and makes the chart.
    pub fn apply(&self, release: &str) -> PathBuf {
        self.done(&[
            "apply",
            "-f",
            "mesh.yaml",
            "--plain-http",
            "--release",
            release,
        ]);
        self.path("target/helm")
    }

    /// What `mse` with these words prints; it must succeed.
    pub fn done(&self, words: &[&str]) -> String {
        done(&mut command(self.folder.path(), words))
    }
}

impl Drop for MeshOwner {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.cas.id().cast_signed()), Signal::SIGTERM);
        let _ = self.cas.wait();
    }
}

fn start_cas(folder: &Path, host: &str) -> (Child, Value) {
    let listen = format!("{host}:0");
    let words = [
        "cas",
        "run",
        "--data",
        "cas",
        "--create",
        "--listen",
        &listen,
        "--accept-simulated",
        "this-machine",
        "--json",
    ];
    let mut child = command(folder, &words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = lines
        .by_ref()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
        .find(|event| event["event"] == "running")
        .expect("the CAS runs");
    // It ends when nobody reads what it says.
    std::thread::spawn(move || lines.for_each(drop));
    (child, running)
}

fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program("mse"));
    command
        .current_dir(folder)
        .env("MSE_CONF_PATH", folder.join("conf"))
        .env("MSE_CACHE_PATH", folder.join("cache"))
        .env("MSE_CAS", program("mse-cas"))
        .env_remove("MSE_SIMULATED")
        .env_remove("MSE_CAS_NAME")
        .stdin(Stdio::null())
        .args(words);
    command
}

fn done(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}\n{said}");
    String::from_utf8_lossy(&stdout).into_owned()
}
