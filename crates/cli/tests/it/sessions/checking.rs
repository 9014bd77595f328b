//! `mse session check`, and how texts are given.

use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};

use super::{ASCII, FILE_SYSTEM_KEY, PLAIN, keys, run, succeeds, text, user};
use crate::support::Ran;

#[test]
fn check_says_what_is_wrong_where_and_what_to_do() {
    let user = user();
    let mut shown = String::new();
    for words in [
        &["check", "plain.yml"][..],
        &["check", "session.yml"],
        &["check", "session.yml", "--fail-on-warning"],
        &["check", "bad.yml"],
        &["check", "plain.yml", "bad.yml", "nowhere.yml"],
        &["check", "template.yml", "-e", "NAME=shop"],
        &["check", "plain.yml", "--color", "always"],
        &["check", "bad.yml", "--json"],
    ] {
        let ran = run(&user, words);
        writeln!(shown, "##### {}\n{}", words.join(" "), ran.shown()).unwrap();
    }
    insta::assert_snapshot!("session_check", shown);
}

#[test]
fn check_has_one_shape_for_programs() {
    let user = user();
    let good = succeeds(&user, &["check", "plain.yml", "--json"]);
    assert_eq!(
        good.json(),
        json!({ "ok": true, "errors": [], "warnings": [] })
    );
    assert_eq!(good.stderr, "");

    let bad = run(&user, &["check", "bad.yml", "--json"]);
    assert_eq!(bad.code, 1);
    let document = bad.json();
    assert_eq!(keys(&document), ["errors", "ok", "warnings"]);
    assert_eq!(document["ok"], false);
    let error = &document["errors"][0];
    assert_eq!(
        keys(error),
        ["code", "column", "field", "help", "line", "message"]
    );
    assert_eq!(error["code"], "unknown-key");
    assert_eq!((&error["line"], &error["column"]), (&json!(3), &json!(1)));
    assert_eq!(error["field"], "acess_policy");
    assert!(error["help"].as_str().unwrap().contains("access_policy"));
    assert_eq!(bad.error()["code"], "verification-refused");
    assert_eq!(bad.error()["exit_code"], 1);

    let several = run(&user, &["check", "plain.yml", "nowhere.yml", "--json"]);
    assert_eq!(several.code, 1);
    let list = several.json();
    assert_eq!(
        list[0],
        json!({ "file": "plain.yml", "ok": true, "errors": [], "warnings": [] })
    );
    assert_eq!(list[1]["file"], "nowhere.yml");
    assert_eq!(list[1]["errors"][0]["code"], "unreadable");
    assert_eq!(list[1]["errors"][0]["line"], Value::Null);

    // A text that is no session, and bytes that are no text.
    user.write("list.yml", "[1, 2]");
    fs::write(user.path("bytes.yml"), [0xff, 0xfe]).unwrap();
    for file in ["list.yml", "bytes.yml", "."] {
        let ran = run(&user, &["check", file, "--json"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert_eq!(ran.json()["ok"], false, "{ran:?}");
    }
}

#[test]
fn warnings_fail_only_on_demand() {
    let user = user();
    let words = &["check", "session.yml", "--json"][..];
    let document = succeeds(&user, words).json();
    assert_eq!(document["ok"], true);
    let codes: Vec<_> = document["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"explicit-secret"), "{codes:?}");
    let strict = run(&user, &[words, &["--fail-on-warning"]].concat());
    assert_eq!(strict.code, 1);
    assert_eq!(strict.json()["ok"], false);
    assert_eq!(strict.json()["errors"], json!([]));
    assert_eq!(strict.json()["warnings"], document["warnings"]);
}

#[test]
fn import_is_milder() {
    let user = user();
    user.write("scone.yml", "name: old\nservices: []\n");
    assert_eq!(run(&user, &["check", "scone.yml"]).code, 1);
    let imported = succeeds(&user, &["check", "scone.yml", "--import", "--json"]).json();
    assert_eq!(imported["warnings"][0]["code"], "missing-version");
}

#[test]
fn variables_are_given_or_taken_from_the_environment() {
    let user = user();
    let name = |more: &[&str], environment: &[(&str, &str)]| {
        let words = [&["session", "hash", "template.yml", "--json"], more].concat();
        user.mse_with(&words, environment)
    };
    let given = ["-e", "NAME=given", "-e", "SIZE=8"];
    assert_eq!(name(&given, &[]).json()["name"], "given");
    let environment = [("NAME", "found"), ("SIZE", "9")];
    assert_eq!(name(&["--use-env"], &environment).json()["name"], "found");
    // What is given is stronger.
    let both = ["--use-env", "-e", "NAME=given"];
    assert_eq!(name(&both, &environment).json()["name"], "given");
    // The environment is not looked at unless asked to.
    let missing = name(&["-e", "NAME=a"], &environment);
    missing.failed_with(3, "`template.yml` is no valid session: 1 error");
    assert_eq!(
        missing.error()["details"]["errors"][0]["code"],
        "undefined-variable"
    );
}

#[test]
fn a_variable_that_cannot_be_read_is_not_shown() {
    let user = user();
    for wrong in [
        "ascii-canary-1f2e",
        "=ascii-canary-1f2e",
        "1X=ascii-canary-1f2e",
    ] {
        run(&user, &["check", "plain.yml", "-e", "A=1", "-e", wrong])
            .failed_with(2, "number 2 of the `-e` is not NAME=VALUE");
    }
    run(
        &user,
        &[
            "check",
            "plain.yml",
            "-e",
            "A=1",
            "-e",
            "A=ascii-canary-1f2e",
        ],
    )
    .failed_with(2, "`-e` gives the variable `A` more than once");
    run(&user, &["check"]).failed_with(2, "FILE");
}

#[test]
fn standard_input_is_a_file_too() {
    let user = user();
    let piped = |words: &[&str], text: &str| {
        let output = user
            .command(&[&["session"], words].concat())
            .write_stdin(text)
            .output();
        Ran::of(&output.unwrap())
    };
    assert_eq!(
        piped(&["check", "-", "--json"], PLAIN).json(),
        json!({ "ok": true, "errors": [], "warnings": [] })
    );
    let bad = piped(&["check", "-"], "name: a\nversion: 0.3.12\nnane: b\n");
    assert_eq!(bad.code, 1);
    assert!(
        bad.stdout.contains("<stdin>:3:1: error[unknown-key]"),
        "{bad:?}"
    );
    assert_eq!(
        piped(&["hash", "-"], PLAIN).stdout,
        succeeds(&user, &["hash", "plain.yml"]).stdout
    );
    piped(&["check", "-", "-"], PLAIN).failed_with(2, "can be read only once");
    piped(&["diff", "-", "-"], PLAIN).failed_with(2, "can be read only once");
    let long = "#".repeat(9 * 1024 * 1024);
    let long = piped(&["check", "-", "--json"], &long);
    assert_eq!(long.json()["errors"][0]["code"], "unreadable", "{long:?}");
}

#[test]
fn what_others_wrote_gives_no_orders_to_the_terminal() {
    let user = user();
    user.write("hostile.yml", "name: a\nversion: 0.3.12\n\"\\e[2Jx\": 1\n");
    let ran = run(&user, &["check", "hostile.yml"]);
    assert_eq!(ran.code, 1);
    assert!(!ran.stdout.contains('\u{1b}'), "{ran:?}");
    let service = |value: &str| {
        format!(
            "{PLAIN}services: [{{name: s, pwd: /, environment: {{A: {value}}}, attestation: [{{workload: {}}}]}}]\n",
            "5d".repeat(32)
        )
    };
    user.write("old.yml", &service("a"));
    user.write("new.yml", &service("\"a\\u202eb\""));
    let ran = succeeds(&user, &["diff", "old.yml", "new.yml"]);
    assert!(
        !ran.stdout.contains('\u{202e}') && ran.stdout.contains("a\\u202eb"),
        "{ran:?}"
    );
}

#[test]
fn what_is_wrong_with_a_secret_value_does_not_show_it() {
    let user = user();
    let short_key = &FILE_SYSTEM_KEY[2..];
    let secret =
        |kind: &str, value: &str| format!("secrets: [{{name: s, kind: {kind}, value: {value}}}]\n");
    for (wrong, value, code) in [
        (secret("binary", ASCII), ASCII, "bad-value"),
        (secret("private-key", ASCII), ASCII, "bad-value"),
        (secret("ascii", &format!("[{ASCII}]")), ASCII, "wrong-type"),
        (
            text().replace(FILE_SYSTEM_KEY, short_key),
            short_key,
            "bad-value",
        ),
    ] {
        let wrong = if wrong.contains("name: shop/api") {
            wrong
        } else {
            format!("{PLAIN}{wrong}")
        };
        user.write("wrong.yml", &wrong);
        for form in [&[][..], &["--json"]] {
            let ran = run(&user, &[&["check", "wrong.yml"], form].concat());
            assert_eq!(ran.code, 1, "{ran:?}");
            assert!(ran.stdout.contains(code), "{ran:?}");
            assert!(!ran.stdout.contains(value), "{ran:?}");
            let ran = run(&user, &[&["hash", "wrong.yml"], form].concat());
            assert_eq!(ran.code, 3, "{ran:?}");
            assert!(!ran.stderr.contains(value), "{ran:?}");
        }
    }
}
