//! The JSON Schemas: those that are checked in, and what they say about documents.

use std::path::Path;

use mse_mesh::{Kind, Variables, check_text, schema};
use serde_json::{Value, json};

/// `UPDATE_SCHEMAS=1` writes the schemas instead of comparing them.
#[test]
fn the_schemas_are_current() {
    for kind in Kind::ALL {
        let text = format!("{:#}\n", schema(kind));
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../schemas")
            .join(format!("{kind}.schema.json"));
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            text,
            "`{}` and the code have parted: run this test with UPDATE_SCHEMAS=1",
            file.display()
        );
    }
}

const MANIFEST: &str = "
apiVersion: scone/5.8
kind: genservice
build:
  name: api
  kind: python
  from: registry.example/base:1
  to: registry.example/api:2
  pwd: /app
  command: python3 api.py
  copy: [api.py]
  requirements: requirements.txt
  run: [echo one]
  binaries: [/usr/bin/python3]
  dirs: [/app/private]
  fs_dirs: [/app]
  fs_files: [/etc/passwd]
  plains: [/var/cache]
  plain_files: [/etc/motd]
  host_paths: [/etc/ssl/certs]
  volumes:
  - {name: data, path: /data, export: [{session: s, session_hash: HEX, update_policy: ephemeral, volume_alias: d}]}
  - {name: more, path: /more, import: {session: s, volume: d}}
  signature: {sign: true, key: identity.pem}
  stable: registry.example/api:1
  gen_policy: {policy: api.template}
  network: true
  health: {http: {path: /health, port: 8080}}
environment:
  local: [{name: A, value: 1}]
  global: [{name: B, value: true}, {name: C}]
secrets:
  global:
  - {name: a, kind: ascii, size: 10}
  - {name: b, kind: private-key, key_type: P-384, migrate: true}
  - {name: c, kind: x509-ca, private_key: b, common_name: CA, export_public: true}
  - {name: d, kind: x509, issuer: c, dns: [api], san: ['ip:192.0.2.1'], endpoint: server, valid_for: 90 days}
  - {name: e, kind: aad-token, tenant_id: t, client_id: i, application_secret: $$SCONE::a$$}
  - {name: f, kind: binary, value: '00'}
  import: [g]
injection_files: [{path: /f, content: x}]
listen: [80, {port: 443, name: https}]
";

const DEBIAN: &str = "
apiVersion: mse/v1
kind: genservice
build:
  name: cache
  kind: debian
  packages: [redis-server]
  without: [redis-tools]
  to: registry.example/cache
  command: redis-server
  volumes: [{name: data, path: /data, optional: true}]
";

const MESH: &str = "
apiVersion: mse/v1
kind: mesh
cas:
- name: cas
  alias: [image, security, access]
  cas_url: cas.example:8081
  cas_key: HEX
  cas_encryption_key: HEX
  trust:
    pins: {mrenclave: [HEX], mrsigner: HEX, isvprodid: 1, isvsvn: 5, software_key: HEX}
    tolerate: [outdated-tcb, {what: configuration-needed, reason: r, until: 2027-01-31}]
    simulated: this-machine
  mode: EncryptedManifest
- {name: attestation, cas_url: other.example, mode: ~}
policy:
  namespace: shop
  image_policy_namespace: images
  machines:
  - {tee: tdx, measurement: WIDE, rtmr0: WIDE, rtmr1: WIDE, rtmr2: WIDE}
  - {tee: snp, measurement: WIDE}
  tolerate: [hyperthreading, {what: outdated-tcb, reason: r, until: 2027-01-31}]
  ignore_advisories: [INTEL-SA-00615, {id: INTEL-SA-00614, reason: r, until: 2027-01-31}]
  maa: https://maa.example
  access_policy_name: a
  security_policy_name: b
  attestation_policy_name: c
