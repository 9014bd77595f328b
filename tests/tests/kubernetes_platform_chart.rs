//! The chart of the platform, `deploy/helm/mse`, as Helm itself renders it and as several versions of
//! Kubernetes see the objects. `kubernetes_platform.rs` installs it.

use std::fs;
use std::process::Command;

use mse_tests::kubernetes::{documents, printed, refused, tool};
use mse_tests::programs::repository;
use serde_json::Value;

const VERSIONS: [&str; 4] = ["1.29", "1.31", "1.34", "1.37"];

fn image(name: &str) -> String {
    format!("r.example/{name}@sha256:{}", "0a".repeat(32))
}

fn helm(command: &[&str], settings: &[&str]) -> Command {
    let mut helm = tool("helm");
    helm.args(command)
        .arg(repository().join("deploy/helm/mse"))
        .args(["--namespace", "mse"]);
    let required = [
        "server.tlsSecret=mse-tls".to_owned(),
        "server.domainSuffix=apps.example".to_owned(),
        "server.publicGateway=gw.example:443".to_owned(),
        "apps.namespace=apps".to_owned(),
        format!("server.image={}", image("mse-server")),
        format!("apps.images.mse-flask={}", image("mse-flask")),
    ];
    for setting in required
        .iter()
        .map(String::as_str)
        .chain(settings.iter().copied())
    {
        helm.args(["--set", setting]);
    }
    helm
}

/// Settings for everything that there is.
fn everything() -> Vec<String> {
    let mut settings: Vec<String> = [
        "tee=simulated",
        "simulated.platform=/srv/tee",
        "imagePullSecrets[0].name=registry",
        "server.operatorTlsSecret=operator-tls",
        "server.hardware[0]=8g=2:8192:4",
        "server.collateralUpstream=https://pccs.example:8081",
        "server.database.name=server-database",
        "server.database.key=url",
        "server.storage.storageClass=fast",
        "server.service.type=LoadBalancer",
        "apps.nodeSelector.pool=apps",
        "apps.runtimeClass=kata",
        "apps.hostUsers=false",
        "cas.enabled=true",
        "cas.start=open",
        "cas.names[0]=cas.example",
        "cas.database.name=cas-database",
        "cas.database.key=url",
        "networkPolicy.clients[0].ipBlock.cidr=192.0.2.0/24",
        "networkPolicy.servers[0].ipBlock.cidr=192.0.2.1/32",
    ]
    .map(str::to_owned)
    .into();
    settings.push(format!("cas.image={}", image("mse-cas")));
    settings.push(format!("cas.owner={}", "0a".repeat(32)));
    settings
}

fn objects(settings: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.yaml");
    fs::write(&file, printed(&mut helm(&["template", "r1"], settings))).unwrap();
    documents(&file)
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects
        .iter()
        .find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("there is no {kind} `{name}`"))
}

fn words(settings: &[String]) -> Vec<&str> {
    settings.iter().map(String::as_str).collect()
}

