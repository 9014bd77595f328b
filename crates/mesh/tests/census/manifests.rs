//! Service manifests.

use serde_json::{Value, json};

use crate::{Construct, check, check_table, read, walk};

const HEAD: &str = "apiVersion: scone/5.8\nkind: genservice\n";
const BUILD: &str =
    "name: api, kind: python, to: 'registry.example:5050/team/api:1', command: python3 api.py";

fn build(rest: &str) -> String {
    format!("{HEAD}build: {{{BUILD}, {rest}}}\nenvironment: {{}}\n")
}

fn with(rest: &str) -> String {
    format!("{HEAD}build: {{{BUILD}}}\n{rest}\n")
}

fn environment(rest: &str) -> String {
    with(&format!("environment: {{{rest}}}"))
}

fn secret(rest: &str) -> String {
    with(&format!(
        "secrets: {{global: [{{name: x, {rest}}}, {{name: ca, kind: x509-ca, private_key: k}}, {{name: k, kind: private-key}}]}}"
    ))
}

fn kind(kind: &str) -> String {
    build("").replace("kind: python", &format!("kind: {kind}"))
}

/// One row each.
#[rustfmt::skip]
fn supported() -> Vec<Construct> {
    let plain = |path, fixture, pointer, expected| Construct {
        path,
        fixture,
        pointer,
        expected,
        warning: None,
    };
    let warned = |path, fixture, pointer, expected, warning| Construct {
        path,
        fixture,
        pointer,
        expected,
        warning: Some(warning),
    };
    let local = "/environment/local/0/value";
    vec![
        plain(".apiVersion", with(""), "/apiVersion", json!("mse/v1")),
        plain(".kind", with(""), "/kind", json!("genservice")),
        warned(".kind", with("").replace("genservice", "genAppImage"), "/kind", json!("genservice"), "`genAppImage` was the kind"),
        warned(".kind", with("").replace("genservice", "genImage"), "/kind", json!("genservice"), "`genImage` was the kind"),
        plain(".build.name", build("").replace("name: api", "name: python_hello_user"), "/build/name", json!("python_hello_user")),
        plain(".build.command", build("").replace("python3 api.py", "java -jar build/libs/app-0.0.1.jar"), "/build/command", json!("java -jar build/libs/app-0.0.1.jar")),
        plain(".build.copy[]", build("copy: [api.py, code/rest.py]"), "/build/copy", json!(["api.py", "code/rest.py"])),
        plain(".build.kind", kind("python"), "/build/kind", json!("python")),
        plain(".build.kind", kind("java"), "/build/kind", json!("java17")),
        plain(".build.kind", kind("java17"), "/build/kind", json!("java17")),
        plain(".build.kind", kind("java17-bullseye"), "/build/kind", json!("java17")),
        plain(".build.kind", kind("$JAVA_VERSION"), "/build/kind", json!("java17")),
        plain(".build.kind", kind("sconify_image, from: 'registry.example/base:2'"), "/build/from", json!("registry.example/base:2")),
        plain(".build.pwd", build("pwd: /python"), "/build/pwd", json!("/python")),
        plain(".build.requirements", build("requirements: code/requirements.txt"), "/build/requirements", json!("code/requirements.txt")),
        plain(".build.run[]", build("run: [\"echo 'one' &&\n   echo two\", pip3 install -r requirements.txt]"), "/build/run", json!(["echo 'one' && echo two", "pip3 install -r requirements.txt"])),
        plain(".build.signature.sign", build("signature: {sign: True}"), "/build/signature", Value::Null),
        warned(".build.signature.sign", build("signature: {sign: false}"), "/build/signature", Value::Null, "always signed"),
        plain(".build.stable", build("stable: 'registry.example/api:v1'"), "/build/stable", json!("registry.example/api:v1")),
        plain(".build.to", build("").replace("registry.example:5050/team", "$APP_IMAGE_REPO"), "/build/to", json!("registry.example:5050/team/api:1")),
        plain(".build.host_paths[]", build("host_paths: [/etc/ssl/certs]"), "/build/host_paths", json!(["/etc/ssl/certs"])),
        warned(".build.host_path[]", build("host_path: [/etc/ssl/certs]"), "/build/host_paths", json!(["/etc/ssl/certs"]), "typing error"),
        warned(".build.binarfs.include-new[]", build("binarfs: {include-new: [/usr/lib]}"), "/build/fs_dirs", json!(["/usr/lib"]), "`binarfs` is of a draft"),
        plain(".build.gen_policy.policy", build("gen_policy: {policy: api.template}"), "/build/gen_policy/policy", json!("api.template")),
        warned(".requirements", with("requirements: requirements.txt"), "/build/requirements", json!("requirements.txt"), "stood here in drafts"),
        warned(".env[].key", with("env: [{key: SCONE_HEAP, value: 512M}, {key: USER}]"), "/environment", json!({"local": [{"name": "SCONE_HEAP", "value": "512M"}], "global": [{"name": "USER"}]}), "`env` is of a draft"),
        warned(".env[].key", with("env: [{key: SCONE_HEAP, value: 512M}]"), local, json!("512M"), "`key` is an older spelling"),
        plain(".environment.global[].name", environment("global: [{name: API_USER}]"), "/environment/global/0", json!({"name": "API_USER"})),
        plain(".environment.global[].value", environment("global: [{name: API_USER, value: me}]"), "/environment/global/0/value", json!("me")),
        plain(".environment.local[].name", environment("local: [{name: SCONE_LOG, value: error}]"), "/environment/local/0/name", json!("SCONE_LOG")),
        plain(".environment.local[].value", environment("local: [{name: A, value: 1}]"), local, json!("1")),
        plain(".environment.local[].value", environment("local: [{name: A, value: true}]"), local, json!("true")),
        plain(".environment.local[].value", environment("local: [{name: A, value: 760M}]"), local, json!("760M")),
        plain(".environment.local[].value", environment("local: [{name: A, value: {{database_host}}}]"), local, json!("{{database_host}}")),
        plain(".environment.local[].value", environment("local: [{name: A, value: '{{{a}}} {{ b | default(value=\"x\") }}'}]"), local, json!("{{a}} {{b | default(value=\"x\") }}")),
        plain(".environment.local[].value", environment("local: [{name: A, value: \"!#what!$#\"}]"), local, json!("!#what!$#")),
        plain(".environment.local[].value", format!("{}secrets: {{global: [{{name: p, kind: ascii}}]}}", environment("local: [{name: API_PASSWORD, value: $$SCONE::p$$}]") ), local, json!("$$SCONE::p$$")),
        warned(".environment.local[].value", format!("{}secrets: {{global: [{{name: p, kind: ascii}}]}}", environment("local: [{name: API_PASSWORD, value: $$SCONE::p}]") ), local, json!("$$MSE::p$$"), "has no end"),
        warned(".environment.local[].value", environment("local: [{name: API_PASSWORD, value: hush}]"), local, json!("hush"), "EVERYBODY WHO HAS THE IMAGE"),
        warned(".environment.local[].value", environment("local: [{name: A, value: $$SCONE::nobody$$}]"), local, json!("$$SCONE::nobody$$"), "neither defined nor imported"),
        plain(".injection_files[].content", with("injection_files:\n- path: /etc/resolv.conf\n  content: |\n    nameserver {{CLUSTER_DNS_IP}}\n    search {{K8sNAMESPACE}}.svc.cluster.local\n    options ndots:5\n"), "/injection_files/0/content", json!("nameserver {{CLUSTER_DNS_IP}}\nsearch {{K8sNAMESPACE}}.svc.cluster.local\noptions ndots:5\n" )),
        plain(".injection_files[].content", with("secrets: {import: [redis_client_cert]}\ninjection_files: [{path: /tls/client.key, content: $$SCONE::redis_client_cert.key$$}]"), "/injection_files/0/content", json!("$$SCONE::redis_client_cert.key$$")),
        plain(".injection_files[].path", with("injection_files: [{path: /tls/client.crt, content: x}]"), "/injection_files/0/path", json!("/tls/client.crt")),
        plain(".secrets.global[].name", secret("kind: ascii").replace("name: x", "name: fastapi-key"), "/secrets/global/0/name", json!("fastapi-key")),
        plain(".secrets.global[].kind", secret("kind: private-key"), "/secrets/global/0/kind", json!("private-key")),
        plain(".secrets.global[].kind", secret("kind: binary"), "/secrets/global/0/kind", json!("binary")),
        plain(".secrets.global[].common_name", secret("kind: x509, issuer: ca, common_name: CLIENT"), "/secrets/global/0/common_name", json!("CLIENT")),
        plain(".secrets.global[].dns[]", secret("kind: x509, issuer: ca, dns: [api, '{{fastapi_host}}']"), "/secrets/global/0/dns", json!(["api", "{{fastapi_host}}"])),
        plain(".secrets.global[].issuer", secret("kind: x509, issuer: ca"), "/secrets/global/0/issuer", json!("ca")),
        plain(".secrets.global[].private_key", secret("kind: x509, private_key: k"), "/secrets/global/0/private_key", json!("k")),
        plain(".secrets.global[].size", secret("kind: ascii, size: 10"), "/secrets/global/0/size", json!(10)),
        plain(".secrets.global[].size", secret("kind: ascii, size: '10'"), "/secrets/global/0/size", json!(10)),
        warned(".secrets.global[].value", secret("kind: binary, value: feedfeed00"), "/secrets/global/0/value", json!("feedfeed00"), "EVERYBODY WHO HAS THE IMAGE"),
        warned(".secrets.global[].value", with("secrets:\n  global:\n  - name: long\n    kind: ascii\n    value: |+2\n        two lines, each\n        with more indentation\n\n"), "/secrets/global/0/value", json!("  two lines, each\n  with more indentation\n\n\n"), "EVERYBODY WHO HAS THE IMAGE"),
        plain(".secrets.import[]", with("secrets: {import: [MARIADB_CA_CERT, redis_ca_cert]}"), "/secrets/import", json!(["MARIADB_CA_CERT", "redis_ca_cert"])),
    ]
}