env:
- {service: global, env: [{name: A, value: 1}]}
- {service: api, env: ~}
services:
- name: api
  image: registry.example/api:1
  image_policy: p
  image_secrets: s
  env: e
  helm_chart: c
  helm_extra_values: {a: [1]}
  replicas: 2
  resources: {memory: 1Gi, cores: 0.5}
  node_selector: {disk: fast}
  after: [db]
  health: {tcp: 8080, period: 10s, timeout: 3, failures: 2}
  ports: [80, {port: 443, target: 8443, name: https}]
  volumes: [{name: data, size: 1Gi, storage_class: fast}]
  connections: [db, {to: db, ports: [5432]}, {network: 10.0.0.0/8, ports: [443]}, {host: api.example.com, ports: [443], ca: ca.pem}, {host: 192.0.2.1, ports: [22], tls: program}]
- {name: db, image: registry.example/db}
- {name: cache, curated: redis, files: [{path: /a, content: x}, {path: /b, from: b.conf}]}
repo: {destination: registry.example, squash: true, strip: false, push: false, config_id: c, key_file: k}
extra_policies: [{name: x, mode: NoUpload}]
helm_extra_values: {db: {size: 1Gi}}
";

fn filled(text: &str) -> String {
    text.replace("HEX", &"1".repeat(64))
        .replace("WIDE", &"a".repeat(96))
}

/// The document as the schema sees it: YAML of our own writer, which is YAML of JSON's types.
fn validates(kind: Kind, value: &Value) -> Result<(), String> {
    let validator = jsonschema::draft202012::new(&schema(kind)).unwrap();
    validator.validate(value).map_err(|error| error.to_string())
}

#[test]
fn every_field_is_in_the_schema_and_in_the_language() {
    for (kind, texts) in [
        (Kind::Service, vec![MANIFEST, DEBIAN]),
        (Kind::Mesh, vec![MESH]),
    ] {
        for text in &texts {
            let outcome = check_text(&filled(text), &Variables::new());
            let errors: Vec<_> = outcome.errors().collect();
            assert!(errors.is_empty(), "{errors:#?}");
            let canonical = match outcome.document.unwrap() {
                mse_mesh::Document::Service(manifest) => manifest.to_json(),
                mse_mesh::Document::Mesh(mesh) => mesh.to_json(),
            };
            assert_eq!(validates(kind, &canonical), Ok(()));
        }
        let text = texts.concat();
        // Each property of the schema stands in a text above, so the language knows it.
        let mut properties = Vec::new();
        collect_properties(&schema(kind), &mut properties);
        for property in properties {
            let elsewhere = ["tolerance", "tcp", "http", "path"];
            assert!(
                text.contains(&format!("{property}:")) || elsewhere.contains(&property.as_str()),
                "{kind}: {property}"
            );
        }
    }
}

fn collect_properties(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                found.extend(properties.keys().cloned());
            }
            for value in map.values() {
                collect_properties(value, found);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_properties(item, found)),
        _ => {}
    }
}

#[test]
fn the_schemas_refuse_what_the_language_refuses() {
    let manifest = json!({
        "apiVersion": "mse/v1", "kind": "genservice",
        "build": {"name": "api", "kind": "python", "to": "r.example/api", "command": "x"},
    });
    assert_eq!(validates(Kind::Service, &manifest), Ok(()));
    for (pointer, value) in [
        ("/kind", json!("mesh")),
        ("/apiVersion", json!("v1")),
        ("/build/kind", json!("pyton")),
        ("/build/name", json!("a b")),
        ("/build", json!({})),
    ] {
        let mut changed = manifest.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        assert!(validates(Kind::Service, &changed).is_err(), "{pointer}");
    }
    let mut changed = manifest;
    changed["enviroment"] = json!({});
    assert!(validates(Kind::Service, &changed).is_err());
    assert!(validates(Kind::Mesh, &json!({"apiVersion": "mse/v1", "kind": "mesh"})).is_err());
}
