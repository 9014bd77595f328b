//! What holds for every document.

use mse_mesh::{
    ApiVersion, Document, Meshfile, ServiceManifest, ServiceTemplate, Undefined, Variables,
    check_text,
};
use proptest::prelude::*;

/// Texts with everything that has a meaning somewhere.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ a-zA-Z0-9$@{}:'\\\\#\"|>&*!%,\\[\\]?~.=\u{e9}\u{1f600}\n-]{1,24}",
        "([a$\\\\ \n]|\\$A|\\$\\{A\\}|\\{\\{a\\}\\}|\\\\\\{\\{|\\$\\$SCONE::p\\$\\$|\\{\\{ b \\| default\\(value=\"x\\$A\"\\) \\}\\}){1,8}",
        prop_oneof![
            Just("null"),
            Just("~"),
            Just("true"),
            Just("1e3"),
            Just("0x1f"),
            Just("012"),
            Just("12:30:45"),
            Just("2027-01-31"),
            Just("no"),
            Just("- a"),
            Just("a: b"),
            Just(" x"),
            Just("x "),
            Just("<<"),
            Just("a\n\n b\n"),
            Just("\n"),
            Just("a\n---\nb"),
            Just("\t"),
            Just("a\r\nb"),
            Just("=")
        ]
        .prop_map(str::to_owned),
    ]
}

/// A scalar of YAML with this text, in which nothing is a variable.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap().replace('$', "\\x24")
}

fn section() -> impl Strategy<Value = String> {
    let name = "[a-c]";
    prop_oneof![
        (name, text()).prop_map(|(name, value)| format!(
            "environment: {{local: [{{name: {name}, value: {}}}], global: [{{name: D}}]}}",
            quoted(&value)
        )),
        (name, text(), name).prop_map(|(name, value, path)| format!(
            "injection_files: [{{path: /{path}, content: {}}}, {{path: /{name}x, content: ''}}]",
            quoted(&value)
        )),
        (name, text(), 0u32..40).prop_map(|(name, value, size)| format!(
            "secrets: {{global: [{{name: {name}, kind: ascii, size: {size}}}, {{name: v, kind: ascii, value: {}}}], import: [p]}}",
            quoted(&value)
        )),
        (1u16..9, "[a-z]{1,4}").prop_map(|(port, name)| format!("listen: [{port}, {{port: 443, name: {name}}}]")),
    ]
}

fn manifest_text() -> impl Strategy<Value = String> {
    let build = (text(), text(), "[a-c]", any::<bool>(), any::<bool>());
    let sections = proptest::collection::vec(section(), 0..4);
    (build, sections).prop_map(|((command, run, folder, network, scone), sections)| {
        let version = if scone { "scone/5.8" } else { "mse/v1" };
        format!(
            "apiVersion: {version}\nkind: genservice\nbuild: {{name: api, kind: python, to: r.example/a, command: {}, run: [{}], dirs: [/{folder}//x/], network: {network}, volumes: [{{name: v, path: /v, export: [{{session: ../{folder}}}]}}]}}\n{}\n",
            quoted(&command),
            quoted(&run),
            sections.join("\n")
        )
    })
}

fn mesh_text() -> impl Strategy<Value = String> {
    let value = (text(), text(), text());
    let words = proptest::sample::subsequence(
        vec![
            "-C",
            "-G",
            "-S",
            "--only_for_testing-debug",
            "--mrenclave 1111111111111111111111111111111111111111111111111111111111111111",
        ],
        0..4,
    );
    let numbers = (0u32..5, 1u32..3000, "[a-c]");
    (value, words, numbers).prop_map(|((value, helm, key), words, (replicas, cores, name))| {
        format!(
            "apiVersion: scone/5.8\nkind: mesh\ncas: [{{cas_url: 'c:1', tolerance: \"{}\"}}]\npolicy: {{namespace: a/{name}, ignore_advisories: '*'}}\nenv: [{{name: {name}, value: {}}}, {{service: x, env: [{{name: E, value: 1}}]}}]\nservices: [{{name: x, image: r.example/x, replicas: {replicas}, resources: {{cores: {cores}m, memory: {cores}Ki}}, node_selector: {{disk: '{name}'}}, connections: []}}]\nhelm_extra_values: {{x: {{k: [{}, 1, 1.5, true, ~, {{}}]}}, {}: []}}\n",
            words.join(" "),
            quoted(&value),
            quoted(&helm),
            quoted(&key)
        )
    })
}

