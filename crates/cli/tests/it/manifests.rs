//! `mse manifest`.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::User;

const SERVICE: &str = "\
# A service.
apiVersion: scone/5.8
kind: genservice
build:
  name: api
  kind: python
  to: $REPO/api:1
  command: python3 api.py
  host_path: [/etc/ssl/certs]
environment:
  local:
  - {name: API_PASSWORD, value: $$SCONE::password$$}
secrets:
  global:
  - {name: password, kind: ascii, size: 10}
";

const MESH: &str = "\
apiVersion: scone/5.8
kind: mesh
cas:
- name: cas
  alias: [image, security, access, attestation]
  cas_url: cas.example
  tolerance: -G
policy: {namespace: shop}
env:
- {key: API_USER, value: me}
services:
- {name: api, image: 'registry.example/api:1'}
";

fn user() -> User {
    let user = User::new();
    user.write("service.yml", SERVICE);
    user.write("mesh.yml", MESH);
    user.write(
        "bad.yml",
        "apiVersion: mse/v1\nkind: genservice\nbuild:\n  name: a b\n  kind: pyton\n  to: x\n  comand: run\n",
    );
    user.write("other.yml", "kind: Register\n");
    user
}

#[test]
fn every_action_has_a_help_with_an_example() {
    let user = User::new();
    for action in ["check", "convert", "schema"] {
        let help = user.mse(&["manifest", action, "--help"]).stdout;
        assert!(help.contains("Examples:"), "{action}");
        insta::assert_snapshot!(format!("manifest_help_{action}"), help);
    }
}

#[test]
fn check_says_what_is_wrong_where_and_what_to_do() {
    let user = user();
    let mut shown = String::new();
    for words in [
        &["check", "service.yml"][..],
        &["check", "service.yml", "-e", "REPO=registry.example"],
        &["check", "mesh.yml"],
        &["check", "bad.yml"],
        &["check", "other.yml"],
        &["check", "nowhere.yml"],
        &["check", "bad.yml", "--json"],
        &["check", "nowhere.yml", "--json"],
    ] {
        let ran = user.mse(&[&["manifest"], words].concat());
        writeln!(shown, "##### {}\n{}", words.join(" "), ran.shown()).unwrap();
    }
    insta::assert_snapshot!("manifest_check", shown);
}

#[test]
fn check_has_one_shape_for_programs() {
    let user = user();
    let check = |words: &[&str]| user.mse(&[&["manifest", "check", "--json"], words].concat());
    let good = check(&["mesh.yml"]);
    assert_eq!(good.code, 0);
    let document = good.json();
    let keys: Vec<_> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ok", "kind", "errors", "warnings"]);
    assert_eq!(document["ok"], true);
    assert_eq!(document["kind"], "mesh");
    assert_eq!(document["errors"], json!([]));
    let warning = document["warnings"][0].as_object().unwrap();
    let keys: Vec<_> = warning.keys().collect();
    assert_eq!(keys, ["code", "line", "column", "field", "message", "hint"]);

    let bad = check(&["bad.yml"]);
    assert_eq!(bad.code, 1);
    assert_eq!(bad.json()["ok"], false);
    assert_eq!(bad.json()["kind"], "genservice");
    let other = check(&["other.yml"]).json();
    assert_eq!(
        (&other["ok"], &other["kind"]),
        (&json!(false), &Value::Null)
    );

    // A variable without value does not stop a check, and stops what needs the document.
    let open = check(&["service.yml"]);
    assert_eq!(open.code, 0);
    assert_eq!(open.json()["warnings"][0]["code"], "undefined-variable");
    user.mse(&["manifest", "convert", "service.yml"])
        .failed_with(3, "no valid manifest");
}

#[test]
fn convert_writes_one_form() {
    let user = user();
    let mut shown = String::new();
    for words in [
        &["convert", "service.yml", "-e", "REPO=registry.example"][..],
        &["convert", "mesh.yml"],
        &["convert", "bad.yml"],
        &["convert", "service.yml"],
    ] {
        let ran = user.mse(&[&["manifest"], words].concat());
        writeln!(shown, "##### {}\n{}", words.join(" "), ran.shown()).unwrap();
    }
    insta::assert_snapshot!("manifest_convert", shown);

    let out = &["manifest", "convert", "mesh.yml", "-o", "new.yml"];
    assert_eq!(user.mse(out).code, 0);
    user.mse(out)
        .failed_with(12, "exists, and is not overwritten");
    let checked = user.mse(&["manifest", "check", "new.yml", "--json"]).json();
    let codes: Vec<_> = checked["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["weak-attestation"]);
}

#[test]
fn the_schemas_are_printed() {
    let user = User::new();
    for (kind, title) in [("genservice", "Service manifest"), ("mesh", "Meshfile")] {
        let text = user.mse(&["manifest", "schema", kind]).stdout;
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(schema["title"], title);
        assert_eq!(
            user.mse(&["manifest", "schema", kind, "--json"]).json(),
            schema
        );
    }
    user.mse(&["manifest", "schema", "mash"])
        .failed_with(2, "mesh");
}
