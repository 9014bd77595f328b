//! `mse-server` with the Kubernetes runtime against a real API server with its controllers
//! (`tests/kubernetes/cluster`). No node belongs to it: the pods of apps are admitted, and wait, but where
//! `tests/kubernetes/stand-in` runs them.
//!
//! Building the server takes minutes, so this is ignored but for `./x kubernetes`, which builds it, and
//! `./x test` where it is built.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use mse_runtime::images::Catalogue;
use mse_runtime::python::PythonEnvironment;
use mse_tests::cluster::Cluster as ApiServer;
use mse_tests::kubernetes::{printed, refused, tool};
use mse_tests::platform::{Person, Server, path, until};
use mse_tests::programs::{image_cache, repository};
use serde_json::Value;
use tempfile::TempDir;

/// In code, a secret and a file of the owner: nobody else may read it.
const CANARY: &str = "canary-77d0";
const KINDS: &str = "deployments,replicasets,pods,services,networkpolicies,configmaps,secrets,endpoints,events,serviceaccounts";
const OURS: &str = "mse.dev/platform=mse";
const IMAGE: &str =
    "r.example/mse-flask@sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

/// A cluster with a namespace for apps.
struct Cluster(ApiServer);

impl Cluster {
    fn start() -> Self {
        let cluster = Self(ApiServer::start());
        printed(&mut cluster.kubectl(&["create", "namespace", "apps"]));
        cluster
    }

    fn kubeconfig(&self) -> PathBuf {
        self.0.kubeconfig()
    }

    /// For somebody who is this service account.
    fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        // Controllers make those that every namespace has, in their time.
        let token = until("a token", || {
            let made = self
                .kubectl(&["create", "token", account, "-n", namespace])
                .output();
            let made = made.unwrap();
            made.status
                .success()
                .then(|| String::from_utf8(made.stdout).unwrap())
        });
        let administrator = fs::read_to_string(self.kubeconfig()).unwrap();
        let at = administrator.find("token: \"").unwrap() + "token: \"".len();
        let end = at + administrator[at..].find('"').unwrap();
        let (before, after) = (&administrator[..at], &administrator[end..]);
        let file = self.0.folder().join(account);
        fs::write(&file, format!("{before}{}{after}", token.trim())).unwrap();
        file
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        self.0.kubectl(arguments)
    }

    /// Those of the platform.
    fn objects(&self, kinds: &str) -> Vec<Value> {
        let found = printed(&mut self.kubectl(&[
            "get",
            kinds,
            "--namespace",
            "apps",
            "--selector",
            OURS,
            "--output",
            "json",
        ]));
        let found: Value = serde_json::from_str(&found).unwrap();
        found["items"].as_array().unwrap().clone()
    }

    fn one(&self, kind: &str) -> Option<Value> {
        self.objects(kind).into_iter().next()
    }

    /// Applies an object of the cluster's administrator.
    fn apply(&self, object: &Value) {
        let file = self.0.folder().join("object.json");
        fs::write(&file, object.to_string()).unwrap();
        printed(&mut self.kubectl(&["apply", "--filename", path(&file)]));
    }

    /// Says about a pod what a scheduler or a kubelet would.
    fn says(&self, pod: &str, status: &Value) {
        let patch = serde_json::json!({ "status": status }).to_string();
        printed(&mut self.kubectl(&[
            "patch",
            "pod",
            pod,
            "--namespace",
            "apps",
            "--subresource",
            "status",
            "--patch",
            &patch,
        ]));
    }
}

/// A platform on the cluster, and where it has bundles.
struct Platform {
    server: Server,
    bundles: u16,
    _folder: TempDir,
}

impl Platform {
    fn on(cluster: &Cluster) -> Self {
        Self::with(&cluster.kubeconfig(), "")
    }

    fn with(kubeconfig: &Path, more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("server.toml");
        let bundles = free_port();
        let table = format!(
            "runtime = 'kubernetes'
hardware = ['4g-eu-001=8:4096:2']
[kubernetes]
kubeconfig = '{}'
namespace = 'apps'
tee = 'simulated'
simulated-platform = '/srv/tee'
bundles = 'http://127.0.0.1:{bundles}'
images = {{ mse-flask = '{IMAGE}' }}
gateway-labels = {{ 'app.kubernetes.io/name' = 'mse-server' }}
{more}",
            path(kubeconfig)
        );
        fs::write(&file, table).unwrap();
        let address = format!("127.0.0.1:{bundles}");
        Self {
            server: Server::start_with(&["--config", path(&file), "--bundles", &address]),
            bundles,
            _folder: folder,
        }
    }

