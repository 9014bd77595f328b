use mse_crypto::Digest;
use mse_workload::image::{FACTS_FORMAT, ImageFacts};
use mse_workload::{CasKey, EnclaveDigest};

use super::*;
use crate::compile::{Target, compile};
use crate::{ServiceManifest, Variables};

const WEB: &str = "
apiVersion: mse/v1
kind: genservice
environment:
  local:
  - {name: PASSWORD, value: $$MSE::password$$}
  global:
  - {name: GREETING}
secrets:
  global:
  - {name: password, kind: ascii, value: canary-secret}
build:
  name: web
  kind: python
  to: r.example/web
  command: python3 web.py canary-argument
  health: {http: {path: /health, port: 8080}}
listen: [{port: 8080, name: http}]
";

const DB: &str = "
apiVersion: mse/v1
kind: genservice
build:
  name: db
  kind: sconify_image
  from: r.example/base
  to: r.example/db
  command: /usr/bin/db
  volumes: [{name: data, path: /data}]
listen: [5432]
";

const MESH: &str = "
apiVersion: mse/v1
kind: mesh
cas: [{cas_url: 'cas.example:8081'}]
policy: {namespace: team/shop}
env:
- {service: global, env: [{name: GREETING, value: canary-environment}]}
- {service: helm, env: [{name: imagePullSecrets, value: registry}]}
services:
- name: Web_1
  image: r.example/web
  replicas: 3
  ports: [{port: 80, target: 8080, name: http}]
  connections: [{to: db, ports: [5432]}]
  node_selector: {disk: ssd}
  helm_extra_values: {resources: {requests: {cpu: 100m}}, ingress: {enabled: true}}
- name: db
  image: r.example/db
  resources: {memory: 2Gi, cores: 2}
  volumes: [{name: data, size: 10Gi, storage_class: fast}]
  connections: []
helm_extra_values:
  db: {podLabels: {tier: store}}
  db2: {replicaCount: 2}
";

fn image(manifest: &str) -> MeshImage {
    let (manifest, _) = ServiceManifest::read(manifest, &Variables::new()).unwrap();
    let reference = format!("{}@sha256:{}", manifest.build.to, "0f".repeat(32));
    MeshImage {
        reference: reference.parse().unwrap(),
        facts: ImageFacts {
            format: FACTS_FORMAT,
            name: manifest.build.name.to_string(),
            root: Digest::of(manifest.build.name.as_str().as_bytes()),
            enclave: EnclaveDigest(Digest::of(b"enclave")),
            sealed: None,
            unmeasured: Vec::new(),
        },
        template: manifest.template(),
        key: None,
        stable: None,
    }
}

/// Charts of `mesh`, whose services run the images in its order.
fn chart(mesh: &str, images: &[&str], simulated: bool) -> Result<Chart, ChartError> {
    installed(mesh, images, simulated, Chart::of)
}

/// The values of the first service, and the warnings.
fn first(mesh: &str) -> (Value, Vec<String>) {
    let mut warnings = Vec::new();
    let charts = installed(mesh, &[WEB, DB], true, |installation| {
        ServiceChart::all(installation, &mut warnings)
    });
    (charts.unwrap().swap_remove(0).values, warnings)
}

fn installed<T>(
    mesh: &str,
    images: &[&str],
    simulated: bool,
    make: impl FnOnce(&Installation<'_>) -> T,
) -> T {
    let (mesh, _) = Meshfile::read(mesh, &Variables::new()).unwrap();
    let names = mesh.services.iter().map(|one| one.name.clone());
    let images: BTreeMap<_, _> = names.zip(images.iter().map(|one| image(one))).collect();
    let target = Target {
        cas_key: CasKey::of(b"cas"),
        simulated,
        release: "mesh",
        owner: &crate::compile::Ownership::Sender,
        images: &images,
        authorities: &BTreeMap::new(),
    };
    let plan = compile(&mesh, &target).unwrap();
    make(&Installation {
        mesh: &mesh,
        services: &plan.services,
        images: &images,
        cas: "cas.example:8081",
        name: "shop",
        simulated,
    })
}

fn file<'a>(chart: &'a Chart, path: &str) -> &'a str {
    let found = chart.files.iter().find(|one| one.path == path);
    let found = found.unwrap_or_else(|| panic!("there is no `{path}`"));
    std::str::from_utf8(&found.content).unwrap()
}

#[test]
fn the_chart_of_two_services() {
    let chart = chart(MESH, &[WEB, DB], true).unwrap();
    let paths: Vec<_> = chart.files.iter().map(|one| one.path.as_str()).collect();
    insta::assert_snapshot!("paths", paths.join("\n"));
    insta::assert_snapshot!("chart", file(&chart, "Chart.yaml"));
    insta::assert_snapshot!("values", file(&chart, "values.yaml"));
    insta::assert_snapshot!("web_values", file(&chart, "charts/web-1/values.yaml"));
    insta::assert_snapshot!("db_values", file(&chart, "charts/db/values.yaml"));
    insta::assert_snapshot!("schema", file(&chart, "values.schema.json"));
    insta::assert_snapshot!("warnings", chart.warnings.join("\n"));
}