#[test]
fn every_construct_is_read_with_its_meaning() {
    walk(supported());
}

#[test]
fn the_table_says_what_becomes_of_each_construct() {
    check_table("Service manifests", &supported());
}

#[test]
fn a_template_means_the_same_with_and_without_the_trick_for_envsubst() {
    let text = environment("local: [{name: A, value: x$$SCONE::p$$ $$SCONE::p:hex$$}]");
    let with_trick = read("", &text).0;
    let without = mse_mesh::check_text(&text, &mse_mesh::Variables::new());
    assert_eq!(without.document, Some(with_trick));
}

#[test]
fn typing_errors_are_found() {
    for (text, path, word) in [
        (with("enviroment: {}"), "enviroment", "environment"),
        (
            with("injection_file: []"),
            "injection_file",
            "injection_files",
        ),
        (build("requirments: x"), "build.requirments", "requirements"),
        (build("volume: []"), "build.volume", "volumes"),
        (environment("locals: []"), "environment.locals", "local"),
        (
            secret("kind: ascii, sizes: 1"),
            "secrets.global[0].sizes",
            "size",
        ),
        (secret("kind: asci"), "secrets.global[0].kind", "ascii"),
        (kind("pyton"), "build.kind", "python"),
    ] {
        let outcome = check(&text);
        let found = outcome.errors().find(|one| one.path == path);
        let found = found.unwrap_or_else(|| panic!("{text}\n{:#?}", outcome.diagnostics));
        assert!(
            found.help.as_ref().unwrap().contains(&format!("`{word}`")),
            "{found}"
        );
        assert!(found.line.is_some() && found.column.is_some(), "{found}");
    }
}