    /// The status line and the body.
    fn get(&self, target: &str) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.bundles)).unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.expect("there is a head") + 4);
        let head = String::from_utf8(answer).unwrap();
        (head.lines().next().unwrap().to_owned(), body)
    }
}

/// One that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// An owner who deploys an app with canaries, and waits for it.
struct Owner {
    person: Person,
    manifest: PathBuf,
    deploying: Child,
}

impl Owner {
    fn deploys_on(server: &Server) -> Self {
        let person = Person::owner(server);
        let manifest = person.take_app_with(CANARY);
        let deploying = deploy(&person, &manifest);
        Self {
            person,
            manifest,
            deploying,
        }
    }

    fn app(&self) -> Option<Value> {
        let list = self
            .person
            .run(&["list", "--all", "--json"])
            .succeeded()
            .json();
        list["apps"].as_array()?.first().cloned()
    }

    fn id(&self) -> String {
        until("the app is known", || {
            Some(self.app()?["id"].as_str()?.to_owned())
        })
    }

    /// As soon as the app's visible state has these words.
    fn reads(&self, id: &str, words: &str) {
        until(words, || {
            let shown = self
                .person
                .run(&["status", id, "--json"])
                .succeeded()
                .json();
            shown.to_string().contains(words).then_some(())
        });
    }
}

fn deploy(person: &Person, manifest: &Path) -> Child {
    person
        .command(&["deploy", "-y", "--path", path(manifest)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.deploying.kill();
        let _ = self.deploying.wait();
    }
}

fn is_without_canary(folder: &Path) {
    let found = Command::new("grep")
        .args(["--recursive", "--quiet", "--fixed-strings", CANARY])
        .arg(folder)
        .status()
        .unwrap();
    assert_eq!(found.code(), Some(1), "grep finds it, or fails");
}

#[test]
#[ignore = "takes a Kubernetes API server: ./x kubernetes"]
fn an_app_becomes_objects_says_why_it_waits_and_leaves_nothing() {
    let cluster = Cluster::start();
    // The cluster has no room: its own words are the app's state.
    let quota = serde_json::json!({
        "apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": "apps"}, "spec": {"hard": {"pods": "0"}},
    });
    cluster.apply(&quota);
    until("the quota is counted", || {
        let counted = printed(&mut cluster.kubectl(&[
            "get",
            "resourcequota",
            "none",
            "--namespace",
            "apps",
            "--output",
            "json",
        ]));
        counted.contains("\"used\"").then_some(())
    });
    let platform = Platform::on(&cluster);
    let owner = Owner::deploys_on(&platform.server);
    let id = owner.id();
    owner.reads(&id, "exceeded quota");
    printed(&mut cluster.kubectl(&["delete", "resourcequota", "none", "--namespace", "apps"]));

    // Then it has a pod, about which the test says what a scheduler and a kubelet would.
    let pod = until("a pod", || cluster.one("pods"));
    let pod_name = pod["metadata"]["name"].as_str().unwrap();
    cluster.says(
        pod_name,
        &serde_json::json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient memory.",
        }]}),
    );
    owner.reads(&id, "Unschedulable: 0/3 nodes are available");
    let waiting = |state: Value| {
        serde_json::json!({"containerStatuses": [{
            "name": "enclave", "image": IMAGE, "imageID": "", "ready": false,
            "restartCount": 0, "state": state,
        }]})
    };
    cluster.says(
        pod_name,
        &waiting(serde_json::json!({"waiting": {
            "reason": "ImagePullBackOff", "message": "Back-off pulling image",
        }})),
    );
    owner.reads(&id, "ImagePullBackOff: Back-off pulling image");

    // What was admitted is what was meant.
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], IMAGE);
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 4);
    let service = cluster.one("services").unwrap();
    assert_eq!(service["spec"]["selector"]["mse.dev/app"], id.as_str());
    for object in cluster.objects("deployments,services,networkpolicies,configmaps,pods") {
        let metadata = &object["metadata"];
        assert_eq!(metadata["labels"]["mse.dev/simulated"], "true", "{object}");
    }

    // The pod would get the bundle where its environment says, and nobody gets it by guessing.
    let env = container["env"].as_array().unwrap();
    let url = env.iter().find(|one| one["name"] == "MSE_BUNDLE").unwrap();
    let url = url["value"].as_str().unwrap();
    let target = &url[url.find("/bundles/").unwrap()..];
    let (status, bundle) = platform.get(target);
    assert_eq!(status, "HTTP/1.1 200 OK");
    let canary_in = |bytes: &[u8]| {
        bytes
            .windows(CANARY.len())
            .any(|part| part == CANARY.as_bytes())
    };
    assert!(!bundle.is_empty() && !canary_in(&bundle));
    let (parent, digest) = target.rsplit_once('/').unwrap();
    for other in [
        format!("{parent}/{}", "0".repeat(64)),
        format!("/bundles/00000000-0000-4000-8000-000000000000/{digest}"),
        "/bundles/../server.sqlite/x".to_owned(),
    ] {
        assert_eq!(platform.get(&other).0, "HTTP/1.1 404 Not Found", "{other}");
    }

    // Nothing secret is in any object, nor in what the cluster keeps and logs.
    let everything =
        printed(&mut cluster.kubectl(&["get", KINDS, "--all-namespaces", "--output", "yaml"]));
    assert!(everything.contains(&id) && !everything.contains(CANARY));
    is_without_canary(cluster.0.folder());

    owner.person.run(&["stop", &id]).succeeded();
    assert_eq!(owner.app().unwrap()["status"], "stopped");
    // Controllers remove what they made of our objects.
    until("nothing is left", || {
        cluster.objects(KINDS).is_empty().then_some(())
    });
    assert_eq!(platform.get(target).0, "HTTP/1.1 404 Not Found");
}