#[test]
fn the_same_mesh_gives_the_same_bytes() {
    assert_eq!(
        chart(MESH, &[WEB, DB], true).unwrap(),
        chart(MESH, &[WEB, DB], true).unwrap()
    );
}

#[test]
fn what_the_program_is_told_is_in_no_file() {
    for one in chart(MESH, &[WEB, DB], true).unwrap().files {
        let content = String::from_utf8(one.content).unwrap();
        assert!(!content.contains("canary"), "{}", one.path);
    }
}

#[test]
fn a_mesh_for_hardware_is_never_simulated() {
    let machine = format!("machines: [{{tee: snp, measurement: {}}}]", "d4".repeat(48));
    let mesh = MESH.replacen("policy: {", &format!("policy: {{{machine}, "), 1);
    let chart = chart(&mesh, &[WEB, DB], false).unwrap();
    assert!(file(&chart, "values.yaml").contains("  tee: \"\"\n"));
    for path in ["values.schema.json", "charts/db/values.schema.json"] {
        let schema: Value = serde_json::from_str(file(&chart, path)).unwrap();
        let tee = schema
            .pointer("/properties/global/properties/tee/enum")
            .or(schema.pointer("/properties/tee/enum"));
        assert_eq!(*tee.unwrap(), json!(["", "sgx", "tdx", "snp"]), "{path}");
    }
}

#[test]
fn each_schema_is_one() {
    let chart = chart(MESH, &[WEB, DB], true).unwrap();
    for service in ["web-1", "db"] {
        let schema = file(&chart, &format!("charts/{service}/values.schema.json"));
        let schema: Value = serde_json::from_str(schema).unwrap();
        jsonschema::draft7::meta::validate(&schema).unwrap();
    }
    // Values are checked against it by Helm: tests/tests/kubernetes_chart.rs.
}

#[test]
fn without_connections_what_is_listened_on_is_open_and_nothing_else() {
    let mesh = MESH
        .replace("  connections: [{to: db, ports: [5432]}]\n", "")
        .replace("  connections: []\n", "");
    let chart = chart(&mesh, &[WEB, DB], true).unwrap();
    let values = file(&chart, "charts/db/values.yaml");
    assert!(values.contains("unrestricted: true"), "{values}");
    assert!(values.contains("from: []"), "{values}");
    // Without the shield, a GET is answered.
    assert!(file(&chart, "charts/web-1/values.yaml").contains("path: /health"));
}

#[test]
fn a_host_with_an_address_is_open_there_and_a_name_is_warned_of() {
    let chart = |hosts: &str| {
        let mesh = MESH.replace("[{to: db, ports: [5432]}]", &format!("[{hosts}]"));
        let (values, mut warnings) = first(&mesh);
        warnings.retain(|one| one.contains("network policies"));
        (
            values["networkPolicy"]["egress"]["networks"].clone(),
            warnings,
        )
    };
    let (networks, warned) = chart(
        "{host: 192.0.2.7, ports: [443], tls: program}, {host: '2001:db8::1', ports: [22], tls: program}",
    );
    assert_eq!(
        networks,
        json!([
            {"cidr": "192.0.2.7/32", "ports": [443]},
            {"cidr": "2001:db8::1/128", "ports": [22]},
        ])
    );
    assert_eq!(warned, [""; 0]);
    let (networks, warned) = chart("{host: api.example.com, ports: [443, 8443], tls: program}");
    let everywhere = |cidr| json!({"cidr": cidr, "ports": [443, 8443]});
    assert_eq!(
        networks,
        json!([everywhere("0.0.0.0/0"), everywhere("::/0")])
    );
    assert_eq!(warned.len(), 1, "{warned:?}");
    for part in [
        "Web_1: ",
        "port 443 or 8443 of every address",
        "`api.example.com`",
    ] {
        assert!(warned[0].contains(part), "{warned:?}");
    }
}

#[test]
fn who_counts_bad_answers_counts_alone() {
    let web = |mesh: &str| first(mesh).0["readinessProbe"].clone();
    let health = "health: {tcp: 8080, period: 30, timeout: 4, failures: 7}";
    let shielded = MESH.replace("replicas: 3", &format!("replicas: 3\n  {health}"));
    let well = ["/mse/bin/mse-launch", "healthz", "--well"];
    assert_eq!(
        web(&shielded),
        json!({
            "exec": {"command": well},
            "periodSeconds": 30, "timeoutSeconds": 4, "failureThreshold": 1,
        })
    );
    let open = shielded
        .replace("  connections: [{to: db, ports: [5432]}]\n", "")
        .replace("  connections: []\n", "");
    assert_eq!(
        web(&open),
        json!({
            "tcpSocket": {"port": 8080},
            "periodSeconds": 30, "timeoutSeconds": 4, "failureThreshold": 7,
        })
    );
}

#[test]
fn each_refusal_names_field_value_and_fix() {
    let refused = |mesh: &str| chart(mesh, &[WEB, DB], true).unwrap_err().to_string();
    let name = refused(&MESH.replace("name: Web_1", "name: 1web"));
    assert!(name.starts_with("`services[].name` is `1web`: "), "{name}");
    assert!(!is_release("Shop") && !is_release("shop-") && !is_release("1shop") && !is_release(""));
    assert!(is_release("shop-2"));
}