fn current(document: Document) -> Document {
    let api_version = ApiVersion::Mse1;
    match document {
        Document::Service(manifest) => Document::Service(Box::new(ServiceManifest {
            api_version,
            ..*manifest
        })),
        Document::Mesh(mesh) => Document::Mesh(Box::new(Meshfile {
            api_version,
            ..*mesh
        })),
    }
}

fn check_round_trip(text: &str) -> Result<bool, TestCaseError> {
    let Some(document) = check_text(text, &Variables::new()).document else {
        return Ok(false);
    };
    let yaml = document.to_yaml();
    // Whatever variables the reader has.
    let some = Variables::new().with("A", "oops").with("a", "oops");
    let again = check_text(&yaml, &some);
    prop_assert_eq!(
        again.document.as_ref(),
        Some(&current(document)),
        "{}\n{:#?}",
        yaml,
        again.diagnostics
    );
    prop_assert_eq!(again.document.unwrap().to_yaml(), yaml);
    Ok(true)
}

proptest! {
    #[test]
    fn what_was_written_is_read_as_the_same_manifest(text in manifest_text()) {
        check_round_trip(&text)?;
    }

    #[test]
    fn what_was_written_is_read_as_the_same_mesh(text in mesh_text()) {
        check_round_trip(&text)?;
    }

    #[test]
    fn templates_survive_their_canonical_form(text in manifest_text()) {
        if let Ok((manifest, _)) = ServiceManifest::read(&text, &Variables::new()) {
            let template = manifest.template();
            let json = template.canonical().unwrap();
            prop_assert_eq!(ServiceTemplate::from_json(&json).unwrap(), template);
        }
    }

    #[test]
    fn nothing_panics(text in any::<String>()) {
        let _ = check_text(&text, &Variables::new());
    }

    /// Documents with some characters changed, taken out or put in.
    #[test]
    fn nothing_near_a_document_panics(
        text in prop_oneof![manifest_text(), mesh_text()],
        edits in proptest::collection::vec((any::<prop::sample::Index>(), "[\\PC\n]{0,3}"), 1..6),
    ) {
        let mut text: Vec<char> = text.chars().collect();
        for (index, new) in edits {
            let at = index.index(text.len().max(1)).min(text.len().saturating_sub(1));
            text.splice(at..(at + 1).min(text.len()), new.chars());
        }
        let text: String = text.into_iter().collect();
        let outcome = check_text(&text, &Variables::new());
        prop_assert_eq!(outcome.document.is_some(), outcome.errors().count() == 0);
        prop_assert!(outcome.errors().all(|one| !one.message.contains("for a reason unknown")), "{}", text);
        check_round_trip(&text)?;
        // With variables left open, nothing is refused that is accepted with values.
        let open = check_text(&text, &Variables::new().with_undefined(Undefined::Left));
        prop_assert!(open.errors().count() <= outcome.errors().count());
        let _ = ServiceTemplate::from_json(text.as_bytes());
    }
}

#[test]
fn most_generated_documents_are_documents() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut read = 0;
    for _ in 0..100 {
        for text in [
            manifest_text().new_tree(&mut runner).unwrap().current(),
            mesh_text().new_tree(&mut runner).unwrap().current(),
        ] {
            read += usize::from(check_round_trip(&text).unwrap());
        }
    }
    assert!(read > 60, "{read} of 200");
}
