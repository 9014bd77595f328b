//! A real Kubernetes API server with its controllers (`tests/kubernetes/cluster`), and a node for it
//! (`tests/kubernetes/node`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::kubernetes::{printed, tool};
use crate::node::Node;
use crate::programs::repository;

/// How long controllers may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// What all objects of the release `r1` have.
const OURS: &str = "app.kubernetes.io/instance=r1";

/// A running cluster; it is stopped when this is dropped.
pub struct Cluster(TempDir);

impl Cluster {
    /// One on loopback, without a node: pods become objects, and do not run.
    ///
    /// # Panics
    ///
    /// If it is not built: `./x kubernetes` does.
    pub fn start() -> Self {
        Self::start_on("127.0.0.1")
    }

    /// One that listens on `address`.
    pub fn start_on(address: &str) -> Self {
        let cluster = Self(TempDir::new().unwrap());
        let started = script("cluster")
            .arg("start")
            .arg(cluster.0.path())
            .arg(address)
            .status()
            .unwrap();
        assert!(
            started.success(),
            "the cluster does not start; `./x kubernetes` builds it where it is not there"
        );
        cluster
    }

    /// Its folder: state and logs.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Makes `node` a node of it, which pods run on.
    pub fn join(&self, node: &Node) {
        let joined = node
            .command(repository().join("tests/kubernetes/node"))
            .arg("start")
            .arg(self.0.path())
            .arg(node.address())
            .status()
            .unwrap();
        assert!(joined.success(), "the node does not start");
    }

    /// Removes what a node left that has ended.
    pub fn clean(&self) {
        printed(script("node").arg("clean").arg(self.0.path()));
    }

    /// Its administrator's.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.path().join("kubeconfig")
    }

    /// `kubectl`, as its administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut kubectl = tool("kubectl");
        kubectl
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments);
        kubectl
    }

    /// `helm`, as its administrator.
    pub fn helm(&self, arguments: &[&str], chart: Option<&Path>) -> Command {
        let mut helm = tool("helm");
        helm.arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments)
            .args(chart);
        helm
    }

    /// The objects of these kinds in the namespace `shop`.
    pub fn objects(&self, kinds: &str, selector: &str) -> Vec<Value> {
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
    pub fn until(&self, kinds: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
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
        if let Err(error) = script("cluster").arg("stop").arg(self.0.path()).status() {
            eprintln!("warning: the cluster may still run: {error}");
        }
    }
}

fn script(name: &str) -> Command {
    Command::new(repository().join("tests/kubernetes").join(name))
}
