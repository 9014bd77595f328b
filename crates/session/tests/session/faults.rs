//! One text for each kind of fault: it is found, in its place.

use mse_session::{Code, Severity};

use crate::{check, errors, import, with};

const H: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// A measurement of a machine.
const M: &str = "111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111";

#[test]
#[allow(clippy::too_many_lines)] // A table.
fn each_fault_is_found_in_its_place() {
    let service = format!("attestation: [{{mrenclave: {H}}}]");
    let key = "{name: k, kind: private-key}";
    let kv_token = "{name: t, kind: ascii}";
    let kv = "url: 'https://vault.example', path: a, field: f";
    let pkcs11 = "module: hsm, token: t, object: o";
    for (rest, code, path) in [
        ("name: other", Code::DuplicateKey, ""),
        ("nonsense: 1", Code::UnknownKey, "nonsense"),
        ("services: {}", Code::WrongType, "services"),
        ("services: [{}]", Code::MissingKey, "services[0]"),
        ("salt: 00", Code::DuplicateKey, ""),
        ("predecessor: 00", Code::BadValue, "predecessor"),
        (
            "services: [{name: a b, attestation: $$SCONE::x$$}]",
            Code::BadName,
            "services[0].name",
        ),
        (
            "services: [{name: s}]",
            Code::MissingAttestation,
            "services[0]",
        ),
        (
            "services: [{name: s, attestation: []}]",
            Code::MissingAttestation,
            "services[0]",
        ),
        (
            "services: [{name: s, attestation: [{tee: snp}]}]",
            Code::MissingAttestation,
            "services[0].attestation[0]",
        ),
        (
            &format!("services: [{{name: s, attestation: [{{tee: tdx, measurement: {M}}}]}}]"),
            Code::BadValue,
            "services[0].attestation[0]",
        ),
        (
            &format!(
                "services: [{{name: s, attestation: [{{measurement: {M}, rtmr0: {M}, rtmr1: {M}}}]}}]"
            ),
            Code::BadValue,
            "services[0].attestation[0]",
        ),
        (
            &format!("services: [{{name: s, attestation: [{{workload: {H}, rtmr2: {M}}}]}}]"),
            Code::BadValue,
            "services[0].attestation[0]",
        ),
        (
            "services: [{name: s, attestation: [{mrenclave: []}]}]",
            Code::BadValue,
            "services[0].attestation[0].mrenclave",
        ),
        (
            &format!("services: [{{name: s, {service}, image_name: i}}]"),
            Code::UnresolvedName,
            "services[0].image_name",
        ),
        (
            &format!("services: [{{name: s, {service}, command: run $$SCONE::x$$}}]"),
            Code::UnresolvedName,
            "services[0].command",
        ),
        (
            &format!("services: [{{name: s, {service}, command: run 'x}}]"),
            Code::BadValue,
            "services[0].command",
        ),
        (
            &format!("services: [{{name: s, {service}, command: ' '}}]"),
            Code::BadValue,
            "services[0].command",
        ),
        (
            &format!("services: [{{name: s, {service}, command: a @@1 @@1}}]"),
            Code::BadReference,
            "services[0].command",
        ),
        (
            &format!("services: [{{name: s, {service}, environment: {{A=B: c}}}}]"),
            Code::BadName,
            "services[0].environment.A=B",
        ),
        (
            &format!("services: [{{name: s, {service}, environment: {{A: \"a\\0b\"}}}}]"),
            Code::BadValue,
            "services[0].environment.A",
        ),
        (
            &format!("services: [{{name: s, {service}, environment: {{A: x, '@@A': ~}}}}]"),
            Code::Conflict,
            "services[0].environment.@@A",
        ),
        (
            &format!("services: [{{name: s, {service}, mrenclaves: [{H}]}}]"),
            Code::Conflict,
            "services[0].mrenclaves",
        ),
        (
            &format!("services: [{{name: s, {service}, pwd: relative}}]"),
            Code::BadValue,
            "services[0].pwd",
        ),
        (
            &format!("services: [{{name: s, {service}, fspf_path: /f, fspf_key: {H}}}]"),
            Code::MissingKey,
            "services[0].fspf_path",
        ),
        (
            &format!("services: [{{name: s, {service}, fspf_tag: {}}}]", &H[..32]),
            Code::MissingKey,
            "services[0].fspf_tag",
        ),
        (
            &format!("services: [{{name: s, {service}, platforms: [x]}}]"),
            Code::BadValue,
            "services[0].platforms[0]",
        ),
        (
            &format!("services: [{{name: s, {service}}}, {{name: s, {service}}}]"),
            Code::DuplicateName,
            "services[1]",
        ),
        (
            &format!("services: [{{name: s, {service}, one_time_password_shared_secret: SHORT}}]"),
            Code::BadValue,
            "services[0].one_time_password_shared_secret",
        ),
        (
            "services: [{name: s, attestation: [{signer: {mrsigner: x, isvprodid: 1}}]}]",
            Code::BadValue,
            "services[0].attestation[0].signer.mrsigner",
        ),
        (
            &format!("services: [{{name: s, attestation: [{{signer: {{mrsigner: {H}}}}}]}}]"),
            Code::MissingKey,
            "services[0].attestation[0].signer",
        ),
        (
            &format!(
                "services: [{{name: s, attestation: [{{signer: {{mrsigner: {H}, isvprodid: 1, isvsvn: 1, isvsvn_min: 1}}}}]}}]"
            ),
            Code::Conflict,
            "services[0].attestation[0].signer.isvsvn_min",
        ),
        (
            &format!(
                "services: [{{name: s, attestation: [{{signer: {{mrsigner: {H}, isvprodid: 1, isvsvn_min: 2, isvsvn_max: 1}}}}]}}]"
            ),
            Code::BadValue,
            "services[0].attestation[0].signer.isvsvn_max",
        ),
        (
            &format!("services: [{{name: s, attestation: [{{workload: {H}, tee: simulated}}]}}]"),
            Code::BadValue,
            "services[0].attestation[0].tee",
        ),
        (
            "images: [{name: i, volumes: [{name: v, path: /v}]}]",
            Code::UnresolvedName,
            "images[0].volumes[0].name",
        ),
        (
            "images: [{name: i, injection_files: [relative]}]",
            Code::BadValue,
            "images[0].injection_files[0]",
        ),
        (
            "images: [{name: i, injection_files: [{path: /f, permission: 0o644}]}]",
            Code::BadValue,
            "images[0].injection_files[0].permission",
        ),
        (
            "images: [{name: i, injection_files: [/f, /f]}]",
            Code::DuplicateName,
            "images[0]",
        ),
        (
            "images: [{name: i, provide_secrets: [x]}]",
            Code::UnresolvedName,
            "images[0].provide_secrets[0]",
        ),
        (
            "volumes: [{name: v, files: plain}]",
            Code::BadValue,
            "volumes[0].files",
        ),
        (
            &format!("volumes: [{{name: v, fspf_tag: {}}}]", &H[..32]),
            Code::MissingKey,
            "volumes[0].fspf_tag",
        ),
        (
            &format!("volumes: [{{name: v, fspf_key: {H}, import: {{session: s, volume: v}}}}]"),
            Code::Conflict,
            "volumes[0].fspf_key",
        ),
        (
            "volumes: [{name: v, export: {session: s}, import: {session: s, volume: v}}]",
            Code::Conflict,
            "volumes[0].export",
        ),
        ("secrets: [{name: x}]", Code::MissingKey, "secrets[0]"),
        (
            "secrets: [{name: x, kind: asci}]",
            Code::BadValue,
            "secrets[0].kind",
        ),
        (
            "secrets: [{name: x.crt, kind: ascii}]",
            Code::BadName,
            "secrets[0].name",
        ),
        (
            "secrets: [{name: x, kind: ascii, size: 0}]",
            Code::BadValue,
            "secrets[0].size",
        ),
        (
            "secrets: [{name: x, kind: ascii, size: -1}]",
            Code::BadValue,
            "secrets[0].size",
        ),
        (
            "secrets: [{name: x, kind: ascii, size: 9, value: v}]",
            Code::Conflict,
            "secrets[0].size",
        ),
        (
            "secrets: [{name: x, kind: ascii, issuer: v}]",
            Code::Conflict,
            "secrets[0].issuer",
        ),
        (
            "secrets: [{name: x, kind: ascii, value: v, import: {session: s}}]",
            Code::Conflict,
            "secrets[0].import",
        ),
        (
            "secrets: [{name: x, kind: binary, value: xyz}]",
            Code::BadValue,
            "secrets[0].value",
        ),
        (
            "secrets: [{name: x, kind: private-key, value: xyz}]",
            Code::BadValue,
            "secrets[0].value",
        ),
        (
            "secrets: [{name: x, kind: private-key, key_type: P-265}]",
            Code::BadValue,
            "secrets[0].key_type",
        ),
        (
            "secrets: [{name: x, kind: x509, issuer: y}]",
            Code::UnresolvedName,
            "secrets[0].issuer",
        ),
        (
            &format!("secrets: [{key}, {{name: x, kind: x509, issuer: k}}]"),
            Code::WrongKind,
            "secrets[1].issuer",
        ),
        (
            "secrets: [{name: x, kind: x509-ca, issuer: y}, {name: y, kind: x509-ca, issuer: x}]",
            Code::Circular,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: ascii, value: $$SCONE::x$$}]",
            Code::Circular,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: x509, endpoint: client, dns: a}]",
            Code::Conflict,
            "secrets[0].dns",
        ),
        (
            "secrets: [{name: x, kind: x509-ca, dns: a}]",
            Code::Conflict,
            "secrets[0].dns",
        ),
        (
            "secrets: [{name: x, kind: x509, san: [a]}]",
            Code::BadValue,
            "secrets[0].san[0]",
        ),
        (
            "secrets: [{name: x, kind: x509, valid_for: long}]",
            Code::BadValue,
            "secrets[0].valid_for",
        ),
        (
            "secrets: [{name: x, kind: binary, size: 4097}]",
            Code::BadValue,
            "secrets[0].size",
        ),
        (
            "secrets: [{name: x, kind: binary, value: ''}]",
            Code::BadValue,
            "secrets[0].value",
        ),
        (
            &format!("secrets: [{{name: x, kind: x509, common_name: {H}1}}]"),
            Code::BadValue,
            "secrets[0].common_name",
        ),
        (
            &format!(
                "secrets: [{{name: x, kind: ascii, value: {}}}]",
                "a".repeat(65_537)
            ),
            Code::TooLarge,
            "secrets[0].value",
        ),
        (
            &format!(
                "secrets: [{key}, {{name: x, kind: jwt, signer: k, validity: {{for: 1d}}, payload: {{a: {}}}}}]",
                "b".repeat(16_384)
            ),
            Code::TooLarge,
            "secrets[1].payload",
        ),
        (
            "secrets: [{name: x, kind: config-fragment}]",
            Code::MissingKey,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: public-key}]",
            Code::MissingKey,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: pgp-key, value: v}]",
            Code::Conflict,
            "secrets[0].value",
        ),
        (
            "secrets: [{name: x, kind: jwt}]",
            Code::MissingKey,
            "secrets[0]",
        ),
        (
            &format!(
                "secrets: [{key}, {{name: x, kind: jwt, signer: k, validity: {{for: 1d}}, payload: {{exp: a}}}}]"
            ),
            Code::BadValue,
            "secrets[1].payload.exp",
        ),
        (
            &format!(
                "secrets: [{key}, {{name: x, kind: jwt, signer: k, validity: {{for: 1d}}, payload: {{a: b$$SCONE::k$$}}}}]"
            ),
            Code::BadValue,
            "secrets[1].payload.a",
        ),
        (
            "secrets: [{name: x, import: {session: ../../../y}}]",
            Code::BadName,
            "secrets[0].import.session",
        ),
        (
            "secrets: [{name: x, import: {session: y, cas_url: h}}]",
            Code::Conflict,
            "secrets[0].import.cas_url",
        ),
        (
            "secrets: [{name: x, import: {session: y, cas_key: h}}]",
            Code::MissingKey,
            "secrets[0].import.cas_key",
        ),
        (
            "secrets: [{name: x, import: \"h/session=y\"}]",
            Code::BadValue,
            "secrets[0].import",
        ),
        (
            "secrets: [{name: x, kind: ascii, export: {session: a, namespace: b}}]",
            Code::Conflict,
            "secrets[0].export.session",
        ),
        (
            "secrets: [{name: x, import_akv: {vault: v}}]",
            Code::MissingKey,
            "secrets[0].import_akv",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, import_kv: {{{kv}, tokn: t}}}}]"
            ),
            Code::UnknownKey,
            "secrets[1].import_kv.tokn",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, value: a, import_kv: {{{kv}, token: t}}}}]"
            ),
            Code::Conflict,
            "secrets[1].import_kv",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, import_pkcs11: {{{pkcs11}}}, import_kv: {{{kv}, token: t}}}}]"
            ),
            Code::Conflict,
            "secrets[1].import_pkcs11",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, size: 3, import_kv: {{{kv}, token: t}}}}]"
            ),
            Code::Conflict,
            "secrets[1].size",
        ),
        (
            &format!("secrets: [{kv_token}, {{name: x, import_kv: {{{kv}, token: t}}}}]"),
            Code::MissingKey,
            "secrets[1]",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: pgp-key, import_kv: {{{kv}, token: t}}}}]"
            ),
            Code::WrongKind,
            "secrets[1].import_kv",
        ),
        (
            &format!("secrets: [{{name: x, kind: ascii, import_kv: {{{kv}}}}}]"),
            Code::MissingKey,
            "secrets[0].import_kv",
        ),
        (
            &format!("secrets: [{{name: x, kind: ascii, import_kv: {{{kv}, token: x}}}}]"),
            Code::Circular,
            "secrets[0]",
        ),
        (
            &format!(
                "secrets: [{{name: t, kind: binary}}, {{name: x, kind: ascii, import_kv: {{{kv}, token: $$SCONE::t$$}}}}]"
            ),
            Code::WrongKind,
            "secrets[1].import_kv.token",
        ),
        (
            &format!("secrets: [{{name: x, kind: ascii, import_kv: {{{kv}, token: nowhere}}}}]"),
            Code::UnresolvedName,
            "secrets[0].import_kv.token",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, import_kv: {{{kv}, token: t, version: 0}}}}]"
            ),
            Code::BadValue,
            "secrets[1].import_kv.version",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, import_kv: {{{kv}, token: t, ca: x}}}}]"
            ),
            Code::BadValue,
            "secrets[1].import_kv.ca",
        ),
        (
            "secrets: [{name: t, kind: ascii}, {name: x, kind: ascii, import_kv: {url: 'http://vault.example', path: a, field: f, token: t}}]",
            Code::BadValue,
            "secrets[1].import_kv.url",
        ),
        (
            "secrets: [{name: t, kind: ascii}, {name: x, kind: ascii, import_kv: {url: 'https://vault.example', path: a/../../sys, field: f, token: t}}]",
            Code::BadValue,
            "secrets[1].import_kv.path",
        ),
        (
            &format!("secrets: [{{name: x, kind: private-key, import_pkcs11: {{{pkcs11}}}}}]"),
            Code::WrongKind,
            "secrets[0].import_pkcs11",
        ),
        (
            "secrets: [{name: x, kind: binary, import_pkcs11: {module: /usr/lib/evil.so, token: t, object: o}}]",
            Code::BadName,
            "secrets[0].import_pkcs11.module",
        ),
        (
            "secrets: [{name: x, kind: binary, import_pkcs11: {module: hsm, object: o}}]",
            Code::MissingKey,
            "secrets[0].import_pkcs11",
        ),
        (
            &format!("secrets: [{{name: x, kind: ascii, import_pkcs11: {{{pkcs11}, pin: x}}}}]"),
            Code::Circular,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: ascii}, {name: x, kind: ascii}]",
            Code::DuplicateName,
            "secrets[1]",
        ),
        (
            "secrets: [{name: x, kind: ascii}, {name: y, kind: ascii, value: $$SCONE::x:hex$$}]",
            Code::UnknownFormat,
            "secrets[1].value",
        ),
        (
            "secrets: [{name: x, kind: ascii}, {name: y, kind: ascii, value: '$$SCONE::x|upper$$'}]",
            Code::BadReference,
            "secrets[1].value",
        ),
        (
            "access_policy: {read: []}",
            Code::BadAccessRule,
            "access_policy.read",
        ),
        (
            "access_policy: {read: [ANY, CREATOR]}",
            Code::BadAccessRule,
            "access_policy.read[0]",
        ),
        (
            "access_policy: {read: [CREATOR, CREATOR]}",
            Code::BadAccessRule,
            "access_policy.read[1]",
        ),
        (
            "access_policy: {read: [me]}",
            Code::BadAccessRule,
            "access_policy.read[0]",
        ),
        (
            "access_policy: {read: [{require-all: [CREATOR]}]}",
            Code::BadAccessRule,
            "access_policy.read[0].require-all",
        ),
        (
            "access_policy: {update: [{require-at-least-2: [CREATOR]}]}",
            Code::BadAccessRule,
            "access_policy.update[0].require-at-least-2",
        ),
        (
            "access_policy: {update: [{require-at-least-0: [CREATOR]}]}",
            Code::BadAccessRule,
            "access_policy.update[0].require-at-least-0",
        ),
        (
            "access_policy: {update: [{require-all: []}]}",
            Code::BadAccessRule,
            "access_policy.update[0].require-all",
        ),
        (
            "access_policy: {update: [{require-all: [ANY]}]}",
            Code::BadAccessRule,
            "access_policy.update[0].require-all[0]",
        ),
        (
            "access_policy: {update: [{require-al: []}]}",
            Code::UnknownKey,
            "access_policy.update[0].require-al",
        ),
        (
            "access_policy: {update: [{signer: x}]}",
            Code::BadAccessRule,
            "access_policy.update[0].signer",
        ),
        (
            "security: {attestation: {mode: nothing}}",
            Code::BadValue,
            "security.attestation.mode",
        ),
        (
            "security: {attestation: {mode: maa, url: \"https://m\"}}",
            Code::Conflict,
            "security.attestation.mode",
        ),
        (
            "security: {attestation: {mode: maa, tolerate: [maa-managed-tcb]}}",
            Code::MissingKey,
            "security.attestation.mode",
        ),
        (
            "security: {attestation: {url: \"http://m\"}}",
            Code::BadValue,
            "security.attestation.url",
        ),
        (
            "security: {attestation: {tolerate: [{what: aepic-leak, reason: r, until: 2030-01-01}, aepic-leak]}}",
            Code::Conflict,
            "security.attestation.tolerate",
        ),
        (
            "security: {attestation: {mode: {what: hardware, reason: r, until: 2030-01-01}}}",
            Code::Conflict,
            "security.attestation.mode",
        ),
        (
            "security: {attestation: {tolerate: [hyperthreads]}}",
            Code::BadValue,
            "security.attestation.tolerate[0]",
        ),
        (
            "security: {attestation: {ignore_advisories: [sa1]}}",
            Code::BadValue,
            "security.attestation.ignore_advisories[0]",
        ),
        (
            "security: {attestation: {ignore_advisories: [\"*\", INTEL-SA-00161]}}",
            Code::Conflict,
            "security.attestation.ignore_advisories[0]",
        ),
        (
            "security: {attestation: {tolerate: [{what: debug-mode, reason: r}]}}",
            Code::MissingKey,
            "security.attestation.tolerate[0]",
        ),
        (
            "security: {attestation: {tolerate: [{what: debug-mode, reason: r, until: soon}]}}",
            Code::BadValue,
            "security.attestation.tolerate[0].until",
        ),
        (
            "secret_config: {store_in: !cas {vault: v}}",
            Code::WrongType,
            "secret_config.store_in",
        ),
        ("services: !cas []", Code::WrongType, "services"),
        (
            "secret_config: !akv {store_in: cas}",
            Code::WrongType,
            "secret_config",
        ),
        (
            "secret_config: {store_in: !akv x}",
            Code::WrongType,
            "secret_config.store_in",
        ),
        (
            "secret_config: {store_in: !akv {vault: v, token: t}}",
            Code::UnresolvedName,
            "secret_config.store_in.token",
        ),
        (
            &format!("creator: {{signer: {H}}}"),
            Code::BadValue,
            "creator.signer",
        ),
        (
            &format!("predecessor: {H}\nnamespace_hash: {H}"),
            Code::Conflict,
            "namespace_hash",
        ),
        (
            &format!("predecessor: {H}\ndigest: {H}"),
            Code::Conflict,
            "digest",
        ),
    ] {
        let outcome = check(&with(rest));
        assert!(outcome.session.is_none(), "{rest}");
        let found = errors(&outcome);
        assert!(
            found.contains(&(code, path)),
            "{rest}\n{:#?}",
            outcome.diagnostics
        );
        let one = outcome.errors().find(|one| one.code == code).unwrap();
        assert!(
            one.line.is_some_and(|line| line > 3) || path.is_empty(),
            "{one}"
        );
    }
}

