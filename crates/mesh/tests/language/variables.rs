//! `$NAME` in documents.

use mse_mesh::{Code, Document, MeshText, Severity, Undefined, Variables, check_text};

const MANIFEST: &str = "apiVersion: mse/v1
kind: genservice
build:
  name: api
  kind: python
  to: $REPO/api:1
  command: python3 ${FILE}.py
environment:
  local:
  - {name: A, value: $VALUE}
  - {name: B, value: '\\$HOME $$ $1'}
";

fn variables(value: &str) -> Variables {
    Variables::new()
        .with("REPO", "registry.example")
        .with("FILE", "api")
        .with("VALUE", value)
}

#[test]
fn a_value_takes_its_place_and_changes_nothing_else() {
    for value in [
        "x\n- {name: C, value: 1}",
        "]}, {a: b",
        "# x",
        "{{WHO}}",
        "'\"",
    ] {
        let outcome = check_text(MANIFEST, &variables(value));
        let Some(Document::Service(manifest)) = outcome.document else {
            panic!("{value}: {:#?}", outcome.diagnostics);
        };
        assert_eq!(manifest.build.to.as_str(), "registry.example/api:1");
        assert_eq!(manifest.build.command.as_literal(), Some("python3 api.py"));
        let local = &manifest.environment.local;
        assert_eq!(local.len(), 2);
        assert_eq!(*local[0].value.to_text(), value);
        assert_eq!(local[1].value.as_literal(), Some("$HOME $$ $1"));
    }
}

#[test]
fn a_value_is_a_part_of_one_word_of_the_command() {
    for (file, words) in [
        ("a b", &["python3", "a b.py"][..]),
        ("it's \"x\"", &["python3", "it's \"x\".py"]),
        ("", &["python3", ".py"]),
        ("--a\n--b", &["python3", "--a\n--b.py"]),
    ] {
        let outcome = check_text(MANIFEST, &variables("x").with("FILE", file));
        let Some(Document::Service(manifest)) = outcome.document else {
            panic!("{file}: {:#?}", outcome.diagnostics);
        };
        let found = manifest.build.command.words().unwrap();
        let found: Vec<_> = found.iter().map(MeshText::as_literal).collect();
        assert_eq!(found, words.iter().copied().map(Some).collect::<Vec<_>>());
    }
    let outcome = check_text(MANIFEST, &variables("x").with("FILE", "@@1"));
    assert!(outcome.document.is_none());
    let message = &outcome.diagnostics[0].message;
    assert!(message.contains("makes `@@N`"), "{message}");
}

#[test]
fn a_variable_without_value_is_what_the_caller_says() {
    for (undefined, severity) in [
        (Undefined::Left, Severity::Warning),
        (Undefined::Refused, Severity::Error),
    ] {
        let variables = Variables::new().with_undefined(undefined);
        let outcome = check_text(MANIFEST, &variables);
        assert!(outcome.document.is_none());
        let found: Vec<_> = outcome
            .diagnostics
            .iter()
            .filter(|one| one.code == Code::UndefinedVariable)
            .map(|one| (one.severity, one.line, one.column))
            .collect();
        let places = [(6, 7), (7, 12), (10, 22)];
        let expected = places.map(|(line, column)| (severity, Some(line), Some(column)));
        assert_eq!(found, expected);
    }
    // The rest is checked all the same, and what is open is complained about once.
    let text = MANIFEST.replace("kind: python", "kind: pyton");
    let outcome = check_text(&text, &Variables::new().with_undefined(Undefined::Left));
    let errors: Vec<_> = outcome.errors().map(|one| one.path.as_str()).collect();
    assert_eq!(errors, ["build.kind"]);
}
