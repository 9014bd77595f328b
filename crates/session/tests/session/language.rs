//! What the language means.

use std::collections::BTreeSet;

use mse_crypto::signing::{Algorithm, SigningKey};
use mse_secrets::{Format, Kind};
use mse_session::{
    AccessPolicy, Acl, AttestationEntry, AttestationSettings, Code, Compatibility, EnvironmentName,
    EnvironmentValue, KeyHash, Operation, OrReference, Recipient, Requester, SecretSource,
    Security, SessionName, Tolerated, Variables, check_text,
};
use serde_json::json;

use crate::{check, errors, session, with};

const H: &str = "1111111111111111111111111111111111111111111111111111111111111111";

#[test]
fn every_tolerance_is_read() {
    for tolerated in Tolerated::ALL {
        let word = tolerated.as_str();
        let read = session(&format!(
            "security: {{attestation: {{tolerate: [{{what: {word}, reason: r, until: 2030-01-01}}]}}}}"
        ));
        let OrReference::Given(Security {
            attestation: Some(OrReference::Given(settings)),
            ..
        }) = read.security
        else {
            panic!("{word}");
        };
        assert_eq!(settings.tolerate[0].given().unwrap().what, *tolerated);
        let plain = check(&with(&format!(
            "security: {{attestation: {{tolerate: [{word}]}}}}"
        )));
        assert_eq!(plain.session.is_some(), !tolerated.is_dangerous(), "{word}");
    }
}