/// The whole way, but for a kubelet: what stands in for it runs the pod's launcher on this machine
/// (`tests/kubernetes/stand-in`).
#[test]
#[ignore = "takes a Kubernetes API server: ./x kubernetes"]
fn an_app_is_provisioned_and_runs_in_its_pod() {
    if !in_a_network_of_its_own("an_app_is_provisioned_and_runs_in_its_pod") {
        return;
    }
    let cluster = Cluster::start();
    let platform = Platform::on(&cluster);
    let node = StandIn::join(&cluster, &platform);
    let person = Person::owner(&platform.server);
    let manifest = person.take_app_with(CANARY);
    let workspace = person.dir().join("workspace");
    let deployed = person.deploy(&manifest, &["--workspace", path(&workspace)]);
    assert_eq!(deployed["tee"], "simulated");
    let (id, url) = (
        deployed["id"].as_str().unwrap(),
        deployed["url"].as_str().unwrap(),
    );
    let certificate = workspace.join("ratls.pem");
    let answer = printed(Command::new("curl").args([
        "--silent",
        "--show-error",
        "--fail",
        "--cacert",
        path(&certificate),
        url,
    ]));
    assert_eq!(answer, "Hello world");
    let status = person.run(&["status", id, "--json"]).succeeded().json();
    let confinement = status["confinement"].as_array().unwrap();
    let seccomp = confinement.iter().find(|one| one["name"] == "seccomp");
    assert_eq!(seccomp.unwrap()["applied"], true, "{confinement:?}");

    // It runs with its code and secrets: neither the cluster nor its node has any of it.
    let everything =
        printed(&mut cluster.kubectl(&["get", KINDS, "--all-namespaces", "--output", "yaml"]));
    assert!(everything.contains(id) && !everything.contains(CANARY));
    for folder in [cluster.0.folder(), node.folder.path()] {
        is_without_canary(folder);
    }

    // The app ends in order, and its log has what the pod printed.
    person.run(&["stop", id]).succeeded();
    let log = printed(&mut person.command(&["logs", id]));
    assert!(log.contains("stopped as asked"), "{log}");
    until("nothing is left", || {
        cluster.objects(KINDS).is_empty().then_some(())
    });

    // An enclave that dies is not replaced: another one has other keys.
    let deployed = person.deploy(&manifest, &[]);
    let id = deployed["id"].as_str().unwrap();
    let pod = cluster.one("pods").unwrap();
    let name = pod["metadata"]["name"].as_str().unwrap();
    printed(&mut cluster.kubectl(&["delete", "pod", name, "-n", "apps", "--wait=false"]));
    until("the app has ended", || {
        let shown = person.run(&["status", id, "--json"]).succeeded().json();
        let ended =
            ["on_error", "stopped"].map(|one| shown.to_string().contains(&format!("\"{one}\"")));
        ended.contains(&true).then_some(())
    });
    until("nothing is left", || {
        cluster.objects(KINDS).is_empty().then_some(())
    });
}

