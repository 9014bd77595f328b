//! The help of every command, and the layout of errors.

use std::fmt::Write;

use crate::support::User;

#[test]
fn every_command_has_a_help_with_an_example() {
    let user = User::new();
    insta::assert_snapshot!("mse", user.mse(&["--help"]).stdout);
    for command in [
        "login",
        "logout",
        "init",
        "scaffold",
        "localtest",
        "deploy",
        "list",
        "status",
        "logs",
        "stop",
        "test",
        "verify",
        "measure",
        "proxy",
        "service",
        "image",
        "cas",
        "context",
        "trust",
        "policy",
        "collateral",
        "session",
        "manifest",
        "secret",
        "completions",
        "man",
    ] {
        let output = user.mse(&[command, "--help"]);
        assert_eq!(output.code, 0, "{output:?}");
        let direct = output.stdout;
        assert!(direct.contains("Examples:"), "{command}");
        let cloud = user.mse(&["cloud", command, "--help"]).stdout;
        assert_eq!(cloud.replace("mse cloud ", "mse "), direct, "{command}");
        insta::assert_snapshot!(command, direct);
    }
}

#[test]
fn errors_say_what_happened_and_what_to_do() {
    let user = User::new();
    user.project();
    let manifest = std::fs::read_to_string(user.path("mse.toml")).unwrap();
    let mut shown = String::new();
    for (what, words) in [
        ("no command", &[][..]),
        ("a misspelt command", &["deplyo"]),
        ("no login", &["list"]),
        ("no login, for programs", &["list", "--json"]),
        ("wrong usage, for programs", &["list", "--jsno", "--json"]),
        (
            "no context",
            &[
                "verify",
                "x.localhost",
                "--context",
                "no.mse",
                "--code",
                "mse_src",
            ],
        ),
        ("no reference", &["proxy", "app.example.com"]),
    ] {
        let ran = user.mse(words);
        writeln!(
            shown,
            "##### {what}: mse {}\n{}",
            words.join(" "),
            ran.shown()
        )
        .unwrap();
    }
    user.write("mse.toml", &manifest.replace("hardware =", "hardwear ="));
    for words in [&["deploy"][..], &["deploy", "--json"]] {
        let ran = user.mse(words);
        writeln!(
            shown,
            "##### a misspelt key: mse {}\n{}",
            words.join(" "),
            ran.shown()
        )
        .unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn colour_comes_only_when_asked_for() {
    let user = User::new();
    let plain = user.mse(&["list"]);
    assert!(!plain.stderr.contains('\u{1b}'), "{plain:?}");
    let coloured = user.mse(&["list", "--color", "always"]);
    assert!(coloured.stderr.contains('\u{1b}'), "{coloured:?}");
    assert!(
        user.mse(&["--help", "--color=always"])
            .stdout
            .contains('\u{1b}')
    );
    let never = user.mse(&["--color", "never", "list"]);
    assert_eq!(never.stderr, plain.stderr);
}
