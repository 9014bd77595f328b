//! The platform itself on a real node: its chart is installed with its own images, its pods become ready by
//! a real kubelet, and an app that is deployed through it runs in a pod of its own, from its runtime's image.
//!
//! What the node is: `tests/kubernetes/node`. Building its programs takes minutes, so this is ignored but
//! for `./x kubernetes`, which builds them, and `./x test` where they were built before.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use mse_simtee::Platform;
use mse_tests::cluster::Cluster;
use mse_tests::kubernetes::printed;
use mse_tests::node::Node;
use mse_tests::platform::{Person, Ran, path};
use mse_tests::programs::{layer_cache, program, repository, static_program};
use mse_tests::registry::ImageRegistry;
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(300);
/// In code, and a secret of the owner: nobody else may read it.
const CANARY: &str = "canary-5e31";
/// Where the chart has the simulated platform, on the node.
const PLATFORM: &str = "/var/lib/mse/platform";
/// As whom the platform's programs run.
const USER: &str = "65532:65532";
/// Everything that the chart and the server make, and what controllers and the kubelet make of it.
const KINDS: &str = "deployments,statefulsets,replicasets,controllerrevisions,pods,services,serviceaccounts,networkpolicies,poddisruptionbudgets,configmaps,endpoints,events,roles,rolebindings";
/// The exit code of `mse` if nobody answers.
const OUT_OF_REACH: i32 = 5;
/// Names that users reach the platform by.
const SERVER: &str = "mse-server.mse.svc";
const GATEWAY: &str = "mse-server-public.mse.svc";
const CAS: &str = "mse-cas.mse.svc";

/// A cluster of one node with the platform on it, and its user.
struct Setting {
    // The programs of the node end before what they stand on.
    node: Node,
    cluster: Cluster,
    _registry: ImageRegistry,
    folder: TempDir,
    person: Person,
}

impl Setting {
    /// Everything but the platform's pods.
    fn new() -> Self {
        let node = Node::new();
        let cluster = Cluster::start_on(&node.host());
        let mut registry = ImageRegistry::start();
        registry.serve_on(&node);
        let folder = tempfile::tempdir().unwrap();
        push_images(folder.path(), &registry);
        cluster.join(&node);
        let setting = Self {
            node,
            cluster,
            _registry: registry,
            folder,
            person: Person::new(),
        };
        setting.make_platform();
        for namespace in ["mse", "apps"] {
            setting.kubectl(&["create", "namespace", namespace]);
        }
        setting.make_volume("server", "20Gi");
        setting.make_volume("cas", "5Gi");
        setting.make_certificate();
        setting
    }

    /// The simulated platform, where the node has it.
    fn make_platform(&self) {
        let made = self.path("platform");
        Platform::open_or_create(&made, SystemTime::now()).unwrap();
        self.on_node("mkdir", &["/var/lib/mse"]);
        self.on_node("cp", &["--archive", path(&made), PLATFORM]);
        self.on_node("chown", &["--recursive", USER, PLATFORM]);
    }