#[test]
fn helm_finds_no_fault_and_every_version_knows_every_field() {
    let all = everything();
    let folder = tempfile::tempdir().unwrap();
    for (number, settings) in [
        vec!["tee=sgx"],
        vec!["tee=tdx", "networkPolicy.enabled=false"],
        vec!["tee=snp", "podDisruptionBudget.enabled=false"],
        words(&all),
    ]
    .iter_mut()
    .enumerate()
    {
        // Some of the versions want it said.
        settings.push("apps.hostUsers=false");
        printed(&mut helm(&["lint", "--strict"], settings));
        for version in VERSIONS {
            let rendered = printed(&mut template_for(version, settings));
            let file = folder.path().join(format!("{version}-{number}.yaml"));
            fs::write(&file, rendered).unwrap();
            printed(
                tool("kubernetes-validate")
                    .args(["-k", version, "--strict"])
                    .arg(file),
            );
        }
    }
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_installed() {
    let simulated = ["tee=simulated", "simulated.platform=/srv/tee"];
    printed(&mut helm(&["template", "r1"], &simulated));
    for (settings, says) in [
        (vec![], "tee"),
        (vec!["tee=gramine"], "tee"),
        // Nothing is simulated by halves, and no CAS is on hardware that this chart cannot put it on.
        (vec!["tee=simulated"], "platform"),
        (vec!["tee=tdx", "simulated.platform=/srv/tee"], "platform"),
        (vec!["tee=tdx", "cas.enabled=true"], "enabled"),
        (
            vec!["tee=tdx", "server.image=r.example/mse-server:1"],
            "image",
        ),
        (vec!["tee=tdx", "apps.images.mse-flask=x"], "mse-flask"),
        (vec!["tee=tdx", "server.tlsSecret="], "tlsSecret"),
        (vec!["tee=tdx", "server.replicas=2"], "replicas"),
        (
            vec!["tee=tdx", "cas.database.url=postgres://u:p@h/d"],
            "url",
        ),
        (vec!["tee=tdx", "cas.database.name=x"], "key"),
        (
            vec!["tee=tdx", "server.database.url=postgres://u:p@h/d"],
            "url",
        ),
        (vec!["tee=tdx", "server.database.name=x"], "key"),
        (vec!["tee=tdx", "server.database.key=x"], "name"),
    ] {
        let said = refused(&mut helm(&["template", "r1"], &settings));
        assert!(
            said.contains("values don't meet") && said.contains(says),
            "{settings:?}: {said}"
        );
    }
}

/// `helm template` for a cluster of this version.
fn template_for(version: &str, settings: &[&str]) -> Command {
    let mut helm = helm(&["template", "r1"], settings);
    helm.args(["--kube-version", &format!("{version}.0")]);
    helm
}

#[test]
fn apps_do_not_share_the_namespace_of_the_platform_unless_that_is_said() {
    for namespace in ["apps.namespace=", "apps.namespace=mse"] {
        let settings = ["tee=snp", namespace];
        let said = refused(&mut helm(&["template", "r1"], &settings));
        for words in [
            "the release's namespace `mse`",
            "set `apps.namespace` to its name",
            "set `apps.shareNamespace=true`",
        ] {
            assert!(said.contains(words), "{said}");
        }
        let allowed = [&settings[..], &["apps.shareNamespace=true"]].concat();
        let objects = objects(&allowed);
        let role = find(&objects, "Role", "r1-server-apps");
        assert_eq!(role["metadata"]["namespace"], "mse");
    }
    let objects = objects(&["tee=snp"]);
    let role = find(&objects, "Role", "r1-server-apps");
    assert_eq!(role["metadata"]["namespace"], "apps");
    // Who owns apps is where they are: an owner in another namespace is none.
    let owner = find(&objects, "ServiceAccount", "r1-server-apps");
    assert_eq!(owner["metadata"]["namespace"], "apps");
}

#[test]
fn apps_have_user_namespaces_where_the_version_has_them() {
    let host_users = |version: &str, more: &[&str]| {
        let settings = [&["tee=snp"], more].concat();
        let text = printed(&mut template_for(version, &settings));
        let line = text.lines().find(|line| line.contains("host-users = "));
        line.map(|line| line.trim().to_owned())
    };
    let own = Some("host-users = false".to_owned());
    for version in ["1.33", "1.37"] {
        assert_eq!(host_users(version, &[]), own);
    }
    assert_eq!(host_users("1.20", &[]), None);
    for version in ["1.30", "1.32"] {
        let said = refused(&mut template_for(version, &["tee=snp"]));
        assert!(said.contains("`apps.hostUsers`: Kubernetes v1.3"), "{said}");
        assert!(said.contains("set `apps.hostUsers=false`"), "{said}");
        assert_eq!(host_users(version, &["apps.hostUsers=false"]), own);
    }
    let shared = host_users("1.37", &["apps.hostUsers=true"]);
    assert_eq!(shared.as_deref(), Some("host-users = true"));
}

#[test]
fn simulated_is_said_everywhere_and_hardware_is_not_called_so() {
    let all = everything();
    let label = "mse.dev/simulated";
    for object in objects(&words(&all)) {
        assert_eq!(object["metadata"]["labels"][label], "true", "{object}");
        let template = &object["spec"]["template"]["metadata"];
        if template.is_object() {
            assert_eq!(template["labels"][label], "true", "{object}");
            assert!(template["annotations"][label].is_string(), "{object}");
        }
    }
    let hardware = printed(&mut helm(&["template", "r1"], &["tee=snp"]));
    assert!(!hardware.to_lowercase().contains("simulated"), "{hardware}");
}

/// The file that the chart writes is one that `mse-server` takes.
#[test]
fn the_configuration_is_the_servers() {
    let all = everything();
    for settings in [words(&all), vec!["tee=sgx"], vec!["tee=tdx"]] {
        let objects = objects(&settings);
        let text = find(&objects, "ConfigMap", "r1-server")["data"]["server.toml"]
            .as_str()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        // What it would need the cluster for comes after the file was understood.
        let cluster = "[kubernetes]\nkubeconfig = '/nowhere'\n";
        let text = text.replace("[kubernetes]\n", cluster);
        let text = text.replace("/var/lib/mse\"", &format!("{}\"", folder.path().display()));
        let text = text.replace("log-format = \"json\"", "");
        fs::write(&file, text).unwrap();
        let said = refused(
            Command::new(mse_tests::programs::program("mse-server"))
                .arg("--config")
                .arg(&file)
                .args(["--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"]),
        );
        assert!(said.contains("no Kubernetes cluster to use"), "{said}");
    }
}

#[test]
fn pods_of_the_platform_have_no_rights_and_secrets_are_named_only() {
    let all = everything();
    let objects = objects(&words(&all));
    for name in ["r1-server", "r1-cas"] {
        let pod = &find(&objects, "StatefulSet", name)["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["capabilities"]["drop"][0], "ALL");
        assert!(container["capabilities"]["add"].is_null());
    }
    // Where a database is comes from its Secret, and never onto a command line or into a ConfigMap.
    for (name, variable, secret) in [
        ("r1-server", "MSE_SERVER_DATABASE", "server-database"),
        ("r1-cas", "MSE_CAS_DATABASE", "cas-database"),
    ] {
        let pod = &find(&objects, "StatefulSet", name)["spec"]["template"]["spec"];
        let environment = pod["containers"][0]["env"].as_array().unwrap();
        let given = environment.iter().find(|one| one["name"] == variable);
        let reference = &given.unwrap()["valueFrom"]["secretKeyRef"];
        assert_eq!(
            *reference,
            serde_json::json!({"name": secret, "key": "url"})
        );
        let policy = find(&objects, "NetworkPolicy", name).to_string();
        assert!(policy.contains("5432"), "{policy}");
    }
    let cas = &find(&objects, "StatefulSet", "r1-cas")["spec"]["template"]["spec"];
    assert_eq!(cas["automountServiceAccountToken"], false);
    let arguments = cas["containers"][0]["args"].to_string();
    assert!(!arguments.contains("--create"), "{arguments}");
    assert!(objects.iter().all(|one| one["kind"] != "Secret"));
    let role = find(&objects, "Role", "r1-server-apps");
    assert_eq!(role["metadata"]["namespace"], "apps");
    assert!(!role.to_string().contains("secrets") && !role.to_string().contains('*'));
}
