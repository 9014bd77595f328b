//! Charts on a real Kubernetes API server with its controller manager (`tests/kubernetes/cluster`).
//! No node belongs to it: pods are admitted, and do not run.
//!
//! Building the server takes minutes, so this is ignored but for `./x kubernetes`, which builds it, and
//! `./x test` where it was built before.

use std::process::Command;

use mse_tests::cluster::Cluster;
use mse_tests::kubernetes::{CANARY, ChartFolder, CompiledFor, MESH, printed, refused, tool};
use serde_json::Value;

/// Everything that a chart of ours makes, and what controllers make of it.
const KINDS: &str = "deployments,replicasets,pods,services,serviceaccounts,networkpolicies,poddisruptionbudgets,persistentvolumeclaims,secrets,configmaps,endpoints,jobs,events";
const OURS: &str = "app.kubernetes.io/instance=r1";

fn names(objects: &[Value]) -> Vec<&str> {
    let names = objects
        .iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap());
    names.collect()
}

#[test]
#[ignore = "takes a Kubernetes API server: ./x kubernetes"]
fn a_mesh_is_installed_upgraded_and_uninstalled() {
    let cluster = Cluster::start();
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
        .arg(cluster.folder())
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
#[ignore = "takes a Kubernetes API server: ./x kubernetes"]
fn the_server_itself_refuses_what_is_no_object() {
    let cluster = Cluster::start();
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    // Without a server to ask, Helm takes it that there is all that is new.
    let mut helm = tool("helm");
    helm.args(["template", "r1", "--kube-version", "1.20.2"]);
    let objects = printed(helm.arg(chart.path())).replace("policy/v1\n", "policy/v1beta1\n");
    let file = cluster.folder().join("objects.yaml");
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