#[test]
fn all_faults_are_reported_at_once_and_in_the_order_of_checking() {
    let outcome = check(
        "name: a b\nversion: 0.3.12\nservices:\n- name: s\n  pwd: /\n  enviroment: {}\n  image_name: i\nsecrets:\n- {name: x, kind: ascii}\n- {name: x, kind: ascii}\n",
    );
    let codes: Vec<Code> = outcome.diagnostics.iter().map(|one| one.code).collect();
    assert_eq!(
        codes,
        [
            Code::UnknownKey,
            Code::BadName,
            Code::DuplicateName,
            Code::UnresolvedName,
            Code::MissingAttestation,
            Code::MissingSalt,
        ]
    );
    let places: Vec<_> = outcome
        .diagnostics
        .iter()
        .map(|one| (one.line, one.column))
        .collect();
    assert_eq!(places[0], (Some(6), Some(3)));
    assert_eq!(places[1], (Some(1), Some(7)));
    assert_eq!(
        outcome.diagnostics[0].to_string(),
        "error[unknown-key] 6:3 services[0].enviroment: the key `enviroment` is not known here; did you mean `environment`?"
    );
}

#[test]
fn no_value_of_a_secret_is_in_a_diagnostic() {
    let canary = "canary-3f9a";
    for rest in [
        format!("secrets: [{{name: x, kind: ascii, value: {canary}, size: 3}}]"),
        format!("secrets: [{{name: x, kind: binary, value: {canary}}}]"),
        format!("secrets: [{{name: x, kind: private-key, value: {canary}}}]"),
        format!("secrets: [{{name: x, kind: ascii, value: \"{canary}\\0\"}}]"),
        format!("secrets: [{{name: x, kind: aad-token, application_secret: {canary}}}]"),
        format!("volumes: [{{name: v, fspf_key: {canary}}}]"),
        format!(
            "services: [{{name: s, fspf_path: /f, fspf_key: {canary}, fspf_tag: 00, one_time_password_shared_secret: {canary}}}]"
        ),
        format!(
            "security: {{service_access_token: {canary}, attestation: {{one_time_password_shared_secret: {canary}}}}}"
        ),
    ] {
        let outcome = check(&with(&rest));
        let json = serde_json::to_string(&outcome.diagnostics).unwrap();
        assert!(!json.contains(canary), "{rest}\n{json}");
        assert!(!format!("{outcome:?}").contains(canary), "{rest}");
    }
}

