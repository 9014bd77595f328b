//! `mse service`: what is refused before an enclave starts. Services that run are in the
//! end-to-end tests.

use std::fs;

use crate::support::User;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn user() -> User {
    let user = User::new();
    user.write("web/main.py", "print(1)");
    user
}

fn words<'a>(what: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["service", what, "web", "--cas-key", KEY];
    words.extend(["--session", "team/shop", "--service", "web"]);
    if what == "run" {
        words.extend(["--cas", "localhost:1"]);
    }
    words.extend(more);
    words
}

#[test]
fn help_of_both() {
    let user = User::new();
    for what in ["run", "measure"] {
        let help = user.mse(&["service", what, "--help"]).stdout;
        assert!(help.contains("Examples:"), "{what}");
        insta::assert_snapshot!(format!("help_{what}"), help);
    }
}

#[test]
fn a_measurement_needs_nothing_but_the_folder_and_changes_with_it() {
    let user = user();
    let enclave = ["--enclave", KEY];
    let measure = || {
        let ran = user.mse(&words("measure", &enclave));
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.stdout
    };
    let first = measure();
    insta::assert_snapshot!(first);
    // What does not belong to the program does not count.
    user.write("web/secrets.json", "{}");
    assert_eq!(measure(), first);
    user.write("web/main.py", "print(2)");
    assert_ne!(measure(), first);
}

/// What an image says about itself.
fn facts() -> String {
    format!(
        r#"{{"format":1,"name":"shop-web","root":"{KEY}","enclave":"{KEY}","unmeasured":["/etc/ssl/certs"]}}"#
    )
}

#[test]
fn the_measurement_of_an_image_needs_only_what_the_image_says() {
    let user = User::new();
    user.write("image.json", &facts());
    user.write("unpacked/mse/image.json", &facts());
    let measure = |program: &[&str]| {
        let mut words = vec!["service", "measure", "--cas-key", KEY];
        words.extend(["--session", "team/shop", "--service", "web"]);
        words.extend(program);
        user.mse(&words)
    };
    let by_facts = measure(&["--image-facts", "image.json"]);
    assert_eq!(by_facts.code, 0, "{by_facts:?}");
    insta::assert_snapshot!("measurement_of_an_image", by_facts.stdout);
    let by_folder = measure(&["--image", "unpacked"]);
    assert_eq!(by_folder.stdout, by_facts.stdout, "{by_folder:?}");
    user.write("image.json", &facts().replace("/etc/ssl/certs", "/etc/ssl"));
    assert_ne!(
        measure(&["--image-facts", "image.json"]).stdout,
        by_facts.stdout
    );

    user.write("image.json", "{}");
    for (program, code, says) in [
        (&[][..], 2, "which program"),
        (&["--image", "nowhere"], 6, "`nowhere`"),
        (&["--image-facts", "nowhere.json"], 6, "nowhere.json"),
        (&["--image-facts", "image.json"], 3, "malformed"),
        (&["web", "--image", "unpacked"], 2, "cannot be used with"),
    ] {
        let ran = measure(program);
        assert_eq!(ran.code, code, "{program:?}: {ran:?}");
        assert!(ran.stderr.contains(says), "{program:?}: {ran:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    let user = user();
    for (what, more, code, says) in [
        ("run", &["--cores", "0"][..], 2, "0.001"),
        ("run", &["--memory", "0"], 2, "--memory"),
        (
            "run",
            &["--env", "NOT_SET_ANYWHERE"],
            2,
            "NOT_SET_ANYWHERE=VALUE",
        ),
        ("run", &["--enclave", KEY], 3, "cannot be run"),
        ("measure", &["--cas-key", "ab"], 2, "--cas-key"),
    ] {
        let ran = user.mse(&words(what, more));
        assert_eq!(ran.code, code, "{more:?}: {ran:?}");
        assert!(ran.stderr.contains(says), "{more:?}: {ran:?}");
    }
    fs::remove_file(user.path("web/main.py")).unwrap();
    let empty = user.mse(&words("measure", &["--enclave", KEY]));
    assert_eq!(empty.code, 3, "{empty:?}");
    assert!(empty.stderr.contains("no file to pack"), "{empty:?}");
    let nameless = user.mse(&[
        "service",
        "measure",
        "web",
        "--cas-key",
        KEY,
        "--session",
        "",
        "--service",
        "web",
    ]);
    assert_eq!(nameless.code, 3, "{nameless:?}");
}
