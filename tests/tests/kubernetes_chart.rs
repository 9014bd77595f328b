//! The charts of meshes, as Helm itself renders them and as several versions of Kubernetes see the
//! objects. Nothing is installed: `kubernetes_cluster.rs` does that.

use std::fs;
use std::process::Command;

use mse_tests::kubernetes::{
    CANARY, ChartFolder, CompiledFor, MESH, documents, printed, refused, tool,
};
use serde_json::Value;

/// The oldest has no field for AppArmor, the newest runs user namespaces by default.
const VERSIONS: [&str; 4] = ["1.29", "1.31", "1.34", "1.37"];

fn helm(arguments: &[&str], chart: &ChartFolder, settings: &[&str]) -> Command {
    let mut helm = tool("helm");
    helm.args(arguments).arg(chart.path());
    for setting in settings {
        helm.args(["--set", setting]);
    }
    helm
}

fn rendered(chart: &ChartFolder, settings: &[&str]) -> String {
    printed(&mut helm(&["template", "r1"], chart, settings))
}

/// The object of `kind` and `name`, as text.
fn object<'a>(objects: &'a str, kind: &str, name: &str) -> &'a str {
    let found = objects.split("\n---\n").find(|one| {
        one.lines().any(|line| line == format!("kind: {kind}"))
            && one.lines().any(|line| line == format!("  name: {name}"))
    });
    found.unwrap_or_else(|| panic!("there is no {kind} `{name}` in {objects}"))
}

/// The text without comments and spaces around lines, so that parts of it can be looked for.
fn lines(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join(" ")
}

#[test]
fn helm_finds_no_fault() {
    for target in [CompiledFor::Simulation, CompiledFor::Hardware] {
        let chart = ChartFolder::of(MESH, target);
        let tee = match target {
            CompiledFor::Simulation => "global.tee=simulated",
            CompiledFor::Hardware => "global.tee=tdx",
        };
        printed(&mut helm(&["lint", "--strict"], &chart, &[tee]));
    }
}

#[test]
fn every_version_of_kubernetes_knows_every_field() {
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    let folder = tempfile::tempdir().unwrap();
    for version in VERSIONS {
        for tee in ["simulated", "sgx", "tdx", "snp"] {
            let setting = format!("global.tee={tee}");
            let version_of = format!("{version}.0");
            let objects = printed(
                helm(&["template", "r1"], &chart, &[&setting])
                    .args(["--kube-version", &version_of]),
            );
            let file = folder.path().join(format!("{version}-{tee}.yaml"));
            fs::write(&file, objects).unwrap();
            printed(
                tool("kubernetes-validate")
                    .args(["-k", version, "--strict"])
                    .arg(file),
            );
        }
    }
    // The check can fail.
    let objects = rendered(&chart, &[]).replace("enableServiceLinks", "enableServiceLink");
    let file = folder.path().join("wrong.yaml");
    fs::write(&file, objects).unwrap();
    let fault = refused(
        tool("kubernetes-validate")
            .args(["-k", "1.34", "--strict"])
            .arg(file),
    );
    assert!(fault.contains("enableServiceLink"), "{fault}");
}

#[test]
fn manifests_are_what_helm_renders() {
    let folder = tempfile::tempdir().unwrap();
    for (tee, values) in [
        ("simulated", "{}"),
        (
            "sgx",
            "{tolerations: [{key: a, operator: Exists}], sgxEpcMib: 256, service: {type: NodePort, annotations: {a: b}}}",
        ),
        (
            "tdx",
            "{hostUsers: null, podAnnotations: {a: b}, podLabels: {c: d}, affinity: {nodeAffinity: {}}, imagePullSecrets: [{name: other}]}",
        ),
        (
            "snp",
            "{runtimeClassName: kata, networkPolicy: {egress: {unrestricted: true}}, resources: {requests: {cpu: 100m}}}",
        ),
    ] {
        let mesh = format!(
            "{MESH}helm_extra_values: {{global: {{tee: {tee}}}, db: {values}, Web_1: {values}}}"
        );
        let chart = ChartFolder::of(&mesh, CompiledFor::Simulation);
        let [ours, helms] = ["ours", "helms"].map(|name| folder.path().join(name));
        fs::write(&ours, chart.manifests.as_ref().unwrap()).unwrap();
        fs::write(
            &helms,
            printed(&mut helm(&["template", "shop"], &chart, &[])),
        )
        .unwrap();
        let [ours, helms] = [ours, helms].map(|file| sorted(documents(&file)));
        assert_eq!(ours.len(), helms.len());
        assert!(ours.len() > 8, "{ours:?}");
        for (one, other) in ours.iter().zip(&helms) {
            assert_eq!(one, other, "{tee}");
        }
    }
    let unsaid = ChartFolder::of(MESH, CompiledFor::Hardware)
        .manifests
        .unwrap_err();
    assert!(
        unsaid.starts_with("`helm_extra_values.global.tee` is not set"),
        "{unsaid}"
    );
}

