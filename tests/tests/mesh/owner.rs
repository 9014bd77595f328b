//! A machine with an owner's folder, and a CAS of its own.

use std::fs;
use std::net::TcpListener;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use mse_tests::owner;
use serde_json::Value;

/// As the oldest manifests are written: a variable from the Meshfile, a password that the CAS makes.
pub(crate) const SERVICE: &str = r#"
apiVersion: scone/5.8
kind: genservice
environment:
  local:
    - name: SCONE_HEAP
      value: 760M
    - name: SCONE_ALLOW_DLOPEN
      value: 1
    - name: API_PASSWORD
      value: "$$SCONE::password$$"
  global:
    - name: API_USER
secrets:
  global:
  - name: password
    kind: ascii
    size: 10
build:
  name: python-hello-user
  kind: python
  to: registry.example:5050/team/python_hello_user:latest
  pwd: /python
  command: python3 hello.py
  copy:
    - hello.py
"#;

/// With everything that a Meshfile of that time gives up.
pub(crate) const MESH: &str = r#"
apiVersion: scone/5.8
kind: mesh
cas:
  - name: cas
    alias: ["image", "security", "access", "attestation"]
    cas_url: cas.example
    tolerance: "--only_for_testing-trust-any --only_for_testing-debug  --only_for_testing-ignore-signer -C -G -S"
policy:
  namespace: helloMesh
env:
  - name: API_USER
    value: myself
  - name: APP_SERVICE_PORT
    value: 443
services:
  - name: pythonapp
    image: registry.example:5050/team/python_hello_user:latest
"#;

pub(crate) const PROGRAM: &str = r#"
import hashlib, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
user, password = os.environ["API_USER"], os.environ["API_PASSWORD"]
print(f"hello {user}, {len(password)} characters", flush=True)
print(hashlib.sha256(password.encode()).hexdigest(), flush=True)
while True:
    time.sleep(1)
"#;

/// An owner with these documents in its folder.
pub(crate) struct Owner(owner::Owner);

impl Deref for Owner {
    type Target = owner::Owner;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Owner {
    /// Without a CAS.
    pub(crate) fn new() -> Self {
        let owner = owner::Owner::new();
        for (name, text) in [
            ("service.yaml", SERVICE),
            ("mesh.yaml", MESH),
            ("hello.py", PROGRAM),
        ] {
            owner.write(name, text);
        }
        Self(owner)
    }

    /// With a CAS that it owns, and that believes this machine's simulated platform.
    pub(crate) fn with_cas() -> Self {
        let mut owner = Self::new();
        owner.0.run_cas("127.0.0.1:0");
        owner
    }

    /// The configuration of somebody else, who knows the same CAS and has another key.
    pub(crate) fn carrier(&self) -> PathBuf {
        let conf = self.path("carrier");
        fs::create_dir_all(&conf).unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .args([self.path("conf/cas"), conf.join("cas")])
            .status();
        assert!(copied.unwrap().success());
        let made = self.ran_by(&conf, &["cas", "keygen"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        conf
    }

    pub(crate) fn ran_by(&self, conf: &Path, words: &[&str]) -> Output {
        let mut command = self.command(words);
        command.env("MSE_CONF_PATH", conf).output().unwrap()
    }

    /// Builds the image; gives its digest.
    pub(crate) fn built(&self) -> String {
        let built = self.json(&["apply", "-f", "service.yaml", "--no-push"]);
        built["digest"].as_str().unwrap().to_owned()
    }

    /// Applies the Meshfile; gives what became of its sessions.
    pub(crate) fn applied(&self) -> Vec<String> {
        let anchor = self.anchor();
        let applied = self.json(&[
            "apply",
            "-f",
            "mesh.yaml",
            "--cas",
            "here",
            "--allow-insecure-cas",
            "--no-pull",
            "--simulated",
            &anchor,
        ]);
        assert_eq!(applied["simulated"], true);
        assert_eq!(applied["tolerances"].as_array().unwrap().len(), 6);
        let sessions = applied["sessions"].as_array().unwrap().iter();
        sessions
            .map(|one| {
                format!(
                    "{} {}",
                    one["change"].as_str().unwrap(),
                    one["role"].as_str().unwrap()
                )
            })
            .collect()
    }

    pub(crate) fn up(&self) {
        let up = self.json(&["mesh", "up", "--detach", "--wait", "120"]);
        assert_eq!(up["simulated"], true);
        assert_eq!(up["services"][0]["standing"], "healthy");
    }

    pub(crate) fn service(&self) -> Value {
        self.json(&["mesh", "ps"])["services"][0].clone()
    }

    /// What the service has written, as soon as that is in it.
    pub(crate) fn logs_with(&self, what: impl Fn(&str) -> bool) -> String {
        self.logs_of("pythonapp", what)
    }

    pub(crate) fn logs_of(&self, service: &str, what: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let logs = self.done(&["mesh", "logs", service]);
            if what(&logs) {
                return logs;
            }
            assert!(Instant::now() < deadline, "still {logs}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the service is so.
    pub(crate) fn wait_for(&self, what: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let service = self.service();
            if what(&service) {
                return service;
            }
            assert!(Instant::now() < deadline, "still {service}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
