//! What holds for every session.

use mse_session::{Compatibility, Session, Variables, check_text};
use proptest::prelude::*;

fn read(text: &str) -> Option<Session> {
    check_text(text, &Variables::replaced(), Compatibility::Import).session
}

/// Sections of sessions, well-formed or not, in every combination.
fn section() -> impl Strategy<Value = String> {
    const H: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    let name = "[a-c]";
    let text = "[ a-z$@{}:'\\\\#\u{e9}\u{1f600}-]{0,12}";
    let quoted = |text: String| serde_json::to_string(&text).unwrap();
    prop_oneof![
        (name, text, text).prop_map(move |(name, value, word)| format!(
            "services: [{{name: {name}, pwd: /, mrenclaves: [{H}], command: [x, {}], environment: {{A: {}}}}}]",
            quoted(word),
            quoted(value)
        )),
        (name, text, name).prop_map(move |(name, content, secret)| format!(
            "images: [{{name: {name}, injection_files: [{{path: /f, content: {}}}, {{path: /g, content: '$$SCONE::{secret}|escape(json)$$'}}]}}]",
            quoted(content)
        )),
        (name, 0u32..40, any::<bool>()).prop_map(|(name, size, public)| format!(
            "secrets: [{{name: {name}, kind: binary, size: {size}, export_public: {public}}}, {{name: b, kind: ascii, size: 3}}]"
        )),
        (name, text).prop_map(move |(name, value)| format!(
            "secrets: [{{name: {name}, kind: config-fragment, value: {{k: [{}, 1, true, ~]}}}}]",
            quoted(value)
        )),
        (name, "[a-c/]{1,3}", "[a-z ]{1,3}", 0u32..4).prop_map(|(name, path, field, version)| format!(
            "secrets: [{{name: {name}, kind: binary, import_kv: {{url: 'https://KV.example:8200', mount: secret, path: {path}, field: '{field}', version: {version}, token: $$SCONE::t$$}}}}, {{name: t, kind: ascii}}]"
        )),
        (name, "[a-c/.]{1,3}", "[a-z ]{1,3}", any::<bool>()).prop_map(|(name, module, label, pin)| format!(
            "secrets: [{{name: {name}, kind: ascii, import_pkcs11: {{module: {module}, token: '{label}', object: '{label}'{}}}}}, {{name: p, kind: ascii, value: '1234'}}]",
            if pin { ", pin: p" } else { "" }
        )),
        (name, any::<bool>()).prop_map(|(name, none)| format!(
            "volumes: [{{name: {name}, export: {{session: ../{name}, update_policy: {}}}}}]",
            if none { "no_rollback_protection" } else { "ephemeral" }
        )),
        prop_oneof![
            Just("{read: ANY}"),
            Just("{update: [{require-at-least-1: [CREATOR, 2222222222222222222222222222222222222222222222222222222222222222]}]}"),
            Just("{update: NONE, create_sessions: [CREATOR]}"),
        ]
        .prop_map(|policy| format!("access_policy: {policy}")),
        prop_oneof![Just("debug-mode"), Just("hyperthreading"), Just("aepic-leak")]
            .prop_map(|word| format!("security: {{attestation: {{tolerate: [{word}, insecure-igpu], ignore_advisories: [INTEL-SA-2, INTEL-SA-1]}}}}")),
    ]
}

proptest! {
    #[test]
    fn the_canonical_form_is_a_fixed_point(sections in proptest::collection::vec(section(), 0..5), salt in proptest::option::of("[0-9a-f]{32}")) {
        let salt = salt.map_or_else(String::new, |salt| format!("salt: '{salt}'\n"));
        let text = format!("name: a/b\nversion: 0.3.12\n{salt}{}", sections.join("\n"));
        if let Some(session) = read(&text) {
            let again = read(&session.to_text());
            prop_assert_eq!(again.as_ref(), Some(&session));
            let again = again.unwrap();
            prop_assert_eq!(&*again.canonical(), &*session.canonical());
            prop_assert_eq!(again.hash(), session.hash());
        }
    }

    /// What an older version spells differently is read again as strictly as it was read.
    #[test]
    fn the_canonical_form_needs_no_indulgence(sections in proptest::collection::vec(section(), 0..4), version in prop_oneof![Just("0.2"), Just("0.3"), Just("0.3.5"), Just("0.3.10")]) {
        let text = format!("name: a\nversion: {version}\n{}", sections.join("\n"));
        let strict = |text: &str, variables: &Variables| check_text(text, variables, Compatibility::Strict).session;
        if let Some(session) = strict(&text, &Variables::replaced()) {
            prop_assert_eq!(strict(&session.to_text(), &Variables::replaced()), Some(session));
        }
    }

    /// The order of the sections, and quotes around words, mean nothing.
    #[test]
    fn spelling_does_not_change_the_hash(sections in proptest::collection::vec(section(), 2..4)) {
        let forth = format!("name: a/b\nversion: 0.3.12\n{}", sections.join("\n"));
        let mut back = sections.clone();
        back.reverse();
        let back = format!("{}\nversion: \"0.3.12\"\nname: 'a/b'", back.join("\n"));
        prop_assert_eq!(read(&forth).map(|one| one.hash()), read(&back).map(|one| one.hash()));
    }

    #[test]
    fn nothing_panics(text in any::<String>()) {
        let _ = check_text(&text, &Variables::new(), Compatibility::Strict);
    }

    /// Sessions with some characters changed, taken out or put in.
    #[test]
    fn nothing_near_a_session_panics(
        sections in proptest::collection::vec(section(), 1..4),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), "[\\PC\n]{0,3}"), 1..6),
    ) {
        let mut text: Vec<char> = format!("name: a/b\nversion: 0.3.12\n{}", sections.join("\n")).chars().collect();
        for (index, new) in edits {
            let at = index.index(text.len().max(1)).min(text.len().saturating_sub(1));
            text.splice(at..(at + 1).min(text.len()), new.chars());
        }
        let text: String = text.into_iter().collect();
        for variables in [Variables::new(), Variables::replaced()] {
            let outcome = check_text(&text, &variables, Compatibility::Import);
            prop_assert_eq!(outcome.session.is_some(), outcome.errors().count() == 0);
            prop_assert!(outcome.errors().all(|one| !one.message.contains("for a reason unknown")), "{}", text);
            if let Some(session) = outcome.session {
                prop_assert_eq!(read(&session.to_text()), Some(session));
            }
        }
    }
}