#[test]
fn a_salt_that_was_cut_short_is_not_repeated() {
    let salt = "3f9a".repeat(7);
    let outcome = check(&format!("name: a\nversion: '0.3.12'\nsalt: {salt}\n"));
    let messages = serde_json::to_string(&outcome.diagnostics).unwrap();
    assert!(messages.contains("this is no salt"), "{messages}");
    assert!(!messages.contains(&salt), "{messages}");
}

#[test]
fn no_value_of_a_secret_is_in_a_session_that_is_shown() {
    let canary = "6361";
    let key = canary.repeat(16);
    for rest in [
        format!("secrets: [{{name: x, kind: ascii, value: {canary}}}]"),
        format!("secrets: [{{name: x, kind: binary, value: \"{canary}\"}}]"),
        format!("secrets: [{{name: x, kind: config-fragment, value: {{a: {canary}}}}}]"),
        format!(
            "secrets: [{{name: x, kind: aad-token, tenant_id: t, client_id: c, application_secret: {canary}}}]"
        ),
        format!("volumes: [{{name: v, fspf_key: {key}}}]"),
        format!("security: {{service_access_token: {canary}}}"),
        format!("images: [{{name: i, injection_files: [{{path: /f, content: \"{canary}\"}}]}}]"),
    ] {
        let outcome = check(&with(&rest));
        assert!(
            outcome.session.is_some(),
            "{rest} {:?}",
            outcome.diagnostics
        );
        let shown = format!("{outcome:?}");
        // As characters, or as bytes.
        assert!(
            !shown.contains(canary) && !shown.contains("99, 97"),
            "{rest}\n{shown}"
        );
    }
}