/// By kind and name, and without what says who manages them.
fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    const MANAGED: &str = "app.kubernetes.io/managed-by";
    for object in &mut objects {
        for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(Value::Object(labels)) = object.pointer_mut(labels) {
                assert!(labels.remove(MANAGED).is_some());
            }
        }
    }
    objects.sort_by_key(|one| format!("{} {}", one["kind"], one["metadata"]["name"]));
    objects
}

#[test]
fn a_pod_is_told_where_to_ask_and_nothing_else() {
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    let objects = rendered(&chart, &[]);
    assert!(!objects.contains(CANARY), "{objects}");
    let web = object(&objects, "Deployment", "web-1");
    let variables: Vec<_> = web
        .lines()
        .filter(|line| line.contains("- name: MSE_"))
        .collect();
    let variables: Vec<_> = variables.iter().map(|line| line.trim()).collect();
    assert_eq!(
        variables,
        [
            "- name: MSE_CAS",
            "- name: MSE_CAS_KEY",
            "- name: MSE_SESSION",
            "- name: MSE_SERVICE",
            "- name: MSE_MEMORY_MIB",
            "- name: MSE_MILLICORES",
            "- name: MSE_TEE",
        ]
    );
    assert!(!web.contains("args:") && !web.contains("envFrom") && !web.contains("valueFrom"));
    let web = lines(web);
    for part in [
        "replicas: 3",
        "automountServiceAccountToken: false",
        "enableServiceLinks: false",
        "hostUsers: false",
        "procMount: Unmasked",
        "readOnlyRootFilesystem: true",
        "add: [SYS_ADMIN, SETUID, SETGID, CHOWN, DAC_OVERRIDE, KILL]",
        "cpu: 1000m memory: 1088Mi",
        "maxUnavailable: 0 maxSurge: 1",
        "imagePullSecrets: - name: registry",
        "app.kubernetes.io/part-of: shop",
    ] {
        assert!(web.contains(part), "{part}: {web}");
    }
    assert!(
        object(&objects, "ServiceAccount", "db").contains("automountServiceAccountToken: false")
    );
}

#[test]
fn connections_are_all_that_is_open() {
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    let objects = rendered(&chart, &[]);
    let web = lines(object(&objects, "NetworkPolicy", "web-1"));
    assert!(
        web.contains(
            "policyTypes: [Ingress, Egress] ingress: - ports: - port: 8080 protocol: TCP egress:"
        ),
        "{web}"
    );
    assert!(web.contains("- ports: - port: 8081 protocol: TCP - ports: - port: 5432 protocol: TCP to: - podSelector: matchLabels: app.kubernetes.io/name: db"), "{web}");
    let db = lines(object(&objects, "NetworkPolicy", "db"));
    assert!(db.contains("- port: 5432 protocol: TCP from: - podSelector: matchLabels: app.kubernetes.io/name: web-1 app.kubernetes.io/instance: r1 egress:"), "{db}");
    assert!(db.ends_with("- port: 8081 protocol: TCP"), "{db}");
    let at = rendered(&chart, &["global.cas=10.1.2.3:8081"]);
    assert!(
        lines(&at).contains("to: - ipBlock: cidr: 10.1.2.3/32"),
        "{at}"
    );
}

