//! Every construct that public sessions use at least twice, in fixtures of our own: read, and with
//! the meaning that it has.

use mse_session::{Code, Variables};
use serde_json::{Value, json};

use crate::{errors, import, with};

const H: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// Where the construct stands (as the census writes it), a fixture, where it is in the canonical
/// form, and what is there. Absent there: `null`.
fn supported() -> Vec<(&'static str, String, &'static str, Value)> {
    let service = |rest: &str| {
        format!("services: [{{name: s, pwd: /, attestation: [{{mrenclave: {H}}}], {rest}}}]")
    };
    let image = |rest: &str| format!("volumes: [{{name: v}}]\nimages: [{{name: i, {rest}}}]");
    let secret = |rest: &str| format!("secrets: [{{name: x, {rest}}}]");
    let security = |rest: &str| format!("security: {{attestation: {{{rest}}}}}");
    let fragment = |value: &str| secret(&format!("kind: config-fragment, value: {value}"));
    let key = "{name: k, kind: private-key}";
    let ca = "{name: ca, kind: x509-ca, private_key: k}";
    let imported = |session: &str, secret: &str| {
        format!("{{name: {secret}, import: {{session: {session}, secret: {secret}}}}}")
    };
    vec![
        (".access_policy", format!("access_policy: $$SCONE::p$$\nsecrets: [{}]", imported("b", "p")), "/access_policy", json!("$$MSE::p$$")),
        (".access_policy.create_sessions[]", "access_policy: {create_sessions: [ANY]}".into(), "/access_policy/create_sessions", json!(["ANY"])),
        (".access_policy.read[]", "access_policy: {read: [ANY]}".into(), "/access_policy/read", json!(["ANY"])),
        (".access_policy.update[]", "access_policy: {update: [NONE]}".into(), "/access_policy/update", json!(["NONE"])),
        (".digest", "digest: create".into(), "/predecessor", Value::Null),
        (".digest", format!("digest: {H}"), "/predecessor", json!(H)),
        (".predecessor", format!("predecessor: {H}"), "/predecessor", json!(H)),
        (".predecessor", "predecessor: ~".into(), "/predecessor", Value::Null),
        (".images[].injection_files[].content", image("injection_files: [{path: /f, content: \"x\\ny\"}]"), "/images/0/injection_files/0/content", json!("x\ny")),
        (".images[].injection_files[].path", image("injection_files: [/tls/key.pem]"), "/images/0/injection_files/0/path", json!("/tls/key.pem")),
        (".images[].mrenclaves[]", format!("images: [{{name: i, mrenclaves: [{H}]}}]\nservices: [{{name: s, image_name: i}}]"), "/services/0/attestation/0/mrenclave/0", json!(H)),
        (".images[].name", image(""), "/images/0/name", json!("i")),
        (".images[].tags[]", image("tags: [demo]"), "/images/0/tags", Value::Null),
        (".images[].volumes[].name", image("volumes: [{name: v, path: /v}]"), "/images/0/volumes/0/name", json!("v")),
        (".images[].volumes[].path", image("volumes: [{name: v, path: /v}]"), "/images/0/volumes/0/path", json!("/v")),
        (".images[].volumes[].update_policy", image("volumes: [{name: v, path: /v, update_policy: no_rollback_protection}]"), "/images/0/volumes/0/update_policy", json!("no_rollback_protection")),
        (".name", String::new(), "/name", json!("ns/own")),
        (".secrets[].application_secret", secret("kind: aad-token, tenant_id: t, client_id: c, application_secret: a"), "/secrets/0/application_secret", json!("a")),
        (".secrets[].client_id", secret("kind: aad-token, tenant_id: t, client_id: c, application_secret: a"), "/secrets/0/client_id", json!("c")),
        (".secrets[].tenant_id", secret("kind: aad-token, tenant_id: t, client_id: c, application_secret: a"), "/secrets/0/tenant_id", json!("t")),
        (".secrets[].common_name", secret("kind: x509, common_name: config.json"), "/secrets/0/common_name", json!("config.json")),
        (".secrets[].dns", secret("kind: x509, dns: localhost"), "/secrets/0/san", json!(["dns:localhost"])),
        (".secrets[].dns[]", secret("kind: x509, dns: [app, api]"), "/secrets/0/san", json!(["dns:app", "dns:api"])),
        (".secrets[].endpoint", secret("kind: x509, endpoint: client"), "/secrets/0/endpoint", json!("client")),
        (".secrets[].export.namespace", secret("kind: ascii, export: {namespace: n}"), "/secrets/0/export/0/namespace", json!("n")),
        (".secrets[].export.session", secret("kind: ascii, export: {session: s}"), "/secrets/0/export/0/session", json!("s")),
        (".secrets[].export[].namespace", secret("kind: ascii, export: [{namespace: n}]"), "/secrets/0/export/0/namespace", json!("n")),
        (".secrets[].export[].session", secret("kind: ascii, export: [{session: a}, {session: b/c}]"), "/secrets/0/export/1/session", json!("b/c")),
        (".secrets[].export_public", secret("kind: x509, export_public: true"), "/secrets/0/export_public", json!(true)),
        (".secrets[].import.cas_key", secret("import: {session: s, secret: y, cas_url: cas.example, cas_key: K}"), "/secrets/0/import/cas_key", json!("K")),
        (".secrets[].import.cas_url", secret("import: {session: s, secret: y, cas_url: cas.example, cas_key: K}"), "/secrets/0/import/cas_url", json!("cas.example")),
        (".secrets[].import.secret", secret("import: {session: s, secret: y}"), "/secrets/0/import/secret", json!("y")),
        (".secrets[].import.session", secret("import: {session: s/t, secret: y}"), "/secrets/0/import/session", json!("s/t")),
        (".secrets[].import_akv.secret_name", "secrets: [{name: t, kind: aad-token, tenant_id: t, client_id: c, application_secret: a}, {name: x, import_akv: {vault: v, secret_name: n}}]".into(), "/secrets/1/import_akv/secret_name", json!("n")),
        (".secrets[].import_akv.token", "secrets: [{name: t, kind: aad-token, tenant_id: t, client_id: c, application_secret: a}, {name: x, import_akv: {vault: v, token: $$SCONE::t$$}}]".into(), "/secrets/1/import_akv/token", json!("t")),
        (".secrets[].import_akv.vault", "secrets: [{name: t, kind: aad-token, tenant_id: t, client_id: c, application_secret: a}, {name: x, import_akv: {vault: v, token: t}}]".into(), "/secrets/1/import_akv/vault", json!("v")),
        (".secrets[].issuer", format!("secrets: [{key}, {ca}, {{name: x, kind: x509, issuer: ca}}]"), "/secrets/2/issuer", json!("ca")),
        (".secrets[].key_type", secret("kind: private-key, key_type: RSA-3072"), "/secrets/0/key_type", json!("RSA-3072")),
        (".secrets[].kind", secret("kind: ascii"), "/secrets/0/kind", json!("ascii")),
        (".secrets[].migrate", secret("kind: private-key, migrate: true"), "/secrets/0/migrate", json!(true)),
        (".secrets[].migrate", secret("kind: private-key, migrate: false"), "/secrets/0/migrate", Value::Null),
        (".secrets[].name", secret("kind: ascii"), "/secrets/0/name", json!("x")),
        (".secrets[].private_key", format!("secrets: [{key}, {{name: x, kind: x509, private_key: k}}]"), "/secrets/1/private_key", json!("k")),
        (".secrets[].size", secret("kind: binary, size: 16"), "/secrets/0/size", json!(16)),
        (".secrets[].value", secret("kind: ascii, value: \"!#what!$#\""), "/secrets/0/value", json!("!#what!$#")),
        (".secrets[].value", format!("secrets: [{}, {{name: x, kind: ascii, value: $$SCONE::y$$}}]", imported("s", "y")), "/secrets/1/value", json!("$$MSE::y$$")),
        (".secrets[].value.attestation.ignore_advisories[]", fragment("{attestation: {ignore_advisories: [~]}}"), "/secrets/0/value/attestation/ignore_advisories", json!([null])),
        (".secrets[].value.attestation.tolerate[]", fragment("{attestation: {tolerate: [hyperthreading]}}"), "/secrets/0/value/attestation/tolerate/0", json!("hyperthreading")),
        (".secrets[].value.create_sessions[]", fragment("{create_sessions: [CREATOR]}"), "/secrets/0/value/create_sessions/0", json!("CREATOR")),
        (".secrets[].value.mrenclave[]", fragment(&format!("{{mrenclave: [{H}]}}")), "/secrets/0/value/mrenclave/0", json!(H)),
        (".secrets[].value.read[]", fragment("{read: [CREATOR]}"), "/secrets/0/value/read/0", json!("CREATOR")),
        (".secrets[].value.update[]", fragment("{update: [CREATOR]}"), "/secrets/0/value/update/0", json!("CREATOR")),
        (".security", format!("security: $$SCONE::p$$\nsecrets: [{}]", imported("b", "p")), "/security", json!("$$MSE::p$$")),
        (".security.attestation.ignore_advisories", security("ignore_advisories: \"*\""), "/security/attestation/ignore_advisories", json!("*")),
        (".security.attestation.ignore_advisories[]", security("ignore_advisories: [INTEL-SA-00220, INTEL-SA-00161]"), "/security/attestation/ignore_advisories", json!(["INTEL-SA-00161", "INTEL-SA-00220"])),
        (".security.attestation.mode", security("mode: none"), "/security/attestation/mode", json!("none")),
        (".security.attestation.mode", security("mode: hardware"), "/security", Value::Null),
        (".security.attestation.url", security("mode: maa, tolerate: [maa-managed-tcb], url: \"https://maa.example\""), "/security/attestation/url", json!("https://maa.example")),
        (".security.attestation.one_time_password_shared_secret", format!("{}\nsecrets: [{{name: o, kind: binary}}]", security("one_time_password_shared_secret: \"$$SCONE::o:base32nopad$$\"")), "/security/attestation/one_time_password_shared_secret", json!("$$MSE::o:base32nopad$$")),
        (".security.attestation.tolerate[]", security("tolerate: [outdated-tcb, hyperthreading]"), "/security/attestation/tolerate", json!(["hyperthreading", "outdated-tcb"])),
        (".security.service_access_token", "security: {service_access_token: $$SCONE::t$$}\nsecrets: [{name: t, kind: ascii}]".into(), "/security/service_access_token", json!("$$MSE::t$$")),
        (".security.singleton_enclaves", "security: {singleton_enclaves: True}".into(), "/security/singleton_enclaves", json!(true)),
        (".services[].attestation[]", format!("services: [{{name: s, attestation: [$$SCONE::m$$]}}]\nsecrets: [{}]", imported("b", "m")), "/services/0/attestation/0", json!("$$MSE::m$$")),
        (".services[].attestation[].mrenclave[]", service(""), "/services/0/attestation/0/mrenclave", json!([H])),
        (".services[].attestation[].signer.isvprodid", format!("services: [{{name: s, attestation: [{{signer: {{mrsigner: {H}, isvprodid: 41316, isvsvn: 5}}}}]}}]"), "/services/0/attestation/0/signer/isvprodid", json!(41316)),
        (".services[].attestation[].signer.isvsvn", format!("services: [{{name: s, attestation: [{{signer: {{mrsigner: {H}, isvprodid: 41316, isvsvn: 5}}}}]}}]"), "/services/0/attestation/0/signer/isvsvn", json!(5)),
        (".services[].attestation[].signer.mrsigner", format!("services: [{{name: s, attestation: [{{signer: {{mrsigner: {H}, isvprodid: 1, isvsvn: 5}}}}]}}]"), "/services/0/attestation/0/signer/mrsigner", json!(H)),
        (".services[].command", service("command: node '/app/my app.js' @@1"), "/services/0/command", json!(["node", "/app/my app.js", "@@1"])),
        (".services[].command[]", service("command: [mysql, -uroot, 1]"), "/services/0/command", json!(["mysql", "-uroot", "1"])),
        (".services[].environment.NAME", service("environment: {A: 7, B: true, C: ~, D: 6G}"), "/services/0/environment", json!({"A": "7", "B": "true", "C": "", "D": "6G"})),
        (".services[].environment.\\@\\@NAME", service("environment: {'\\@\\@HOME': ~, '\\@\\@T': ignored}"), "/services/0/environment", json!({"\\@\\@HOME": null, "\\@\\@T": null})),
        (".services[].fspf_key", service(&format!("fspf_path: /f, fspf_key: {H}, fspf_tag: {}", &H[..32])), "/services/0/fspf_key", json!(H)),
        (".services[].fspf_path", service(&format!("fspf_path: /f, fspf_key: {H}, fspf_tag: {}", &H[..32])), "/services/0/fspf_path", json!("/f")),
        (".services[].fspf_tag", service(&format!("fspf_path: /f, fspf_key: {H}, fspf_tag: {}", &H[..32])), "/services/0/fspf_tag", json!(&H[..32])),
        (".services[].image_name", format!("images: [{{name: i}}]\n{}", service("image_name: i")), "/services/0/image_name", json!("i")),
        (".services[].mrenclaves[]", format!("services: [{{name: s, mrenclaves: [{H}]}}]"), "/services/0/attestation/0/mrenclave", json!([H])),
        (".services[].name", service(""), "/services/0/name", json!("s")),
        (".services[].pwd", service(""), "/services/0/pwd", json!("/")),
        (".services[].tags[]", service("tags: [demo]"), "/services/0/tags", Value::Null),
        (".version", String::new(), "/version", json!("0.3.12")),
        (".volumes[].export.session", "volumes: [{name: v, export: {session: s}}]".into(), "/volumes/0/export/0/to/session", json!("s")),
        (".volumes[].fspf_key", format!("volumes: [{{name: v, fspf_key: {H}, fspf_tag: {}}}]", &H[..32]), "/volumes/0/fspf_key", json!(H)),
        (".volumes[].fspf_tag", format!("volumes: [{{name: v, fspf_key: {H}, fspf_tag: {}}}]", &H[..32]), "/volumes/0/fspf_tag", json!(&H[..32])),
        (".volumes[].import.session", "volumes: [{name: v, import: {session: s, volume: w}}]".into(), "/volumes/0/import/session", json!("s")),
        (".volumes[].import.volume", "volumes: [{name: v, import: {session: s, volume: w}}]".into(), "/volumes/0/import/volume", json!("w")),
        (".volumes[].name", "volumes: [{name: v}]".into(), "/volumes/0/name", json!("v")),
    ]
}

