//! A mesh on a real node: the chart is installed by Helm on a real API server, its pods are started by
//! a real kubelet with containerd, attested, and speak mutual TLS under the names of their Services.
//!
//! What the node is: `tests/kubernetes/node`. Building its programs takes minutes, so this is ignored but
//! for `./x kubernetes`, which builds them, and `./x test` where they were built before.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mse_tests::cluster::Cluster;
use mse_tests::example_mesh::ExampleMesh;
use mse_tests::kubernetes::{CANARY, printed};
use mse_tests::node::Node;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(300);
/// Where the chart has the simulated platform, on the node.
const PLATFORM: &str = "/var/lib/mse/platform";
/// Everything that a chart of ours makes, and what controllers and the kubelet make of it.
const KINDS: &str = "deployments,replicasets,pods,services,serviceaccounts,networkpolicies,poddisruptionbudgets,persistentvolumeclaims,secrets,configmaps,endpoints,jobs,events,nodes";

/// The example mesh, applied, and a cluster of one node.
struct Setting {
    // The programs of the node end before what they stand on.
    node: Node,
    cluster: Cluster,
    mesh: ExampleMesh,
    authority: PathBuf,
    chart: PathBuf,
}

impl Setting {
    fn new() -> Self {
        let node = Node::new();
        let cluster = Cluster::start_on(&node.host());
        let mut mesh = ExampleMesh::with_cas_on(&node.host(), CANARY);
        mesh.registry.serve_on(&node);
        mesh.build("counter");
        mesh.build("web");
        let chart = mesh.apply();
        cluster.join(&node);
        // The node's own `/var/lib`, which is empty.
        printed(node.command("mkdir").arg("/var/lib/mse"));
        let mut copied = node.command("cp");
        copied
            .arg("--archive")
            .arg(mesh.owner.platform())
            .arg(PLATFORM);
        printed(&mut copied);
        Self {
            node,
            cluster,
            authority: mesh.authority(),
            mesh,
            chart,
        }
    }

    fn helm(&self, task: &str, settings: &[&str]) -> String {
        let words = [
            task,
            "r1",
            "--namespace",
            "shop",
            "--wait",
            "--timeout",
            "5m",
        ];
        let mut helm = self.cluster.helm(&words, Some(&self.chart));
        // The node has as many cores as this machine, and each pod may use one.
        for service in ["counter", "web"] {
            helm.args(["--set", &format!("{service}.resources.requests.cpu=50m")]);
        }
        for setting in settings {
            helm.args(["--set", setting]);
        }
        printed(&mut helm)
    }

    fn kubectl(&self, words: &[&str]) -> String {
        let words = [&["--namespace", "shop"], words].concat();
        printed(&mut self.cluster.kubectl(&words))
    }

    /// The pods of a service that run and do not end, as `kubectl get pods` shows them.
    fn pods(&self, service: &str) -> Vec<Value> {
        let selector = format!("app.kubernetes.io/name={service}");
        let pods = self.cluster.objects("pods", &selector);
        let stays = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_null();
        pods.into_iter().filter(stays).collect()
    }

    fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached() {
            assert!(
                Instant::now() < deadline,
                "{what}: {}",
                self.kubectl(&["describe", "pods"])
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The answer of `web` under the address of its Service.
    fn visit(&self) -> Option<String> {
        let services = self
            .cluster
            .objects("services", "app.kubernetes.io/name=web");
        let address = services.first()?["spec"]["clusterIP"].as_str()?.to_owned();
        self.curl(&[
            "--cacert",
            self.authority.to_str().unwrap(),
            "--connect-to",
            &format!("web:8080:{address}:8080"),
            "https://web:8080/",
        ])
    }

    /// What is at a URL, for somebody on the node; `None` if nobody answers, or with an error.
    fn curl(&self, words: &[&str]) -> Option<String> {
        let output = self
            .node
            .command("curl")
            .args(["--silent", "--fail", "--max-time", "10"])
            .args(words)
            .output()
            .expect("`curl` is installed by ./x setup");
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(answer)
    }

    /// What runs on the node.
    fn processes(&self) -> String {
        printed(self.node.command("ps").args(["-eo", "pid,args"]))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        self.node.end();
        self.cluster.clean();
    }
}

#[test]
#[ignore = "takes a Kubernetes with a node: ./x kubernetes"]
fn the_pods_of_a_chart_run_on_a_real_node() {
    let setting = Setting::new();
    setting.kubectl(&["create", "namespace", "shop"]);
    // Returns when all of them are ready.
    setting.helm("install", &[]);
    let shown = setting.kubectl(&["get", "pods"]);
    assert_eq!(shown.matches("1/1").count(), 2, "{shown}");
    let visitor = |number: u32| format!("{CANARY}, visitor {number}\n");
    setting.until("a first visit", || setting.visit().is_some());
    assert_eq!(setting.visit(), Some(visitor(2)));

    for service in ["counter", "web"] {
        let logs = setting.kubectl(&["logs", &format!("deployment/{service}")]);
        assert!(logs.contains("the CAS released"), "{logs}");
        assert!(logs.contains("mutual TLS"), "{logs}");
        let probe = ["exec", &format!("deployment/{service}"), "--"];
        setting.kubectl(&[&probe[..], &["/mse/bin/mse-launch", "healthz"]].concat());
    }
    nobody_else_speaks_to_the_counter(&setting);
    no_object_holds_a_canary(&setting);

    // More instances, and others in the place of all: nobody is without an answer afterwards.
    setting.helm("upgrade", &["web.replicaCount=2"]);
    assert_eq!(setting.pods("web").len(), 2);
    let before = names(&setting.pods("web"));
    setting.kubectl(&["rollout", "restart", "deployment/web"]);
    setting.kubectl(&["rollout", "status", "deployment/web", "--timeout=5m"]);
    setting.until("the old pods end", || {
        let now = names(&setting.pods("web"));
        now.len() == 2 && now.iter().all(|one| !before.contains(one))
    });
    setting.until("a visit", || setting.visit().is_some());

    a_program_that_ends_is_started_again(&setting);
    a_new_image_rolls(&setting);

    setting.cluster_is_left_empty();
}

fn names(pods: &[Value]) -> Vec<String> {
    let names = pods.iter().map(|pod| pod["metadata"]["name"].to_string());
    names.collect()
}

/// Who has no certificate of the mesh gets nothing, in clear or with TLS.
fn nobody_else_speaks_to_the_counter(setting: &Setting) {
    let address = setting.pods("counter")[0]["status"]["podIP"].clone();
    let address = address.as_str().unwrap();
    for url in ["http", "https"] {
        let url = format!("{url}://{address}:8000/");
        assert_eq!(setting.curl(&["--insecure", &url]), None, "{url}");
    }
}

/// Neither does the database of the API server, nor any file of the node that is not a program's.
fn no_object_holds_a_canary(setting: &Setting) {
    let everything = ["get", KINDS, "--all-namespaces", "--output", "yaml"];
    let everything = printed(&mut setting.cluster.kubectl(&everything));
    assert!(everything.contains("containerStatuses"));
    assert!(!everything.contains(CANARY));
    let found = setting
        .node
        .command("grep")
        // Namespaces are no files that can be read.
        .args(["--recursive", "--exclude-dir=netns", "--quiet"])
        .args(["--fixed-strings", CANARY])
        .args([
            setting.cluster.folder().to_str().unwrap(),
            "/var/log",
            "/var/lib",
            "/run",
        ])
        .status()
        .unwrap();
    assert_eq!(found.code(), Some(1), "grep finds it, or fails");
}

/// The kubelet starts it again, and it is attested anew: it has counted nobody.
fn a_program_that_ends_is_started_again(setting: &Setting) {
    let count = || setting.pods("counter")[0]["status"]["containerStatuses"][0].clone();
    assert_eq!(count()["restartCount"], 0);
    let processes = setting.processes();
    let id = count()["containerID"].as_str().unwrap().to_owned();
    let id = id.trim_start_matches("containerd://").to_owned();
    let of_counter = |pid: &&str| {
        let groups = fs_of(setting, &format!("/proc/{pid}/cgroup"));
        groups.contains(&id)
    };
    let enclave = processes
        .lines()
        .filter(|line| line.contains("/mse/bin/mse-enclave"))
        .filter_map(|line| line.split_whitespace().next())
        .find(of_counter)
        .expect("it runs")
        .to_owned();
    printed(setting.node.command("kill").args(["-KILL", &enclave]));
    setting.until("the counter runs again", || {
        let now = count();
        now["restartCount"] == 1 && now["ready"] == true
    });
    let first = format!("{CANARY}, visitor 1\n");
    setting.until("a visit", || setting.visit().as_deref() == Some(&first));
}

fn fs_of(setting: &Setting, path: &str) -> String {
    let output = setting.node.command("cat").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Another program, another measurement: it runs when the mesh was applied.
fn a_new_image_rolls(setting: &Setting) {
    let file = setting.mesh.owner.path("web/web.py");
    let changed = fs::read_to_string(&file).unwrap();
    let changed = changed.replace(", visitor", ", dear visitor");
    fs::write(&file, changed).unwrap();
    setting.mesh.build("web");
    setting.mesh.apply();
    setting.helm("upgrade", &[]);
    let is_new = |answer: String| answer.starts_with(&format!("{CANARY}, dear visitor"));
    setting.until("the new program", || setting.visit().is_some_and(is_new));
    setting.until("one pod", || setting.pods("web").len() == 1);
}

impl Setting {
    fn cluster_is_left_empty(&self) {
        let words = ["uninstall", "r1", "--namespace", "shop", "--wait"];
        printed(&mut self.cluster.helm(&words, None));
        self.until("all pods end", || {
            let ours = "app.kubernetes.io/instance=r1";
            self.cluster.objects("pods", ours).is_empty()
        });
        self.until("all containers end", || {
            let processes = self.processes();
            !["/mse/bin/", "containerd-shim", "/pause"]
                .iter()
                .any(|program| processes.contains(program))
        });
        let pods = format!("{}/node/kubelet/pods/", self.cluster.folder().display());
        self.until("its volumes are gone", || {
            !fs_of(self, "/proc/1/mounts").contains(&pods)
        });
    }
}
