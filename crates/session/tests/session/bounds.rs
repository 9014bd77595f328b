//! Texts that are made to cost time and memory. That these tests end at all is what they show; that
//! few diagnostics come out is what they check.

use mse_session::{Code, Compatibility, MAX_BYTES, Variables, check_text};

use crate::{check, errors, session, with};

/// Less than a session may have, for the sake of unoptimised tests; what is quadratic shows in it.
const BYTES: usize = MAX_BYTES / 8;

/// As much of a repeated piece as there is room for.
fn filled(head: &str, piece: impl Fn(usize) -> String, tail: &str) -> String {
    let mut text = head.to_owned();
    for index in 0.. {
        let piece = piece(index);
        if text.len() + piece.len() + tail.len() > BYTES {
            break;
        }
        text.push_str(&piece);
    }
    text + tail
}

#[test]
fn hostile_texts_end_with_few_words() {
    let secrets: Vec<String> = (0..3000)
        .map(|n| format!("- {{name: secret{n}, kind: ascii}}\n"))
        .collect();
    let secrets = secrets.concat();
    let image = |content: String| {
        format!("images:\n- name: i\n  injection_files:\n  - path: /f\n    content: {content}\n")
    };
    let secrets = with(&format!("secrets:\n{secrets}"));
    for text in [
        // Each reference is looked for among all secrets.
        secrets.clone() + &image(format!("\"{}\"", "$$SCONE::sekret1$$".repeat(5_000))),
        secrets.clone() + &image(format!("\"{}\"", "$$SCONE::sekret1 ".repeat(5_000))),
        secrets + &image(format!("\"{}\"", "$$SCONE::secret1:hex$$".repeat(5_000))),
        filled(&with(""), |n| format!("key{n}: 1\n"), ""),
        filled(&with(""), |n| format!("${{V{n}}}: $V{n}\n"), ""),
        filled(&with("x: \""), |_| "{{a}}".to_owned(), "\""),
        filled(&with("x: \""), |_| "\\\\".to_owned(), "\""),
        filled(&with("x: "), |_| "[".to_owned(), ""),
        filled(&with("x: "), |_| "{a: ".to_owned(), ""),
        filled(&with("x: "), |_| "- ".to_owned(), ""),
        filled(&with("x: "), |_| "? ".to_owned(), ""),
        filled(&with(""), |n| format!("&a{n} a{n}: *a{n}\n"), ""),
        filled(
            &with("access_policy:\n  read:\n"),
            |n| format!("  - me{n}\n"),
            "",
        ),
        filled(
            &with("access_policy: {update: ["),
            |_| "{require-all: [".to_owned(),
            "",
        ),
        filled("name: ", |_| "a/".to_owned(), "a\nversion: 0.3.12\n"),
        filled(
            &with("services:\n- name: s\n  command: "),
            |_| "@@1 ".to_owned(),
            "",
        ),
        filled(
            &with("services:\n- name: s\n  command: \""),
            |_| "' ".to_owned(),
            "\"",
        ),
        filled(
            &with("secrets:\n- {name: s, kind: x509, valid_for: \""),
            |_| "1d".to_owned(),
            "\"}",
        ),
    ] {
        let outcome = check(&text);
        assert!(outcome.session.is_none());
        assert!(outcome.diagnostics.len() <= 400);
        assert!(
            outcome
                .diagnostics
                .iter()
                .all(|one| one.to_string().len() < 5000)
        );
    }
}

#[test]
fn circles_of_many_secrets_are_found() {
    let count = 2000;
    let secrets: Vec<String> = (0..count)
        .map(|n| {
            let issuer = (n + 1) % count;
            format!("- {{name: s{n}, kind: x509-ca, issuer: s{issuer}}}")
        })
        .collect();
    let secrets = secrets.join("\n");
    let outcome = check(&with(&format!("secrets:\n{secrets}")));
    assert_eq!(errors(&outcome)[0].0, Code::Circular);
}

#[test]
fn large_values_come_back() {
    let line = "all of it: \\t\\\\ {[\u{e9}]} # 'x' \\\"y\\\"\\n";
    let content = line.repeat(8_000);
    let read = session(&format!(
        "secrets: [{{name: x, kind: ascii, value: \"{}\"}}]\nimages: [{{name: i, injection_files: [{{path: /f, content: \"{content}\"}}, /g]}}]",
        line.repeat(1_000)
    ));
    assert!(read.to_text().len() > 300_000);
    let again = check_text(
        &read.to_text(),
        &Variables::replaced(),
        Compatibility::Strict,
    );
    assert_eq!(
        again.session.as_ref(),
        Some(&read),
        "{:?}",
        again.diagnostics
    );
}
