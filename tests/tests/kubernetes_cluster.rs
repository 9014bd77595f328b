//! Charts on a real Kubernetes API server with its controller manager (`tests/kubernetes/cluster`).
//! No node belongs to it: pods are admitted, and do not run.
//!
//! Building the server takes minutes, so this runs where it was built before, or where
//! `MSE_KUBERNETES_TESTS=1` asks for it: `./x kubernetes`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mse_tests::kubernetes::{CANARY, ChartFolder, CompiledFor, MESH, printed, refused, tool};
use mse_tests::programs::repository;
use serde_json::Value;
use tempfile::TempDir;

/// Everything that a chart of ours makes, and what controllers make of it.
const KINDS: &str = "deployments,replicasets,pods,services,serviceaccounts,networkpolicies,poddisruptionbudgets,persistentvolumeclaims,secrets,configmaps,endpoints,jobs,events";
const OURS: &str = "app.kubernetes.io/instance=r1";
/// How long controllers may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running cluster; it is stopped when this is dropped.
struct Cluster(TempDir);

impl Cluster {
    /// None: it is not built, and nobody asked to.
    fn start() -> Option<Self> {
        let asked = std::env::var("MSE_KUBERNETES_TESTS").is_ok_and(|value| value == "1");
        if asked {
            printed(script().arg("build"));
        } else if !is_built() {
            eprintln!(
                "NOT RUN: there is no Kubernetes API server on this machine; `./x kubernetes` builds one and runs this test"
            );
            return None;
        }
        let cluster = Self(TempDir::new().unwrap());
        let started = script()
            .arg("start")
            .arg(cluster.0.path())
            .status()
            .unwrap();
        assert!(started.success(), "the cluster does not start");
        Some(cluster)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.0.path().join("kubeconfig")
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut kubectl = tool("kubectl");
        kubectl
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments);
        kubectl
    }

    fn helm(&self, arguments: &[&str], chart: Option<&Path>) -> Command {
        let mut helm = tool("helm");
        helm.arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments)
            .args(chart);
        helm
    }

    fn objects(&self, kinds: &str, selector: &str) -> Vec<Value> {
        let found = printed(&mut self.kubectl(&[
            "get",
            kinds,
            "--namespace",
            "shop",
            "--selector",
            selector,
            "--output",
            "json",
        ]));
        let found: Value = serde_json::from_str(&found).unwrap();
        found["items"].as_array().unwrap().clone()
    }

    /// The objects, as soon as they are as `wanted`.
    fn until(&self, kinds: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let objects = self.objects(kinds, OURS);
            if wanted(&objects) {
                return objects;
            }
            assert!(began.elapsed() < PATIENCE, "{kinds}: {objects:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = script().arg("stop").arg(self.0.path()).status() {
            eprintln!("warning: the cluster may still run: {error}");
        }
    }
}

fn script() -> Command {
    Command::new(repository().join("tests/kubernetes/cluster"))
}

fn is_built() -> bool {
    let cache = std::env::var_os("MSE_KUBERNETES").map(PathBuf::from);
    let home =
        || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/mse/kubernetes"));
    let cache = cache.or_else(home);
    cache.is_some_and(|cache| cache.join("bin/kube-controller-manager").is_file())
}

fn names(objects: &[Value]) -> Vec<&str> {
    let names = objects
        .iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap());
    names.collect()
}

#[test]
fn a_mesh_is_installed_upgraded_and_uninstalled() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    printed(&mut cluster.kubectl(&["create", "namespace", "shop"]));
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    let install = ["install", "r1", "--namespace", "shop"];
    let notes = printed(&mut cluster.helm(&install, Some(chart.path())));
    assert!(notes.contains("SIMULATED"), "{notes}");

    // The controllers make pods, which the server admits.
    let pods = cluster.until("pods", |pods| pods.len() == 4);
    let web = pods
        .iter()
        .find(|one| one["metadata"]["labels"]["app.kubernetes.io/name"] == "web-1");
    let spec = &web.unwrap()["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["enableServiceLinks"], false);
    assert_eq!(spec["containers"].as_array().unwrap().len(), 1);
    let volumes = spec["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 2, "no token, no secret: {volumes:?}");
    assert_eq!(spec["containers"][0]["env"].as_array().unwrap().len(), 7);
    let sets = cluster.objects("replicasets", OURS);
    assert_eq!(sets.len(), 2, "{:?}", names(&sets));

    // Nobody who reads every object of the cluster learns what the programs are told. What Helm
    // keeps of a release is compressed: it is looked into, too.
    let everything =
        printed(&mut cluster.kubectl(&["get", KINDS, "--all-namespaces", "--output", "yaml"]));
    assert!(everything.contains("web-1"));
    assert!(!everything.contains(CANARY));
    for part in ["all", "values"] {
        let release = printed(&mut cluster.helm(&["get", part, "r1", "--namespace", "shop"], None));
        assert!(!release.contains(CANARY), "{part}");
    }

    // Nor is it in a file of the server, its database or their logs.
    let found = Command::new("grep")
        .args(["--recursive", "--quiet", "--fixed-strings", CANARY])
        .arg(cluster.0.path())
        .status()
        .unwrap();
    assert_eq!(found.code(), Some(1), "grep finds it, or fails");

    // An update: one more instance of the web service, and another budget.
    let upgrade = [
        "upgrade",
        "r1",
        "--namespace",
        "shop",
        "--set",
        "web-1.replicaCount=4",
    ];
    printed(&mut cluster.helm(&upgrade, Some(chart.path())));
    cluster.until("pods", |pods| pods.len() == 5);
    // Measured values are no values.
    let wrong = [
        "upgrade",
        "r1",
        "--namespace",
        "shop",
        "--set",
        "db.workload.memoryMib=64",
    ];
    let refusal = refused(&mut cluster.helm(&wrong, Some(chart.path())));
    assert!(refusal.contains("memoryMib"), "{refusal}");

    printed(&mut cluster.helm(&["uninstall", "r1", "--namespace", "shop"], None));
    cluster.until(KINDS, <[_]>::is_empty);
    let releases = printed(&mut cluster.helm(&["list", "--all-namespaces", "--short"], None));
    assert_eq!(releases.trim(), "");
    let kept = printed(&mut cluster.kubectl(&[
        "get",
        "secrets,configmaps",
        "--namespace",
        "shop",
        "--output",
        "name",
    ]));
    assert!(!kept.contains("r1") && !kept.contains("helm"), "{kept}");
}

#[test]
fn the_server_itself_refuses_what_is_no_object() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    // Without a server to ask, Helm takes it that there is all that is new.
    let mut helm = tool("helm");
    helm.args(["template", "r1", "--kube-version", "1.20.2"]);
    let objects = printed(helm.arg(chart.path())).replace("policy/v1\n", "policy/v1beta1\n");
    let file = cluster.0.path().join("objects.yaml");
    let apply = |text: &str| {
        std::fs::write(&file, text).unwrap();
        cluster.kubectl(&[
            "apply",
            "--dry-run=server",
            "--filename",
            file.to_str().unwrap(),
        ])
    };
    printed(&mut apply(&objects));
    refused(&mut apply(
        &objects.replace("add: [SYS_ADMIN", "add: [[SYS_ADMIN]"),
    ));
    refused(&mut apply(
        &objects.replace("containerPort: 8080", "containerPort: 80800"),
    ));
}