#[test]
fn weakening_is_warned_of() {
    for (rest, code) in [
        ("access_policy: {read: [ANY]}", Code::OpenAccess),
        (
            "secrets: [{name: x, kind: ascii, value: v}]",
            Code::ExplicitSecret,
        ),
        (
            "secrets: [{name: x, kind: private-key, export_public: true}]",
            Code::PublicPrivateMaterial,
        ),
        (
            "secrets: [{name: x, kind: ascii}]\nimages: [{name: i, injection_files: [{path: /f, content: $$SCONE::x}]}]",
            Code::UnterminatedReference,
        ),
        (
            "services: [{name: s, attestation: [{workload: 1111111111111111111111111111111111111111111111111111111111111111}]}]",
            Code::MissingPwd,
        ),
        (
            "services: [{name: s, pwd: /, attestation: [{workload: 1111111111111111111111111111111111111111111111111111111111111111, simulated: true}]}]",
            Code::SimulatedEvidence,
        ),
        (
            "services: [{name: s, pwd: /, attestation: [{workload: 1111111111111111111111111111111111111111111111111111111111111111}]}]",
            Code::NoEffect,
        ),
        (
            &format!("services: [{{name: s, pwd: /, attestation: [{{measurement: {M}}}]}}]"),
            Code::WeakAttestation,
        ),
        (
            "security: {attestation: {trusted_scone_qe_pubkeys: [x]}}",
            Code::NoEffect,
        ),
        (
            "security: {attestation: {mode: {what: none, reason: r, until: 2030-01-01}}}",
            Code::WeakAttestation,
        ),
        ("digest: create", Code::Legacy),
    ] {
        let outcome = check(&with(rest));
        assert!(
            outcome.session.is_some(),
            "{rest} {:?}",
            outcome.diagnostics
        );
        assert!(
            outcome
                .diagnostics
                .iter()
                .any(|one| one.code == code && one.severity == Severity::Warning),
            "{rest}"
        );
    }
    let outcome = check("name: a\nversion: 0.3\n");
    assert_eq!(outcome.diagnostics[0].code, Code::MissingSalt);
}

