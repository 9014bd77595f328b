//! `mse cas`, as far as it needs no CAS. CASes that run are in the end-to-end tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::User;

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn help_of_each() {
    let user = User::new();
    for what in [
        &["keygen"][..],
        &["whoami"],
        &["measure"],
        &["run"],
        &["attest"],
        &["report", "verify"],
        &["upgrade", "sign"],
        &["recovery", "keygen"],
        &["recovery", "shares"],
        &["recovery", "give"],
        &["list"],
        &["forget"],
        &["position"],
        &["backup"],
        &["proxy"],
        &["audit", "head"],
        &["audit", "fetch"],
        &["audit", "watch"],
    ] {
        let words = [&["cas"], what, &["--help"]].concat();
        let help = user.mse(&words).stdout;
        assert!(help.contains("Examples:"), "{what:?}");
        insta::assert_snapshot!(format!("help_{}", what.join("_")), help);
    }
}

#[test]
fn help_of_secrets() {
    let user = User::new();
    for what in ["list", "rotate", "set", "get"] {
        let help = user.mse(&["secret", what, "--help"]).stdout;
        assert!(help.contains("Examples:"), "{what:?}");
        insta::assert_snapshot!(format!("help_secret_{what}"), help);
    }
}

#[test]
fn a_key_is_made_once_for_its_owner_only_and_its_hash_is_who_one_is() {
    let user = User::new();
    user.mse(&["cas", "whoami"])
        .failed_with(6, "mse cas keygen");
    let made = user.mse(&["cas", "keygen"]);
    assert_eq!(made.code, 0, "{made:?}");
    let hash = made.stdout.trim();
    assert_eq!(hash.len(), 64);
    let shown = user.mse(&["cas", "whoami", "--json"]).json();
    assert_eq!(shown["key_hash"], hash);
    let file = user.conf().join("cas-client.pem");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    user.mse(&["cas", "keygen"])
        .failed_with(12, "a key already");
    assert_eq!(user.mse(&["cas", "whoami"]).stdout.trim(), hash);
}

#[test]
fn a_measurement_covers_owner_program_anchors_and_resources() {
    let user = User::new();
    let measure = |more: &[&str]| {
        let words = [&["cas", "measure", "--program", HASH, "--json"], more].concat();
        let found = user.mse(&words).json();
        found["measurement"].as_str().unwrap().to_owned()
    };
    let first = measure(&["--owner", HASH]);
    assert_eq!(measure(&["--owner", HASH]), first);
    let other = HASH.replace("00", "01");
    assert_ne!(measure(&["--owner", &other]), first);
    assert_ne!(measure(&["--owner", HASH, "--memory", "512"]), first);
    let words = [
        "cas",
        "measure",
        "--program",
        &other,
        "--owner",
        HASH,
        "--json",
    ];
    assert_ne!(user.mse(&words).json()["measurement"], first.as_str());
    let text = user.mse(&["cas", "measure", "--program", HASH, "--owner", HASH]);
    insta::assert_snapshot!(text.stdout);

    // Without an owner it is one's own CAS.
    let nobody = user.mse(&["cas", "measure", "--program", HASH]);
    nobody.failed_with(3, "mse cas keygen");
    let mine = user.mse(&["cas", "keygen"]).stdout;
    assert_eq!(measure(&[]), measure(&["--owner", mine.trim()]));
}

#[test]
fn what_cannot_be_is_refused_before_anything_starts() {
    let user = User::new();
    user.write("anchor.toml", "tee = \"sgx\"");
    for (words, code, says) in [
        (&["attest", "localhost"][..], 2, "HOST:PORT"),
        (&["attest", "localhost:1", "--name", "../x"], 2, "letters"),
        (&["attest", "localhost:1", "--replace"], 2, "--name"),
        (&["measure", "--owner", "nobody"], 3, "mse cas whoami"),
        (
            &[
                "measure",
                "--owner",
                HASH,
                "--accept-simulated",
                "none.toml",
            ],
            6,
            "none.toml",
        ),
        (
            &[
                "measure",
                "--owner",
                HASH,
                "--accept-simulated",
                "anchor.toml",
            ],
            3,
            "anchor.toml",
        ),
        (
            &["run", "--data", "d", "--owner", HASH, "--program", HASH],
            3,
            "--program FILE",
        ),
        (
            &["run", "--data", "d", "--create", "--as-found"],
            2,
            "--create",
        ),
        (
            &["report", "verify", "none.json", "--owner", HASH],
            6,
            "none.json",
        ),
        (
            &["report", "verify", "anchor.toml", "--measurement", HASH],
            3,
            "no report",
        ),
        (&["forget", "nothing"], 6, "mse cas list"),
    ] {
        let words = [&["cas"], words].concat();
        user.mse(&words).failed_with(code, says);
    }
    assert!(user.mse(&["cas", "list"]).stdout.contains("No CAS"));
    assert!(!user.path("d").exists());
}