#[test]
fn secrets_are_checked_as_the_session_that_they_become() {
    for (rest, path, words) in [
        (
            "kind: ascii, issuer: ca",
            "secrets.global[0].issuer",
            "has no `issuer`",
        ),
        (
            "kind: x509, private_key: ca",
            "secrets.global[0].private_key",
            "must be `private-key`",
        ),
        (
            "kind: ascii, size: 5000",
            "secrets.global[0].size",
            "from 1 to 4096",
        ),
        (
            "kind: binary, value: xyz",
            "secrets.global[0].value",
            "hex digits",
        ),
        (
            "kind: config-fragment",
            "secrets.global[0]",
            "needs `value`",
        ),
        (
            "kind: x509, endpoint: client, dns: [a]",
            "secrets.global[0].dns",
            "not for the certificates of clients",
        ),
        (
            "kind: ascii, value: '$$SCONE::k:hex$$'",
            "secrets.global[0].value",
            "`:hex`",
        ),
    ] {
        let outcome = check(&secret(rest));
        let found: Vec<_> = outcome.errors().collect();
        assert_eq!(found.len(), 1, "{rest}: {found:#?}");
        assert_eq!(found[0].path, path);
        assert!(found[0].message.contains(words), "{}", found[0]);
        assert_eq!(found[0].line, Some(4));
    }
    // What a mesh variable will be is not known, and another service may have the authority.
    let (_, outcome) = read("", &secret("kind: binary, value: '{{x}}'"));
    assert_eq!(outcome.diagnostics, []);
    let (_, outcome) = read(
        "",
        &secret("kind: x509, issuer: elsewhere, dns: ['{{a}}.b']"),
    );
    assert_eq!(outcome.warnings().count(), 1);
    let format = with(
        "secrets: {global: [{name: p, kind: ascii}]}\nenvironment: {local: [{name: A, value: '$$SCONE::p:pem$$'}]}",
    );
    let outcome = check(&format);
    let found = outcome.errors().next().unwrap();
    assert_eq!(found.path, "environment.local[0].value");
}