#[test]
fn dangerous_relaxations_need_terms_unless_imported() {
    for (plain, dated) in [
        (
            "tolerate: [debug-mode]",
            "tolerate: [{what: debug-mode, reason: r, until: 2030-01-01}]",
        ),
        (
            "tolerate: [debug]",
            "tolerate: [{what: debug, reason: r, until: 2030-01-01}]",
        ),
        (
            "tolerate: [outdated-tcb]",
            "tolerate: [{what: outdated-tcb, reason: r, until: 2030-01-01}]",
        ),
        (
            "tolerate: [insecure-configuration]",
            "tolerate: [{what: insecure-configuration, reason: r, until: 2030-01-01}]",
        ),
        (
            "mode: none",
            "mode: {what: none, reason: r, until: 2030-01-01}",
        ),
        (
            "ignore_advisories: \"*\"",
            "ignore_advisories: {id: \"*\", reason: r, until: 2030-01-01}",
        ),
        (
            "ignore_advisories: [\"*\"]",
            "ignore_advisories: [{id: \"*\", reason: r, until: 2030-01-01}]",
        ),
    ] {
        let text = with(&format!("security: {{attestation: {{{plain}}}}}"));
        assert_eq!(errors(&check(&text)).len(), 1, "{plain}");
        assert_eq!(errors(&check(&text))[0].0, Code::TermsMissing, "{plain}");
        let imported = import(&text);
        assert!(imported.session.is_some(), "{plain}");
        assert!(
            imported
                .warnings()
                .any(|one| one.code == Code::WeakAttestation)
        );
        let text = with(&format!("security: {{attestation: {{{dated}}}}}"));
        assert!(check(&text).session.is_some(), "{dated}");
    }
}

