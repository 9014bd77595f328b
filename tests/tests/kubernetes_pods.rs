//! The pods of a mesh's chart run: as Helm rendered them, by Podman's `kube play`, with images of a
//! registry, a CAS that appraises them, and mutual TLS between them.
//!
//! Podman 4.3 is no kubelet. What it cannot read is made up for, and each of that is here:
//!
//! | the document says | Podman 4.3 | what is done |
//! | --- | --- | --- |
//! | `volumes: [{name: run, emptyDir}]` | one volume `run` for all pods of the machine | the volume is called `NAME-run` in the document |
//! | `procMount: Unmasked` | nothing | its runtime is told so (`tests/kubernetes/runc-unmasked`) |
//! | `hostUsers: false` | a user namespace with few ids, and mounts whose ids are not mapped | its configuration says 65,536 ids, as Kubernetes does; each pod has a copy of the simulated platform's folder, which belongs to its root |
//! | Service | nothing | the name is the pod's alias in Podman's network |
//! | NetworkPolicy, ServiceAccount, probes on a schedule | nothing | nothing; the life probe is run by the test |

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mse_tests::example_mesh::ExampleMesh;
use mse_tests::kubernetes::{CANARY, printed, tool};
use mse_tests::node::Node;
use mse_tests::played::Podman;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
/// Where the chart has the simulated platform, on the node.
const PLATFORM: &str = "/var/lib/mse/platform";
/// What the chart gives a pod, and nothing more: `SYS_ADMIN`, `SETUID`, `SETGID`, `CHOWN`,
/// `DAC_OVERRIDE`, `KILL`.
const RIGHTS: u64 = 1 << 21 | 1 << 7 | 1 << 6 | 1 << 0 | 1 << 1 | 1 << 5;

/// The example mesh, applied, and Podman to run it.
struct Setting {
    podman: Podman,
    mesh: ExampleMesh,
    authority: PathBuf,
    rendered: String,
}

impl Setting {
    fn new() -> Self {
        let podman = Podman::on(Node::new());
        let mut mesh = ExampleMesh::with_cas_on(&podman.node().host(), CANARY);
        mesh.registry.serve_on(podman.node());
        mesh.build("counter");
        mesh.build("web");
        let chart = mesh.apply();
        let rendered = printed(tool("helm").args(["template", "shop"]).arg(chart));
        Self {
            podman,
            authority: mesh.authority(),
            mesh,
            rendered,
        }
    }

    /// Plays the documents of the services, in this order.
    fn play(&self, services: &[&str], change: impl Fn(String) -> String) {
        for (nth, service) in (0..).zip(services) {
            let platform = self.podman.copy_for(nth, &self.mesh.owner.platform());
            let documents = self.documents(service, &platform);
            self.podman.play(service, &change(documents));
        }
    }

    /// The documents of a service, but for what Podman cannot read.
    fn documents(&self, service: &str, platform: &Path) -> String {
        let of_service = format!("/charts/{service}/templates/");
        let documents: Vec<_> = self
            .rendered
            .split("\n---\n")
            .filter(|one| one.contains(&of_service))
            .collect();
        assert!(documents.len() > 3, "{}", self.rendered);
        let text = documents.join("\n---\n");
        let mut own = text;
        for (theirs, ours) in [
            ("name: run\n", format!("name: {service}-run\n")),
            (PLATFORM, platform.to_str().unwrap().to_owned()),
        ] {
            let changed = own.replace(theirs, &ours);
            assert_ne!(changed, own, "there is no `{theirs}` any more");
            own = changed;
        }
        own
    }

    fn container(service: &str) -> String {
        format!("{service}-pod-0-service")
    }

    /// What the probe of a service says.
    fn is_well(&self, service: &str) -> bool {
        let probe = ["healthcheck", "run", &Self::container(service)];
        self.podman.ran(&probe).status.success()
    }

    fn until_well(&self, service: &str) {
        self.until(service, || self.is_well(service));
    }