#[test]
fn volumes_hold_ciphertext_and_have_one_writer() {
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    let objects = rendered(&chart, &[]);
    let claim = lines(object(&objects, "PersistentVolumeClaim", "db-data"));
    assert!(
        claim.contains("storageClassName: \"fast\" resources: requests: storage: 10Gi"),
        "{claim}"
    );
    let db = lines(object(&objects, "Deployment", "db"));
    assert!(db.contains("type: Recreate"), "{db}");
    assert!(db.contains("mountPath: /mse/volumes/data"), "{db}");
    assert!(db.contains("claimName: db-data"), "{db}");
}

#[test]
fn several_instances_have_a_disruption_budget() {
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    let budget = "kind: PodDisruptionBudget";
    let budgets = |settings: &[&str]| rendered(&chart, settings).matches(budget).count();
    assert_eq!(budgets(&[]), 1);
    assert_eq!(budgets(&["db.replicaCount=2"]), 2);
    assert_eq!(budgets(&["web-1.replicaCount=1"]), 0);
}

#[test]
fn each_tee_has_its_marks() {
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    let web = |settings: &[&str]| lines(object(&rendered(&chart, settings), "Deployment", "web-1"));

    let simulated = web(&[]);
    assert!(
        simulated.contains("mse.dev/simulated: \"true\""),
        "{simulated}"
    );
    assert!(
        simulated.contains("annotations: mse.dev/simulated: "),
        "{simulated}"
    );
    assert!(simulated.contains("value: simulated"), "{simulated}");
    assert!(
        simulated.contains("hostPath: path: \"/var/lib/mse/platform\" type: Directory"),
        "{simulated}"
    );

    for (tee, marks) in [
        ("sgx", ["value: gramine", "sgx.intel.com/enclave: 1"]),
        ("tdx", ["value: tsm", "runtimeClassName: kata-qemu-tdx"]),
        ("snp", ["value: tsm", "runtimeClassName: kata-qemu-snp"]),
    ] {
        let web = web(&[&format!("global.tee={tee}")]);
        for mark in marks {
            assert!(web.contains(mark), "{mark}: {web}");
        }
        assert!(
            !web.contains("simulated") && !web.contains("hostPath"),
            "{web}"
        );
    }
    let own = web(&["global.tee=snp", "global.runtimeClasses.snp=kata-cc"]);
    assert!(own.contains("runtimeClassName: kata-cc"), "{own}");
}

#[test]
fn a_mesh_for_hardware_names_its_tee_and_is_never_simulated() {
    let chart = ChartFolder::of(MESH, CompiledFor::Hardware);
    let template = |settings: &[&str]| refused(&mut helm(&["template", "r1"], &chart, settings));
    let unsaid = template(&[]);
    assert!(
        unsaid.contains("set `global.tee` to `sgx`, `tdx` or `snp`"),
        "{unsaid}"
    );
    for setting in ["global.tee=simulated", "db.tee=simulated"] {
        let refusal = template(&["global.tee=tdx", setting]);
        assert!(refusal.contains("/tee'"), "{refusal}");
    }
    assert!(!rendered(&chart, &["global.tee=tdx"]).contains("simulated: \"true"));
}

#[test]
fn wrong_values_are_refused_before_anything_is_installed() {
    let chart = ChartFolder::of(MESH, CompiledFor::Simulation);
    for (setting, names) in [
        ("web-1.replicaCount=many", "replicaCount"),
        ("web-1.replicas=2", "replicas"),
        ("web.replicaCount=2", "web"),
        ("global.cas=cas.example", "cas"),
        ("global.tee=sev", "tee"),
        ("db.image=r.example/shop/db:latest", "image"),
        ("db.workload.session=team/other", "session"),
        ("db.workload.memoryMib=64", "memoryMib"),
        ("db.resources.limits.memory=1Gi", "limits"),
    ] {
        let refusal = refused(&mut helm(&["template", "r1"], &chart, &[setting]));
        assert!(refusal.contains(names), "{setting}: {refusal}");
        assert!(
            refusal.contains("values don't meet the specifications"),
            "{setting}: {refusal}"
        );
    }
}