#[test]
fn what_cannot_be_is_refused() {
    for (text, words) in [
        (
            with("").replace("scone/5.8", "scone/5.7"),
            "no version that is known",
        ),
        (
            with("").replace("genservice", "Register"),
            "no kind of document",
        ),
        (with("").replace("name: api, ", ""), "`name` is missing"),
        (with("").replace("api:1", "Api:1"), "names no image"),
        (kind("sconify_image"), "needs an image to build on"),
        (build("copy: [../secret]"), "leads out of the build context"),
        (build("host_paths: [/]"), "the root of the file system"),
        (build("dirs: [python]"), "no absolute path"),
        (build("health: {}"), "neither `http` nor `tcp`"),
        (
            build("health: {tcp: 1, http: {path: /, port: 1}}"),
            "both there",
        ),
        (
            build(
                "volumes: [{name: v, path: /v, import: {session: s, volume: v}, export: [{session: t}]}]",
            ),
            "cannot be exported",
        ),
        (
            build("volumes: [{name: v, path: /v}, {name: v, path: /w}]"),
            "another volume is called `v`",
        ),
        (
            build("host_path: [/tmp], host_paths: [/tmp]"),
            "which is there, too",
        ),
        (
            environment("local: [{name: A, value: 1}], global: [{name: A}]"),
            "another variable is called `A`",
        ),
        (environment("local: [{name: A}]"), "`value` is missing"),
        (
            environment("local: [{name: A, value: $$SCONE::$$}]"),
            "a reference is",
        ),
        (
            with("secrets: {global: [{name: x, kind: ascii}], import: [x]}"),
            "another secret is called `x`",
        ),
        (
            with("injection_files: [{path: /a, content: x}, {path: //a/, content: y}]"),
            "another file is called `/a`",
        ),
        (with("listen: [0]"), "0 is no port"),
        (
            with("env: []\nenvironment: {}"),
            "`environment` is there, too",
        ),
    ] {
        let outcome = check(&text);
        assert!(outcome.document.is_none());
        assert!(
            outcome.errors().any(|one| one.message.contains(words)),
            "{words}\n{text}\n{:#?}",
            outcome.diagnostics
        );
    }
}