/// Runs the test `name` of this program in a network namespace, in which cluster addresses may be
/// addresses of its loopback device. `true`: this is the program that runs there.
fn in_a_network_of_its_own(name: &str) -> bool {
    const INSIDE: &str = "MSE_TESTS_OWN_NETWORK";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // It may come from a registry, which is out of reach from there.
    runtime();
    let status = Command::new("unshare")
        .args([
            "--net",
            "sh",
            "-euc",
            "ip link set lo up; exec \"$@\"",
            "sh",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(
        status.success(),
        "it fails in a network of its own, which takes root"
    );
    false
}

/// What `/mse/runtime.json` says in the pods of the stand-in.
fn runtime() -> String {
    let image = Catalogue::builtin()
        .resolve("mse-flask:20261123000000")
        .unwrap();
    let cache = image_cache();
    let environment = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(PythonEnvironment::ensure(&cache, image))
        .unwrap();
    serde_json::json!({
        "image": image.name(),
        "interpreter": environment.python(),
        "prefixes": environment.prefixes(),
        "environment": environment.root(),
    })
    .to_string()
}

/// A node that is none.
struct StandIn {
    process: Child,
    folder: TempDir,
}

impl StandIn {
    fn join(cluster: &Cluster, platform: &Platform) -> Self {
        let folder = TempDir::new().unwrap();
        let enclave = mse_tests::programs::program("mse-enclave");
        let process = Command::new(repository().join("tests/kubernetes/stand-in"))
            .arg(tool("kubectl").get_program())
            .arg(cluster.kubeconfig())
            .arg(enclave.parent().unwrap())
            .arg(runtime())
            .arg(platform.server.data().join("platform"))
            .arg(folder.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, folder }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The chart is installed; a server outside of the cluster has no right but those of its service
/// account, and they are enough.
#[test]
#[ignore = "takes a Kubernetes API server: ./x kubernetes"]
#[allow(clippy::too_many_lines)] // From install to uninstall.
fn the_chart_is_installed_and_its_rights_suffice() {
    let cluster = Cluster::start();
    printed(&mut cluster.kubectl(&["create", "namespace", "mse"]));
    let chart = repository().join("deploy/helm/mse");
    let helm = |arguments: &[&str]| {
        let mut helm = tool("helm");
        helm.arg("--kubeconfig")
            .arg(cluster.kubeconfig())
            .args(["--namespace", "mse"])
            .args(arguments);
        helm
    };
    let settings = [
        "tee=simulated",
        "simulated.platform=/srv/tee",
        &format!("server.image={IMAGE}"),
        "server.tlsSecret=mse-tls",
        "server.domainSuffix=apps.example",
        "server.publicGateway=gw.example:443",
        &format!("apps.images.mse-flask={IMAGE}"),
        "apps.namespace=apps",
        "cas.enabled=true",
        &format!("cas.image={IMAGE}"),
        &format!("cas.owner={}", "0a".repeat(32)),
        "cas.database.name=cas-database",
        "cas.database.key=url",
    ];
    let set = settings.iter().flat_map(|one| ["--set", one]);
    let install: Vec<_> = ["install", "mse", path(&chart)]
        .into_iter()
        .chain(set)
        .collect();
    let notes = printed(&mut helm(&install));
    assert!(notes.contains("SIMULATED"), "{notes}");
    for name in ["mse-server", "mse-cas"] {
        let selector = format!("app.kubernetes.io/name={name},app.kubernetes.io/instance=mse");
        until("its pod is admitted", || {
            let pods = printed(&mut cluster.kubectl(&[
                "get",
                "pods",
                "--namespace",
                "mse",
                "--selector",
                &selector,
                "--output",
                "name",
            ]));
            pods.contains(name).then_some(())
        });
    }

    // As the pod would: with the token of its service account.
    let kubeconfig = cluster.kubeconfig_of("mse", "mse-server");
    let mut platform = Platform::with(&kubeconfig, "owner = 'mse-server-apps'\n");
    let owner = Owner::deploys_on(&platform.server);
    let id = owner.id();
    until("a pod", || cluster.one("pods"));
    owner.person.run(&["stop", &id]).succeeded();
    // Controllers remove what they made of our objects.
    until("nothing is left", || {
        cluster.objects(KINDS).is_empty().then_some(())
    });
    // It has no other.
    for (verb, kind, namespace) in [
        ("get", "secrets", "apps"),
        ("create", "pods", "apps"),
        ("delete", "pods", "apps"),
        ("update", "deployments", "apps"),
        ("create", "deployments", "mse"),
        ("get", "secrets", "mse"),
    ] {
        let may = cluster
            .kubectl(&["auth", "can-i", verb, kind, "-n", namespace])
            .args(["--as", "system:serviceaccount:mse:mse-server"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&may.stdout).trim(),
            "no",
            "{verb} {kind} in {namespace}"
        );
    }

    // Another digest is another pod; a database's URL is no value, and a misspelt value is none.
    let other = IMAGE.replace("0a0a", "0b0b");
    let image = format!("server.image={other}");
    let upgrade = ["upgrade", "mse", path(&chart), "--reuse-values", "--set"];
    printed(helm(&upgrade).arg(&image));
    let set = printed(&mut cluster.kubectl(&[
        "get",
        "statefulset",
        "mse-server",
        "-n",
        "mse",
        "-o",
        "yaml",
    ]));
    assert!(set.contains(&other), "{set}");
    for wrong in [
        "cas.database.url=postgres://u:p@h/d",
        "server.imagee=x",
        "tee=none",
    ] {
        let said = refused(helm(&upgrade).arg(wrong));
        assert!(
            said.contains("values don't meet the specifications"),
            "{said}"
        );
    }

    // Apps go with the release, even if their server cannot remove them any more.
    let mut again = deploy(&owner.person, &owner.manifest);
    until("a deployment", || cluster.one("deployments"));
    platform.server.crash();
    again.wait().unwrap();
    printed(&mut helm(&["uninstall", "mse"]));
    until("nothing is left", || {
        let left = ["mse", "apps"].map(|namespace| {
            printed(&mut cluster.kubectl(&[
                "get", "deployments,statefulsets,replicasets,pods,services,networkpolicies,poddisruptionbudgets,roles,rolebindings",
                "--namespace", namespace, "--output", "name",
            ]))
        });
        (left.concat().trim().is_empty() && cluster.objects(KINDS).is_empty()).then_some(())
    });
}

#[test]
#[ignore = "takes a Kubernetes API server: ./x kubernetes"]
fn what_a_crash_leaves_is_removed_and_launched_again() {
    let cluster = Cluster::start();
    let mut platform = Platform::on(&cluster);
    let mut owner = Owner::deploys_on(&platform.server);
    let id = owner.id();
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap().to_owned();
    let first = uid(&until("a deployment", || cluster.one("deployments")));
    platform.server.crash();
    // Another platform in the namespace is not its business.
    let other = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "other", "namespace": "apps", "labels": {"mse.dev/platform": "other"},
        },
    });
    cluster.apply(&other);
    platform.server.restart();
    owner.person.log_in(&platform.server);
    let second = until("another deployment", || {
        cluster.one("deployments").filter(|one| uid(one) != first)
    });
    assert_eq!(second["metadata"]["labels"]["mse.dev/app"], id.as_str());

    // Somebody else who deletes it ends the app.
    let name = second["metadata"]["name"].as_str().unwrap();
    printed(&mut cluster.kubectl(&["delete", "deployment", name, "--namespace", "apps"]));
    until("the app has ended", || {
        (owner.app()?["status"] == "on_error").then_some(())
    });
    until("nothing is left", || {
        cluster.objects(KINDS).is_empty().then_some(())
    });
    assert!(!owner.deploying.wait().unwrap().success());
    printed(&mut cluster.kubectl(&["get", "configmap", "other", "--namespace", "apps"]));
}

#[test]
#[ignore = "takes a Kubernetes API server: ./x kubernetes"]
fn a_cluster_that_cannot_be_used_is_named_and_nothing_starts() {
    let cluster = Cluster::start();
    let folder = TempDir::new().unwrap();
    let start = |kubeconfig: &Path, more: &str| {
        let file = folder.path().join("server.toml");
        let table = format!(
            "[kubernetes]\nkubeconfig = '{}'\nnamespace = 'apps'\ntee = 'snp'\nbundles = 'http://mse:7320'\nimages = {{ mse-flask = '{IMAGE}' }}\n{more}",
            path(kubeconfig)
        );
        fs::write(&file, table).unwrap();
        let mut server = Command::new(mse_tests::programs::program("mse-server"));
        server
            .args(["--runtime", "kubernetes", "--bundles", "127.0.0.1:0"])
            .args(["--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"])
            .args(["--config", path(&file), "--data-dir"])
            .arg(folder.path().join("data"));
        refused(&mut server)
    };
    let nowhere = start(&folder.path().join("none"), "");
    assert!(
        nowhere.contains("no Kubernetes cluster to use"),
        "{nowhere}"
    );
    let no_owner = start(&cluster.kubeconfig(), "owner = 'nobody'\n");
    assert!(
        no_owner.contains("service account that `owner` names"),
        "{no_owner}"
    );
    assert!(no_owner.contains("\"nobody\" not found"), "{no_owner}");

    // Somebody without the right to.
    let powerless = cluster.kubeconfig_of("apps", "default");
    let forbidden = start(&powerless, "");
    assert!(
        forbidden.contains("could not list the deployments"),
        "{forbidden}"
    );
    assert!(forbidden.contains("forbidden"), "{forbidden}");
}