    /// A volume for a claim of this size: there is nobody who makes them.
    fn make_volume(&self, name: &str, size: &str) {
        let folder = format!("/var/lib/mse/{name}");
        self.on_node("mkdir", &[&folder]);
        let expression =
            json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]});
        self.apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"],
                "local": {"path": folder}, "nodeAffinity": {"required": {
                    "nodeSelectorTerms": [{"matchExpressions": [expression]}],
                }},
            },
        }));
    }

    /// The API's certificate, which its user knows.
    fn make_certificate(&self) {
        let made = rcgen::generate_simple_self_signed([SERVER.to_owned()]).unwrap();
        let [certificate, key] = ["api.pem", "api.key"].map(|name| self.path(name));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let words = ["create", "secret", "tls", "mse-tls", "--namespace", "mse"];
        let files = [("--cert", &certificate), ("--key", &key)];
        let files = files.map(|(option, file)| format!("{option}={}", path(file)));
        self.kubectl(&[&words[..], &[&files[0], &files[1]]].concat());
    }

    /// `helm`, with the chart and the images.
    fn helm(&self, task: &str, settings: &[String]) -> String {
        let words = [
            task,
            "mse",
            "--namespace",
            "mse",
            "--wait",
            "--timeout",
            "5m",
        ];
        let chart = repository().join("deploy/helm/mse");
        let mut helm = self.cluster.helm(&words, Some(&chart));
        helm.arg("--values").arg(self.path("images.yaml"));
        for setting in settings {
            helm.args(["--set", setting]);
        }
        match helm.output().unwrap() {
            output if output.status.success() => String::from_utf8(output.stdout).unwrap(),
            output => panic!(
                "{}{}",
                String::from_utf8_lossy(&output.stderr),
                self.pods_explained()
            ),
        }
    }

    fn pods_explained(&self) -> String {
        let mut said = self.kubectl(&["describe", "pods", "--all-namespaces"]);
        for (namespace, name) in [("mse", "mse-server-0"), ("mse", "mse-cas-0")] {
            let words = ["logs", "--namespace", namespace, name];
            let output = self.cluster.kubectl(&words).output().unwrap();
            let logs = String::from_utf8_lossy(&output.stdout);
            said.extend(["--- ", name, "\n", &logs]);
        }
        said
    }

    fn kubectl(&self, words: &[&str]) -> String {
        printed(&mut self.cluster.kubectl(words))
    }

    fn apply(&self, object: &Value) {
        let file = self.path("object.json");
        fs::write(&file, object.to_string()).unwrap();
        self.kubectl(&["apply", "--filename", path(&file)]);
    }

    fn objects(&self, kinds: &str, namespace: &str) -> Vec<Value> {
        let words = ["get", kinds, "--namespace", namespace, "--output", "json"];
        let found: Value = serde_json::from_str(&self.kubectl(&words)).unwrap();
        found["items"].as_array().unwrap().clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn on_node(&self, program: &str, words: &[&str]) -> String {
        printed(self.node.command(program).args(words))
    }

    /// The user's `mse`, on the node: addresses of Services are the node's.
    fn mse(&self, words: &[&str]) -> Ran {
        let (enclave, cas) = (static_program("mse-enclave"), static_program("mse-cas"));
        let authority = self.path("api.pem");
        let variables: [(&str, &Path); 3] = [
            ("MSE_ENCLAVE", &enclave),
            ("MSE_CAS", &cas),
            ("SSL_CERT_FILE", &authority),
        ];
        self.person.run_on(&self.node, &variables, words)
    }

    fn address_of(&self, service: &str) -> String {
        let words = ["get", "service", service, "--namespace", "mse", "--output"];
        self.kubectl(&[&words[..], &["jsonpath={.spec.clusterIP}"]].concat())
    }

    /// Lets the node find the platform's Services: what an administrator's DNS does.
    fn make_names(&self) {
        let mut hosts = fs::read_to_string("/etc/hosts").unwrap();
        for name in ["mse-server", "mse-server-public", "mse-cas"] {
            hosts.extend(["\n", &self.address_of(name), " ", name, ".mse.svc\n"]);
        }
        let file = self.path("hosts");
        fs::write(&file, hosts).unwrap();
        self.node.replace_file(Path::new("/etc/hosts"), &file);
    }

    fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !reached() {
            assert!(
                Instant::now() < deadline,
                "{what}: {}",
                self.pods_explained()
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// What runs on the node.
    fn processes(&self) -> String {
        self.on_node("ps", &["-eo", "pid,args"])
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        self.node.end();
        self.cluster.clean();
    }
}

/// Builds the images, pushes them, and keeps what is printed as values of the chart.
fn push_images(folder: &Path, registry: &ImageRegistry) {
    let cache = folder.join("cache/images");
    fs::create_dir_all(&cache).unwrap();
    fs::create_dir_all(layer_cache()).unwrap();
    symlink(layer_cache(), cache.join("build")).unwrap();
    let values = printed(
        Command::new(program("mse"))
            .current_dir(folder)
            .env("MSE_CONF_PATH", folder.join("conf"))
            .env("MSE_CACHE_PATH", folder.join("cache"))
            .args(["image", "platform", "build"])
            .args([
                "mse-server",
                "mse-cas",
                "mse-flask",
                "--plain-http",
                "--push",
            ])
            .arg(registry.address())
            .arg("--programs")
            .arg(static_program("mse-enclave").parent().unwrap()),
    );
    fs::write(folder.join("images.yaml"), values).unwrap();
}

#[test]
#[ignore = "takes a Kubernetes with a node: ./x kubernetes"]
fn the_platform_and_its_apps_run_on_a_real_node() {
    let setting = Setting::new();
    let settings = settings(&setting);
    // Returns when all of them are ready.
    let notes = setting.helm("install", &settings);
    assert!(notes.contains("NOT in user namespaces"), "{notes}");
    let shown = setting.kubectl(&["get", "pods", "--namespace", "mse"]);
    assert_eq!(shown.matches("1/1").count(), 2, "{shown}");
    setting.make_names();
    log_in(&setting);
    the_cas_is_attested(&setting);

    let manifest = setting.person.take_app_with(CANARY);
    let id = the_app_runs_in_its_pod(&setting, &manifest);
    nothing_holds_the_canary(&setting, &id);
    setting.mse(&["stop", &id]).succeeded();
    setting.until("nothing of the app is left", || is_empty(&setting, "apps"));
    let log = setting.mse(&["logs", &id]).succeeded().stdout;
    assert!(log.contains("stopped as asked"), "{log}");

    // The CAS of the first start is opened by the second.
    let settings = [&settings[..], &["cas.start=open".to_owned()]].concat();
    setting.helm("upgrade", &settings);
    the_cas_is_attested(&setting);

    // An app goes with the release, though its server loses its rights at the same moment.
    deploy(&setting, &manifest);
    the_cluster_is_left_empty(&setting);
}

fn settings(setting: &Setting) -> Vec<String> {
    setting.person.run(&["cas", "keygen"]).succeeded();
    let owner = setting.person.run(&["cas", "whoami", "--json"]).succeeded();
    let owner = owner.json();
    let owner = owner["key_hash"].as_str().unwrap();
    [
        "tee=simulated",
        &format!("simulated.platform={PLATFORM}"),
        "server.tlsSecret=mse-tls",
        "server.domainSuffix=apps.example",
        &format!("server.publicGateway={GATEWAY}:443"),
        // The node has as many cores as this machine.
        "server.hardware[0]=4g-eu-001=8:512:1",
        "apps.namespace=apps",
        "cas.enabled=true",
        &format!("cas.owner={owner}"),
    ]
    .map(str::to_owned)
    .into()
}

/// With a token that the server gives its administrator.
fn log_in(setting: &Setting) {
    let anchor = setting.path("platform/trust-anchor.toml");
    setting.mse(&["trust", "add", path(&anchor)]).succeeded();
    let exec = ["exec", "--namespace", "mse", "mse-server-0", "--"];
    let token = [
        "/mse/bin/mse-server",
        "token",
        "--config",
        "/etc/mse/server.toml",
    ];
    let token = setting.kubectl(&[&exec[..], &token].concat());
    let server = format!("https://{SERVER}:7310");
    let words = ["login", "--server", &server, "--token", token.trim()];
    through_a_service(setting, &words);
}

fn the_cas_is_attested(setting: &Setting) {
    let address = format!("{CAS}:18765");
    let anchor = setting.path("platform/trust-anchor.toml");
    let collateral = format!("https://{SERVER}:7310/pccs");
    let words = [
        "cas",
        "attest",
        &address,
        "--name",
        "here",
        "--pccs",
        &collateral,
    ];
    let simulated = ["--simulated", path(&anchor)];
    through_a_service(setting, &[&words[..], &simulated].concat());
}

/// A Service leads to a pod that is ready as soon as the node's proxy has heard of it, and nowhere
/// before.
fn through_a_service(setting: &Setting, words: &[&str]) {
    let last = RefCell::new(None);
    setting.until("its Service leads to the pod", || {
        let ran = setting.mse(words);
        let is_reached = ran.code != OUT_OF_REACH;
        last.replace(Some(ran));
        is_reached
    });
    last.take().unwrap().succeeded();
}

/// Verified, and provisioned through the gateway.
fn deploy(setting: &Setting, manifest: &Path) -> Value {
    let workspace = setting.path("workspace");
    let words = [
        "deploy",
        "-y",
        "--json",
        "--path",
        path(manifest),
        "--workspace",
    ];
    let deployed = setting.mse(&[&words[..], &[path(&workspace)]].concat());
    if deployed.code != 0 {
        eprintln!("{}", setting.pods_explained());
    }
    deployed.succeeded().json()
}

fn the_app_runs_in_its_pod(setting: &Setting, manifest: &Path) -> String {
    let deployed = deploy(setting, manifest);
    assert_eq!(deployed["tee"], "simulated");
    let [id, url] = ["id", "url"].map(|field| deployed[field].as_str().unwrap());
    // Through the gateway: users are not on the server's machine.
    let host = url.trim_start_matches("https://");
    assert!(host.ends_with(".apps.example"), "{url}");
    let answer = setting.on_node(
        "curl",
        &[
            "--silent",
            "--show-error",
            "--fail",
            "--cacert",
            path(&setting.path("workspace/ratls.pem")),
            "--connect-to",
            &format!("{host}:443:{}:443", setting.address_of("mse-server-public")),
            url,
        ],
    );
    assert_eq!(answer, "Hello world");

    // By the kubelet, in a container of the image that was pushed.
    let pods = setting.objects("pods", "apps");
    let [pod] = pods.as_slice() else {
        panic!("{pods:?}");
    };
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["ready"], true, "{status}");
    assert_eq!(status["restartCount"], 0, "{status}");
    let container = status["containerID"].as_str().unwrap();
    assert!(container.starts_with("containerd://"), "{container}");
    let images = fs::read_to_string(setting.path("images.yaml")).unwrap();
    let image = status["imageID"].as_str().unwrap();
    assert!(
        images.contains(image) && image.contains("/mse-flask@"),
        "{image}"
    );
    let status = setting.mse(&["status", id, "--json"]).succeeded().json();
    let confinement = status["confinement"].as_array().unwrap();
    let seccomp = confinement.iter().find(|one| one["name"] == "seccomp");
    assert_eq!(seccomp.unwrap()["applied"], true, "{confinement:?}");
    id.to_owned()
}

/// Neither an object, nor the database of the API server, nor any file of the node.
fn nothing_holds_the_canary(setting: &Setting, id: &str) {
    let kinds = format!("{KINDS},secrets,persistentvolumeclaims,nodes");
    let everything = ["get", &kinds, "--all-namespaces", "--output", "yaml"];
    let everything = setting.kubectl(&everything);
    assert!(everything.contains(id) && !everything.contains(CANARY));
    let found = setting
        .node
        .command("grep")
        // Namespaces are no files that can be read.
        .args(["--recursive", "--exclude-dir=netns", "--quiet"])
        .args(["--fixed-strings", CANARY])
        .arg(setting.cluster.folder())
        .args(["/var/log", "/var/lib", "/run"])
        .status()
        .unwrap();
    assert_eq!(found.code(), Some(1), "grep finds it, or fails");
}

/// But for what every namespace has.
fn is_empty(setting: &Setting, namespace: &str) -> bool {
    let ours = |object: &Value| {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let of_all = kind == "ServiceAccount" && name == "default"
            || kind == "ConfigMap" && name == "kube-root-ca.crt"
            // Who owns apps, and what the server may do, is the chart's.
            || name == "mse-server-apps" && kind != "Deployment"
            || kind == "Event";
        !of_all
    };
    !setting.objects(KINDS, namespace).iter().any(ours)
}

fn the_cluster_is_left_empty(setting: &Setting) {
    assert!(!is_empty(setting, "apps"));
    let words = ["uninstall", "mse", "--namespace", "mse", "--wait"];
    printed(&mut setting.cluster.helm(&words, None));
    for namespace in ["mse", "apps"] {
        setting.until("all objects are gone", || is_empty(setting, namespace));
        let left = setting.kubectl(&["get", KINDS, "--namespace", namespace, "--output", "name"]);
        let is_ours = |line: &&str| line.contains("/mse-") && !line.starts_with("event/");
        assert_eq!(left.lines().find(is_ours), None);
    }
    // What they stored stays, until somebody who may deletes it.
    let claims = setting.objects("persistentvolumeclaims", "mse");
    assert_eq!(claims.len(), 2, "{claims:?}");
    setting.until("all containers end", || {
        let processes = setting.processes();
        !["/mse/bin/", "containerd-shim", "/pause"]
            .iter()
            .any(|program| processes.contains(program))
    });
    let pods = format!("{}/node/kubelet/pods/", setting.cluster.folder().display());
    setting.until("its volumes are gone", || {
        !setting.on_node("cat", &["/proc/1/mounts"]).contains(&pods)
    });
}
