//! One text for each kind of fault: it is found, in its place.

mod secrets;
mod services;

use mse_session::{Code, Severity};

use crate::{check, errors, import, with};

const H: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// A measurement of a machine.
const M: &str = "111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111";

#[test]
fn each_fault_is_found_in_its_place() {
    document();
    services::of_services();
    services::of_images_and_volumes();
    secrets::of_values();
    secrets::of_imports();
    access();
    security();
}

fn document() {
    found(&[
        ("name: other", Code::DuplicateKey, ""),
        ("nonsense: 1", Code::UnknownKey, "nonsense"),
        ("services: {}", Code::WrongType, "services"),
        ("services: [{}]", Code::MissingKey, "services[0]"),
        ("salt: 00", Code::DuplicateKey, ""),
        ("predecessor: 00", Code::BadValue, "predecessor"),
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
    ]);
}

fn access() {
    found(&[
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
    ]);
}

fn security() {
    found(&[
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
    ]);
}

/// Each text leads to a fault of this code at this path.
fn found(cases: &[(&str, Code, &str)]) {
    for &(rest, code, path) in cases {
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