#[test]
fn values_may_be_kept_outside() {
    let read = session(
        "secrets:\n\
         - {name: t, kind: ascii}\n\
         - {name: a, kind: ascii, import_kv: {url: 'HTTPS://Vault.Example:443/', mount: secret, path: shop/db, field: password, token: $$SCONE::t$$}}\n\
         - {name: b, kind: binary, import_pkcs11: {module: hsm, token: shop, object: master, pin: t}}\n\
         - {name: c, kind: binary, import_pkcs11: {module: hsm, token: shop, object: other}}\n",
    );
    let canonical: serde_json::Value = serde_json::from_str(&read.canonical()).unwrap();
    assert_eq!(
        canonical["secrets"][1]["import_kv"],
        json!({"url": "https://vault.example", "path": "shop/db", "field": "password", "token": "t"})
    );
    assert_eq!(
        canonical["secrets"][2]["import_pkcs11"],
        json!({"module": "hsm", "token": "shop", "object": "master", "pin": "t"})
    );
    let credentials: Vec<_> = read.secrets[1..]
        .iter()
        .map(|secret| match &secret.source {
            SecretSource::External(external) => external.credential().map(ToString::to_string),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(credentials, [Some("t".into()), Some("t".into()), None]);
}

#[test]
fn a_connection_in_clear_is_warned_of() {
    let of = |url: &str| {
        check(&with(&format!(
            "secrets: [{{name: t, kind: ascii}}, {{name: a, kind: ascii, import_kv: {{url: '{url}', path: a, field: f, token: t}}}}]"
        )))
    };
    let plain = of("http://127.0.0.1:8200");
    let warnings: Vec<_> = plain.warnings().map(|one| one.code).collect();
    assert_eq!(warnings, [Code::PlainTransport]);
    assert_eq!(of("https://127.0.0.1:8200").warnings().count(), 0);
}

#[test]
fn a_suggestion_for_every_misspelt_key_of_what_is_outside() {
    for (wrong, right) in [
        ("feild", "field"),
        ("verison", "version"),
        ("tokn", "token"),
    ] {
        let outcome = check(&with(&format!(
            "secrets: [{{name: t, kind: ascii}}, {{name: a, kind: ascii, import_kv: {{url: 'https://v', path: a, field: f, token: t, {wrong}: 1}}}}]"
        )));
        let fault = outcome.errors().next().unwrap();
        assert_eq!(fault.help, Some(format!("did you mean `{right}`?")));
    }
}

#[test]
fn every_format_of_every_kind_can_be_referred_to() {
    for kind in Kind::ALL {
        let secret = match kind {
            Kind::PublicKey => "private_key: k",
            Kind::Jwt => "signer: k, validity: {for: 1d}",
            Kind::AadToken => "tenant_id: t, client_id: c, application_secret: a",
            Kind::ConfigFragment => "value: {a: b}",
            _ => "size: ~",
        };
        let canonical = |suffix: &str| {
            let read = session(&format!(
                "secrets: [{{name: k, kind: private-key}}, {{name: x, kind: {kind}, {secret}}}]\n\
                 images: [{{name: i, injection_files: [{{path: /f, content: '$$SCONE::x{suffix}$$'}}]}}]"
            ));
            let content = read.images[0].injection_files[0].content.clone().unwrap();
            content.as_reference().unwrap().suffix().to_owned()
        };
        for suffix in Format::suffixes(kind) {
            let written = canonical(suffix);
            assert_eq!(Format::parse(kind, &written), Format::parse(kind, suffix));
            assert_eq!(canonical(&written), written, "one spelling for one form");
        }
    }
}

#[test]
fn relative_paths_are_resolved() {
    let read = session(
        "secrets: [{name: x, kind: ascii, export: [{session: ../b}, {session: ./c}, {namespace: ../../d}]}, {name: y, import: \"/session=e,secret=z\"}, {name: z, import: plain}]",
    );
    let names: Vec<String> = read.secrets[0]
        .exports
        .iter()
        .map(|export| match &export.to {
            Recipient::Session(pin) => pin.session.to_string(),
            Recipient::Namespace(name) => format!("{name}/"),
        })
        .collect();
    assert_eq!(names, ["ns/b", "ns/own/c", "d/"]);
    let from = |index: usize| match &read.secrets[index].source {
        SecretSource::Imported(import) => (
            import.session.session.to_string(),
            import.secret.to_string(),
        ),
        _ => panic!("imported"),
    };
    assert_eq!(from(1), ("e".into(), "z".into()));
    assert_eq!(from(2), ("plain".into(), "z".into()));
}

#[test]
fn remote_imports_in_both_forms_are_one() {
    let long = session(&format!(
        "secrets: [{{name: x, import: {{session: s, session_hash: {H}, cas_url: cas.example, cas_software_key: K}}}}]"
    ));
    let short = session(&format!(
        "secrets: [{{name: x, import: \"cas.example/cas_software_key=K,session=s,session_hash={H}\"}}]"
    ));
    assert_eq!(long, short);
    assert_eq!(long.hash(), short.hash());
}

#[test]
fn names_of_512_characters_with_all_their_namespaces() {
    let long = vec!["n".repeat(63); 8].join("/");
    assert_eq!(long.len(), 511);
    let text = |name: &str, version: &str| format!("name: {name}\nversion: {version}\n");
    assert!(
        check(&text(&format!("{long}x"), "0.3.12"))
            .session
            .is_some()
    );
    assert_eq!(
        errors(&check(&text(&format!("{long}xx"), "0.3.12"))),
        [(Code::BadName, "name")]
    );
    assert_eq!(
        errors(&check(&text(&long, "0.3.10"))),
        [(Code::NeedsVersion, "name")]
    );
}

#[test]
fn governance_as_deep_as_boards_are() {
    let keys: Vec<SigningKey> = (0..5)
        .map(|_| SigningKey::generate(Algorithm::Ed25519))
        .collect();
    // Each level: this signer, together with the level below.
    let mut rule = "CREATOR".to_owned();
    for key in &keys {
        let pem = key.public().to_pem().replace('\n', "\\n");
        rule = format!("{{require-all: [{{signer: \"{pem}\"}}, {rule}]}}");
    }
    let read = session(&format!("access_policy: {{update: [{rule}]}}"));
    let OrReference::Given(policy) = &read.access_policy else {
        panic!()
    };
    let creator = mse_session::Identity::Tls(KeyHash([7; 32]));
    let asks = |count: usize| {
        let signers: BTreeSet<_> = keys.iter().take(count).map(SigningKey::public).collect();
        let requester = Requester {
            tls: Some(KeyHash([7; 32])),
            signers: &signers,
        };
        policy.allows(Operation::Update, &requester, Some(&creator), |_| None)
    };
    assert!(asks(5));
    assert!((0..5).all(|count| !asks(count)));
    let deep = (0..20).fold("CREATOR".to_owned(), |rule, _| {
        format!("{{require-all: [{rule}]}}")
    });
    assert_eq!(
        errors(&check(&with(&format!(
            "access_policy: {{update: [{deep}]}}"
        ))))[0]
            .0,
        Code::TooLarge
    );
}

#[test]
fn the_host_gives_what_is_asked_of_it_only() {
    let read = session(&format!(
        "services: [{{name: s, pwd: /, attestation: [{{workload: {H}}}], command: \"run @@2 x@@1\", environment: {{'\\@\\@HOME': ~, B: '@@1'}}}}]"
    ));
    let service = &read.services[0];
    let wanted: Vec<u16> = service
        .command
        .as_ref()
        .unwrap()
        .0
        .iter()
        .flat_map(mse_session::Template::host_arguments)
        .collect();
    assert_eq!(wanted, [2, 1]);
    let value = |name: &str| &service.environment[&name.parse::<EnvironmentName>().unwrap()];
    assert_eq!(value("HOME"), &EnvironmentValue::FromHost);
    let EnvironmentValue::Given(template) = value("B") else {
        panic!()
    };
    assert_eq!(template.as_literal(), Some("@@1"));
}

#[test]
fn evidence_of_the_simulated_tee_is_refused_unless_it_is_said() {
    let rule = |rest: &str| {
        let read = session(&format!(
            "services: [{{name: s, pwd: /, attestation: [{{workload: {H}{rest}}}]}}]"
        ));
        match read.services[0].attestation[0].clone() {
            AttestationEntry::Rule(rule) => rule,
            AttestationEntry::Fragment(_) => panic!(),
        }
    };
    assert!(!rule("").simulated);
    assert!(!rule(", simulated: false").simulated);
    assert!(rule(", simulated: true").simulated);
    assert!(rule(", tee: [snp, tdx]").tee.len() == 2);
}

#[test]
fn fragments_are_read_as_what_they_stand_for() {
    let policy =
        AccessPolicy::from_fragment(&json!({"read": ["ANY"], "update": "CREATOR"})).unwrap();
    assert_eq!(policy.read, Acl::Any);
    assert!(AccessPolicy::from_fragment(&json!({"raed": ["ANY"]})).is_err());
    let acl = Acl::from_fragment(&json!([KeyHash([1; 32]).to_string()]), Operation::Read).unwrap();
    assert!(matches!(acl, Acl::OneOf(_)));
    assert!(Acl::from_fragment(&json!({"signer": "x"}), Operation::Read).is_err());
    let entries =
        AttestationEntry::list_from_fragment(&json!([{"mrenclave": [H]}, {"workload": H}]))
            .unwrap();
    assert_eq!(entries.len(), 2);
    assert!(AttestationEntry::list_from_fragment(&json!([{}])).is_err());
    let weak = json!({"tolerate": ["debug-mode"]});
    assert!(AttestationSettings::from_fragment(&weak, Compatibility::Strict).is_err());
    assert!(AttestationSettings::from_fragment(&weak, Compatibility::Import).is_ok());
    assert!(Security::from_fragment(&json!({"attestation": weak}), Compatibility::Strict).is_err());
}

#[test]
fn variables_are_values_and_never_structure() {
    let text = with("secrets: [{name: x, kind: ascii, size: $SIZE, value: ~}]\npredecessor: $P");
    let check = |size: &str, predecessor: &str| {
        let variables = Variables::new().with("SIZE", size).with("P", predecessor);
        check_text(&text, &variables, Compatibility::Strict)
    };
    assert!(check("16", "~").session.is_some());
    assert!(check("16", H).session.unwrap().predecessor.is_some());
    assert_eq!(errors(&check("16}, {name: y", "~"))[0].0, Code::BadValue);
    assert_eq!(
        errors(&check("16", "~\naccess_policy: {read: ANY}"))[0].0,
        Code::BadValue
    );
}

#[test]
fn the_value_of_a_variable_is_a_part_of_one_word() {
    let words = |command: &str, value: &str| {
        let text = format!(
            "name: s\nversion: '0.3.12'\nservices: [{{name: s, pwd: /, attestation: [{{workload: {H}}}], command: {command}}}]"
        );
        let variables = Variables::new().with("V", value);
        let checked = check_text(&text, &variables, Compatibility::Strict);
        let (session, _) = checked.into_result().ok()?;
        let command = session.services[0].command.clone().unwrap();
        let words = command
            .0
            .iter()
            .map(|word| word.as_literal().unwrap().to_owned());
        Some(words.collect::<Vec<_>>())
    };
    for value in ["a b", "'", "\" '", "x\n- y"] {
        let word = format!("--v={value}");
        assert_eq!(
            words("run --v=$V end", value).unwrap(),
            ["run", &word, "end"]
        );
        assert_eq!(
            words("run '${V}' end", value).unwrap(),
            ["run", value, "end"]
        );
        assert_eq!(words("[run, $V]", value).unwrap(), ["run", value]);
    }
    // Alone, it is the command line.
    assert_eq!(words("$V", "run 'a b'").unwrap(), ["run", "a b"]);
    for command in ["run $V", "[run, $V]"] {
        assert_eq!(words(command, "@@1"), None);
    }
}

#[test]
fn a_text_without_variables_comes_back_from_what_it_is_sent_as() {
    let read = session(
        "secrets: [{name: x, kind: ascii, value: 'a\\$HOME ${Y} $$ {{n}}'}]"
            .replace("${Y}", "\\${Y}")
            .replace("{{n}}", "\\{{n}}")
            .as_str(),
    );
    let text = read.to_text();
    assert!(text.contains("a$HOME ${Y} $$ {{n}}"));
    let again = check_text(&text, &Variables::replaced(), Compatibility::Strict);
    assert_eq!(again.session.as_ref(), Some(&read));
}

#[test]
fn namespaces() {
    let name: SessionName = "ns/own".parse().unwrap();
    assert_eq!(session("").name, name);
    assert!(
        check("name: /\nversion: 0.3.12\n")
            .session
            .unwrap()
            .name
            .is_root()
    );
}

#[test]
fn defaults_that_are_said_are_not_said() {
    for (said, unsaid) in [
        (
            "secrets: [{name: x, kind: x509, dns: a, common_name: a}]",
            "secrets: [{name: x, kind: x509, san: ['dns:a']}]",
        ),
        (
            "secrets: [{name: x, kind: binary, value: 'AAff'}]",
            "secrets: [{name: x, kind: binary, value: \" aaFF\\n\"}]",
        ),
        (
            "secrets: [{name: x, kind: ascii, size: 20}]",
            "secrets: [{name: x, kind: ascii}]",
        ),
        (
            "secrets: [{name: x, kind: private-key, key_type: P-256, migrate: false}]",
            "secrets: [{name: x, kind: private-key}]",
        ),
        (
            "volumes: [{name: v, files: encrypted, export: {to: {session: s}, update_policy: rollback_protected}}]",
            "volumes: [{name: v, export: [{session: s}]}]",
        ),
        (
            "access_policy: {read: [CREATOR], list_sessions: CREATOR}",
            "",
        ),
        (
            "security: {attestation: {mode: hardware, tolerate: [], ignore_advisories: []}, singleton_enclaves: false}",
            "",
        ),
        ("secret_config: {store_in: !cas }", ""),
        ("secret_config: {store_in: cas}", "digest: create"),
    ] {
        assert_eq!(session(said), session(unsaid), "{said}");
        assert_eq!(session(said).hash(), session(unsaid).hash(), "{said}");
    }
}