#[test]
fn versions_have_what_they_have() {
    for (version, rest, since) in [
        ("0.2", "security: {}", "0.3.1"),
        (
            "0.3",
            "services: [{name: s, attestation: [{mrenclave: 1111111111111111111111111111111111111111111111111111111111111111}]}]",
            "0.3.7",
        ),
        (
            "0.3.9",
            "access_policy: {update: [{require-all: [CREATOR]}]}",
            "0.3.10",
        ),
        (
            "0.3.4",
            "secrets: [{name: x, kind: binary}, {name: y, kind: ascii, value: '$$SCONE::x:hex$$'}]",
            "0.3.5",
        ),
        ("0.3.11", "salt: 000102030405060708090a0b0c0d0e0f", "0.3.12"),
        (
            "0.3.11",
            "secrets: [{name: x, kind: binary, import_pkcs11: {module: hsm, token: t, object: o}}]",
            "0.3.12",
        ),
        (
            "0.3.6",
            "secrets: [{name: x, kind: private-key, migrate: true}]",
            "0.3.7",
        ),
    ] {
        let text = format!("name: a\nversion: {version}\n{rest}");
        let outcome = check(&text);
        assert_eq!(
            outcome.errors().map(|one| one.code).collect::<Vec<_>>(),
            [Code::NeedsVersion],
            "{rest}"
        );
        assert!(outcome.errors().next().unwrap().message.contains(since));
        assert!(import(&text).session.is_some(), "{rest}");
        let text = format!("name: a\nversion: {since}\n{rest}");
        assert!(check(&text).session.is_some(), "{rest}");
    }
    assert_eq!(errors(&check("name: a\n")), [(Code::MissingVersion, "")]);
    assert_eq!(
        errors(&check("name: a\nversion: 0.1\n")),
        [(Code::BadValue, "version")]
    );
}
