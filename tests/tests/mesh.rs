//! From a service manifest and a Meshfile to a running, attested service, at the command line: the
//! real `mse`, `mse-cas` and `mse-enclave`, with images built from Debian's packages.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mse_tests::kubernetes::{documents, printed, tool};
use mse_tests::programs::{program, repository};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// As the oldest manifests are written: a variable from the Meshfile, a password that the CAS makes.
const SERVICE: &str = r#"
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
const MESH: &str = r#"
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

const PROGRAM: &str = r#"
import hashlib, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
user, password = os.environ["API_USER"], os.environ["API_PASSWORD"]
print(f"hello {user}, {len(password)} characters", flush=True)
print(hashlib.sha256(password.encode()).hexdigest(), flush=True)
while True:
    time.sleep(1)
"#;

/// A machine with an owner's folder, and a CAS of its own.
struct Owner {
    folder: TempDir,
    cas: Option<Child>,
}

impl Owner {
    /// Without a CAS.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("service.yaml", SERVICE),
            ("mesh.yaml", MESH),
            ("hello.py", PROGRAM),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder, cas: None }
    }

    /// With a CAS that it owns, and that believes this machine's simulated platform.
    fn with_cas() -> Self {
        let mut owner = Self::new();
        owner.done(&["cas", "keygen"]);
        let mut child = owner
            .command(&[
                "cas",
                "run",
                "--data",
                "cas",
                "--create",
                "--listen",
                "127.0.0.1:0",
                "--accept-simulated",
                "this-machine",
                "--json",
            ])
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
        owner.cas = Some(child);
        owner.done(&[
            "cas",
            "attest",
            running["address"].as_str().unwrap(),
            "--name",
            "here",
            "--pccs",
            running["pccs"].as_str().unwrap(),
            "--simulated",
            &owner.anchor(),
            "--accept-simulated",
            "this-machine",
        ]);
        owner
    }

    fn anchor(&self) -> String {
        let file = self.path("conf/simulated-platform/trust-anchor.toml");
        file.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("mse"));
        command
            .current_dir(self.folder.path())
            .env("MSE_CONF_PATH", self.path("conf"))
            .env("MSE_CACHE_PATH", self.path("cache"))
            .env("MSE_CAS", program("mse-cas"))
            .env_remove("MSE_SIMULATED")
            .env_remove("MSE_CAS_NAME")
            .stdin(Stdio::null())
            .args(words);
        command
    }

    fn ran(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn done(&self, words: &[&str]) -> String {
        let output = self.ran(words);
        assert!(
            output.status.success(),
            "{words:?}: {}\n{}",
            output.status,
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.done(&words)).unwrap()
    }

    /// Builds the image; gives its digest.
    fn built(&self) -> String {
        let built = self.json(&["apply", "-f", "service.yaml", "--no-push"]);
        built["digest"].as_str().unwrap().to_owned()
    }

    /// Applies the Meshfile; gives what became of its sessions.
    fn applied(&self) -> Vec<String> {
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

    fn up(&self) {
        let up = self.json(&["mesh", "up", "--detach", "--wait", "120"]);
        assert_eq!(up["simulated"], true);
        assert_eq!(up["services"][0]["standing"], "healthy");
    }

    fn service(&self) -> Value {
        self.json(&["mesh", "ps"])["services"][0].clone()
    }

    /// What the service has written, as soon as that is in it.
    fn logs_with(&self, what: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let logs = self.done(&["mesh", "logs", "pythonapp"]);
            if what(&logs) {
                return logs;
            }
            assert!(Instant::now() < deadline, "still {logs}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the service is so.
    fn wait_for(&self, what: impl Fn(&Value) -> bool) -> Value {
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

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.ran(&["mesh", "down"]);
        if let Some(cas) = &mut self.cas {
            let _ = kill(Pid::from_raw(cas.id().cast_signed()), Signal::SIGTERM);
            let _ = cas.wait();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn two_clean_machines_build_the_same_image() {
    let (one, other) = (Owner::new(), Owner::new());
    let digest = one.built();
    assert_eq!(one.built(), digest, "a second time on the same machine");
    assert_eq!(other.built(), digest, "on another machine");
    let changed = PROGRAM.replace("hello", "hallo");
    fs::write(other.path("hello.py"), changed).unwrap();
    assert_ne!(other.built(), digest);
}

#[test]
fn old_manifests_become_a_running_attested_service() {
    let owner = Owner::with_cas();
    owner.built();

    // What it gives up is called out, and not done unless told to.
    let refused = owner.ran(&["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    for part in ["NO PROTECTION", "any-enclave", "--allow-insecure-cas"] {
        assert!(text(&refused.stderr).contains(part), "{part}");
    }
    assert!(!owner.path("target").exists());

    assert_eq!(
        owner.applied(),
        [
            "create namespace",
            "create access",
            "create security",
            "create image",
            "create secrets",
            "create service",
        ]
    );
    assert!(owner.applied().iter().all(|one| one.starts_with("same ")));

    owner.up();
    owner.logs_with(|logs| logs.contains("hello myself, 10 characters"));
    let again = owner.ran(&["mesh", "up", "--detach"]);
    assert_eq!(again.status.code(), Some(12), "{}", text(&again.stderr));

    // One that is killed comes back, with the same password.
    let pid = owner.service()["pid"].as_i64().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    owner.wait_for(|one| one["standing"] == "healthy" && one["restarts"] == 1);
    let is_digest = |line: &&str| line.len() == 64;
    let logs = owner.logs_with(|logs| logs.lines().filter(is_digest).count() == 2);
    let passwords: Vec<_> = logs.lines().filter(is_digest).collect();
    assert_eq!(passwords[0], passwords[1]);

    owner.done(&["mesh", "down"]);
    assert_eq!(owner.service()["standing"], "stopped");
}

#[test]
fn an_applied_mesh_is_a_chart_that_helm_takes() {
    let owner = Owner::with_cas();
    owner.built();
    // What an earlier mesh had is gone.
    let old = owner.path("target/helm/charts/old");
    fs::create_dir_all(&old).unwrap();
    fs::write(owner.path("target/helm/.made-by-mse"), "").unwrap();
    owner.applied();
    assert!(!old.exists());
    let chart = owner.path("target/helm");
    printed(tool("helm").args(["lint", "--strict"]).arg(&chart));
    let objects = printed(tool("helm").args(["template", "mesh"]).arg(&chart));
    assert!(
        objects.contains("value: \"helloMesh/pythonapp\""),
        "{objects}"
    );
    assert!(objects.contains("port: 443"), "{objects}");
    assert!(objects.contains("mse.dev/simulated: \"true\""), "{objects}");
    // What the program is told.
    assert!(
        !objects.contains("myself") && !objects.contains("hello.py"),
        "{objects}"
    );
    assert!(!owner.path("target/manifests").exists());

    let anchor = owner.anchor();
    let mut apply = vec!["apply", "-f", "mesh.yaml", "-o", "yaml", "--cas", "here"];
    apply.extend(["--allow-insecure-cas", "--no-pull", "--simulated", &anchor]);
    owner.done(&apply);
    let objects = documents(&owner.path("target/manifests/pythonapp.yaml"));
    let kinds: Vec<_> = objects
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["NetworkPolicy", "ServiceAccount", "Service", "Deployment"]
    );
}

#[test]
fn a_new_version_runs_when_the_mesh_is_applied_and_a_changed_one_never() {
    let owner = Owner::with_cas();
    owner.built();
    owner.applied();
    let changed = PROGRAM.replace("hello {user}", "hello again {user}");
    fs::write(owner.path("hello.py"), changed).unwrap();
    owner.built();
    let changes = owner.applied();
    let updated: Vec<_> = changes
        .iter()
        .filter(|one| one.starts_with("update"))
        .collect();
    assert_eq!(updated, ["update image"], "{changes:?}");
    owner.up();
    owner.logs_with(|logs| logs.contains("hello again myself"));
    owner.done(&["mesh", "down"]);

    // Somebody changes the program on the machine.
    let file = find(&owner.path("cache/images/unpacked"), "hello.py");
    let mut spoilt = fs::read_to_string(&file).unwrap();
    spoilt.push_str("\nprint(password)\n");
    fs::write(&file, spoilt).unwrap();
    let refused = owner.ran(&["mesh", "up", "--detach", "--wait", "120"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    let service = owner.service();
    assert_eq!(service["standing"], "failed");
    let why = service["why"].as_str().unwrap();
    assert!(why.contains("check `tree` failed"), "{why}");
}

#[test]
fn two_services_speak_mutual_tls_and_survive_a_kill() {
    let owner = Owner::with_cas();
    let (counter, web) = (free_port(), free_port());
    let example = repository().join("examples/mesh");
    for file in [
        "mesh.yaml",
        "counter/counter.py",
        "counter/service.yaml",
        "web/web.py",
        "web/service.yaml",
    ] {
        let text = fs::read_to_string(example.join(file)).unwrap();
        let text = text.replace("8000", &counter.to_string());
        let text = text.replace("8080", &web.to_string());
        let path = owner.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for service in ["counter/service.yaml", "web/service.yaml"] {
        owner.done(&["apply", "-f", service, "--no-push"]);
    }
    let applied = owner.json(&["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"]);
    assert_eq!(applied["sessions"].as_array().unwrap().len(), 8);
    owner.json(&["mesh", "up", "--detach", "--wait", "120"]);
    let ca = owner.done(&["secret", "get", "shop/secrets", "mesh-ca"]);
    fs::write(owner.path("ca.pem"), ca).unwrap();
    let visit = || {
        let to = format!("web:{web}:127.0.0.1:{web}");
        let url = format!("https://web:{web}/");
        curl(&[
            "--cacert",
            owner.path("ca.pem").to_str().unwrap(),
            "--connect-to",
            &to,
            &url,
        ])
    };
    let answered = |what: &str| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while visit().as_deref() != Some(what) {
            assert!(Instant::now() < deadline, "{:?}", visit());
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    answered("Welcome, visitor 1\n");
    assert_eq!(visit().as_deref(), Some("Welcome, visitor 2\n"));

    // Nobody else speaks to the counter, in clear or with TLS.
    for url in ["http", "https"] {
        let url = format!("{url}://127.0.0.1:{counter}/");
        assert_eq!(curl(&["--insecure", &url]), None, "{url}");
    }

    let services = owner.json(&["mesh", "ps"])["services"].clone();
    let killed = services
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"] == "counter")
        .unwrap();
    let pid = killed["pid"].as_i64().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    answered("Welcome, visitor 1\n");
}

/// What is at a URL; `None` if nobody answers, or with an error.
fn curl(words: &[&str]) -> Option<String> {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--fail", "--max-time", "10"])
        .args(words);
    let output = command.output().expect("`curl` is installed by ./x setup");
    output.status.success().then(|| text(&output.stdout))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The file with this name below a folder.
fn find(folder: &Path, name: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|found| found == name) {
                return path;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    panic!("no `{name}` below `{}`", folder.display())
}