    fn until(&self, service: &str, reached: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached() {
            assert!(Instant::now() < deadline, "{}", self.logs(service));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn logs(&self, service: &str) -> String {
        let logs = self.podman.ran(&["logs", &Self::container(service)]);
        [logs.stdout, logs.stderr]
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .concat()
    }

    /// The answer of `web` to somebody who knows the mesh's authority.
    fn visit(&self) -> Option<String> {
        let to = format!("web:8080:{}:8080", self.podman.node().address());
        curl(&[
            "--cacert",
            self.authority.to_str().unwrap(),
            "--connect-to",
            &to,
            "https://web:8080/",
        ])
    }

    fn inspect(&self, service: &str) -> Value {
        let found = self.podman.done(&["inspect", &Self::container(service)]);
        serde_json::from_str(&found).unwrap()
    }

    /// A file as the first process of the container sees it.
    fn file_of(&self, service: &str, path: &str) -> String {
        let pid = self.inspect(service)[0]["State"]["Pid"].to_string();
        let path = path.replace("self", &pid);
        printed(self.podman.node().command("cat").arg(path))
    }
}

#[test]
fn pods_of_a_rendered_chart_are_attested_and_speak_mutual_tls() {
    let setting = Setting::new();
    assert!(!setting.rendered.contains(CANARY));
    one_that_is_told_something_else_gets_nothing(&setting);
    // As Kubernetes does: in whatever order.
    setting.play(&["web", "counter"], |documents| documents);
    setting.until_well("counter");
    setting.until_well("web");
    setting.until("web", || setting.visit().is_some());
    let answer = format!("{CANARY}, visitor 2\n");
    assert_eq!(setting.visit().as_deref(), Some(answer.as_str()));
    for service in ["counter", "web"] {
        let logs = setting.logs(service);
        assert!(logs.contains("asking the CAS"), "{logs}");
        assert!(logs.contains("mutual TLS"), "{logs}");
    }

    // Who has no certificate of the mesh gets nothing from the counter, in clear or with TLS.
    for url in ["http", "https"] {
        let url = format!("{url}://{}:8000/", setting.podman.node().address());
        assert_eq!(curl(&["--insecure", &url]), None, "{url}");
    }

    has_the_rights_of_the_chart(&setting);

    // Whoever looks at every container learns nothing.
    let all = setting.podman.done(&["ps", "--all", "--quiet"]);
    for id in all.split_whitespace() {
        assert!(!setting.podman.done(&["inspect", id]).contains(CANARY));
    }

    // A service that is killed is started again and attested anew.
    let begun = setting.inspect("counter")[0]["State"]["StartedAt"].clone();
    let pid = setting.inspect("counter")[0]["State"]["Pid"].to_string();
    printed(setting.podman.node().command("kill").args(["-KILL", &pid]));
    setting.until("counter", || {
        setting.inspect("counter")[0]["State"]["StartedAt"] != begun && setting.is_well("counter")
    });
    let answer = format!("{CANARY}, visitor 1\n");
    setting.until("web", || setting.visit().as_deref() == Some(&answer));

    // Nothing is left.
    for service in ["web", "counter"] {
        setting.podman.down(service);
    }
    for list in [
        ["ps", "--all", "--quiet"].as_slice(),
        &["pod", "ps", "--quiet"],
        &["volume", "ls", "--quiet"],
    ] {
        assert_eq!(setting.podman.done(list), "", "{list:?}");
    }
    let processes = printed(setting.podman.node().command("ps").args(["-eo", "args"]));
    assert!(!processes.contains("mse-"), "{processes}");
    assert_eq!(setting.visit(), None);
}

/// What the document says, and not more: the program of the container is in a user namespace, with
/// six rights over it, and cannot write to its root.
fn has_the_rights_of_the_chart(setting: &Setting) {
    let status = setting.file_of("web", "/proc/self/status");
    let rights = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .unwrap();
    let rights = u64::from_str_radix(rights.trim(), 16).unwrap();
    assert_eq!(rights, RIGHTS, "{status}");
    let ids = setting.file_of("web", "/proc/self/uid_map");
    let ids: Vec<u32> = ids
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    assert!(ids[0] == 0 && ids[1] != 0 && ids[2] == 65536, "{ids:?}");
    let mounts = setting.file_of("web", "/proc/self/mountinfo");
    let root = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[4] == "/")
        .unwrap();
    assert!(root[5].split(',').any(|option| option == "ro"), "{root:?}");
    let masks = |line: &&str| line.contains(" /proc/");
    assert_eq!(mounts.lines().filter(masks).count(), 0, "{mounts}");
}

/// What a pod is told is measured, but for where the CAS is.
fn one_that_is_told_something_else_gets_nothing(setting: &Setting) {
    setting.play(&["counter"], |documents| {
        let changed = documents.replace("value: \"1024\"", "value: \"1023\"");
        assert_ne!(changed, documents);
        changed
    });
    setting.until("counter", || {
        setting.logs("counter").contains("check `release` failed")
    });
    assert!(!setting.is_well("counter"));
    assert!(!setting.logs("counter").contains("the counter listens"));
    setting.podman.down("counter");
}

/// What is at a URL; `None` if nobody answers, or with an error.
fn curl(words: &[&str]) -> Option<String> {
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--max-time", "10"])
        .args(words)
        .output()
        .expect("`curl` is installed by ./x setup");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(answer)
}