#[test]
fn every_construct_is_read_with_its_meaning() {
    for (path, rest, pointer, expected) in supported() {
        let text = with(&rest);
        let (session, _) = import(&text)
            .into_result()
            .unwrap_or_else(|faults| panic!("{path}\n{text}\n{faults}"));
        let canonical: Value = serde_json::from_str(&session.canonical()).unwrap();
        let found = canonical.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(*found, expected, "{path}\n{canonical}");
        // The canonical form is the same session.
        let again = mse_session::check_text(
            &session.to_text(),
            &Variables::replaced(),
            mse_session::Compatibility::Import,
        );
        assert_eq!(
            again.session.as_ref(),
            Some(&session),
            "{path} {:?}",
            again.diagnostics
        );
    }
}

#[test]
fn what_is_left_to_the_mesh_or_to_variables_is_said() {
    for (rest, code, path) in [
        ("creator: {{session_creator}}", Code::TemplateLeft, ""),
        ("predecessor: $PREDECESSOR", Code::UndefinedVariable, ""),
    ] {
        let outcome = import(&with(rest));
        assert!(errors(&outcome).contains(&(code, path)), "{outcome:?}");
    }
}

#[test]
fn typing_errors_of_public_sessions_are_found() {
    for (rest, path, word) in [
        ("acess_policy: {}", "acess_policy", "access_policy"),
        ("varsion: 1", "varsion", "version"),
        (
            "services: [{name: s, enviroment: {}}]",
            "services[0].enviroment",
            "environment",
        ),
        (
            "services: [{name: s, env: A=b}]",
            "services[0].env",
            "environment",
        ),
        (
            "services: [{name: s, attestation: [{signer: {mrsinger: a}}]}]",
            "services[0].attestation[0].signer.mrsinger",
            "mrsigner",
        ),
        (
            "services: [{name: s, attestation: [{signer: {ISPSVN: a}}]}]",
            "services[0].attestation[0].signer.ISPSVN",
            "isvsvn",
        ),
    ] {
        let outcome = import(&with(rest));
        let found = outcome.errors().find(|one| one.code == Code::UnknownKey);
        let found = found.unwrap_or_else(|| panic!("{rest}"));
        assert_eq!(found.path, path);
        assert!(found.help.as_ref().unwrap().contains(word), "{found}");
    }
}

#[test]
fn public_version_numbers_are_read() {
    for version in ["0.3.10", "\"0.3.10\"", "0.3", "\"0.3\"", "0.2", "0.3.9"] {
        let text = format!("name: own\nversion: {version}\n");
        assert!(import(&text).session.is_some(), "{version}");
    }
    assert!(import("name: own\n").session.is_some());
}
