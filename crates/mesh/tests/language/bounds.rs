//! Hostile documents cost no more than their length.

use mse_mesh::{Code, InvalidTemplate, MAX_TEMPLATE_JSON, ServiceTemplate, Variables, check_text};

#[test]
fn large_documents_are_refused() {
    let head = "apiVersion: mse/v1\nkind: mesh\n";
    let aliases = format!(
        "{head}env:\n- &a {{name: A, value: {}}}\n{}",
        "x".repeat(500_000),
        "- *a\n".repeat(5000)
    );
    let deep = format!("{head}helm_extra_values: {}", "{a: ".repeat(100));
    for text in [
        " ".repeat(2 << 20),
        aliases,
        format!("{head}{}", "- x\n".repeat(30_000)),
        deep,
    ] {
        let outcome = check_text(&text, &Variables::new());
        let code = outcome.errors().next().unwrap().code;
        assert!(matches!(code, Code::TooLarge | Code::Syntax), "{code:?}");
    }
    let json = vec![b' '; MAX_TEMPLATE_JSON + 1];
    assert!(matches!(
        ServiceTemplate::from_json(&json),
        Err(InvalidTemplate::TooLarge(_))
    ));
}

#[test]
fn a_short_assignment_makes_no_long_list() {
    let text = "apiVersion: mse/v1\nkind: mesh\nhelm: ['a[999999999]=1']\n";
    let outcome = check_text(text, &Variables::new());
    let found = outcome
        .errors()
        .any(|one| one.message.contains("no assignment"));
    assert!(found, "{:#?}", outcome.diagnostics);
}
