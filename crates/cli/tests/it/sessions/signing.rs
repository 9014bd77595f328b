//! `mse session keygen`, `sign`, `verify` and `encrypt`.

use std::fs;
use std::path::Path;

use mse_crypto::hpke::KeyPair;
use mse_crypto::signing::{Algorithm, SigningKey};
use mse_session::{Compatibility, EncryptedSession, SignedSession};
use serde_json::json;

use super::{key, keys, run, succeeds, user};
use crate::softhsm::{PIN, SoftHsm, TOKEN};

#[test]
fn keys_are_private_and_never_overwritten() {
    let user = user();
    for (algorithm, words) in [
        (Algorithm::Ed25519, &[][..]),
        (Algorithm::P384, &["--algorithm", "p384"]),
    ] {
        let file = format!("{algorithm:?}.pem");
        let made = succeeds(&user, &[&["keygen", "--output", &file], words].concat());
        let pem = fs::read_to_string(user.path(&file)).unwrap();
        let key = SigningKey::from_pem(&pem).unwrap();
        assert_eq!(key.public().algorithm(), algorithm);
        assert_eq!(made.stdout.trim_end(), key.public().to_pem().trim_end());
        assert!(!made.stderr.contains("PRIVATE"), "{made:?}");
        #[cfg(unix)]
        is_private(&user.path(&file));
        run(&user, &["keygen", "--output", &file])
            .failed_with(12, "exists, and is not overwritten");
        assert_eq!(fs::read_to_string(user.path(&file)).unwrap(), pem);
    }
    let made = succeeds(&user, &["keygen", "-o", "json.pem", "--json"]).json();
    assert_eq!(keys(&made), ["algorithm", "file", "public_key"]);
    assert_eq!(made["algorithm"], "ed25519");
    run(&user, &["keygen"]).failed_with(2, "--output");
    run(&user, &["keygen", "--output", "nowhere/key.pem"]).failed_with(10, "could not write");
    run(
        &user,
        &["keygen", "--output", "x.pem", "--algorithm", "rsa"],
    )
    .failed_with(2, "ed25519");
}

#[test]
fn several_people_sign_one_after_the_other() {
    let user = user();
    let alice = key(&user, "alice.pem", Algorithm::Ed25519);
    let bob = key(&user, "bob.pem", Algorithm::P384);
    let signed = ["--output", "session.signed"];
    let sign = |file: &str, key: &str| {
        run(
            &user,
            &[&["sign", file, "--key", key], &signed[..]].concat(),
        )
    };
    let first = sign("session.yml", "alice.pem");
    assert_eq!(first.code, 0, "{first:?}");
    #[cfg(unix)]
    is_private(&user.path("session.signed"));
    let hash = succeeds(&user, &["hash", "session.yml"]).stdout;
    assert!(first.stdout.contains(hash.trim()), "{first:?}");
    assert!(first.stderr.contains("warning:"), "{first:?}");

    // A plain session does not take the place of one that somebody signed.
    sign("session.yml", "bob.pem").failed_with(12, "`session.signed` exists");
    sign("session.signed", "alice.pem").failed_with(
        3,
        "`session.signed` is signed with the key `alice.pem` already",
    );
    let second = sign("session.signed", "bob.pem");
    assert_eq!(second.code, 0, "{second:?}");

    let json = fs::read_to_string(user.path("session.signed")).unwrap();
    let verified = SignedSession::from_json(&json)
        .unwrap()
        .verify(Compatibility::Strict)
        .unwrap();
    assert_eq!(verified.hash.to_string(), hash.trim());
    assert_eq!(
        verified.signers,
        [alice.public(), bob.public()].into_iter().collect()
    );

    let verify = succeeds(&user, &["verify", "session.signed"]);
    let body = |key: &SigningKey| -> String {
        let pem = key.public().to_pem();
        pem.lines().filter(|line| !line.starts_with('-')).collect()
    };
    let shown = verify
        .shown()
        .replace(&body(&alice), "ALICE")
        .replace(&body(&bob), "BOB");
    insta::assert_snapshot!("session_verify", shown);
    let document = succeeds(&user, &["verify", "session.signed", "--json"]).json();
    assert_eq!(document["name"], "shop/api");
    assert_eq!(document["hash"], hash.trim());
    assert_eq!(
        document["signers"],
        json!([
            { "algorithm": "ed25519", "public_key": alice.public().to_pem() },
            { "algorithm": "p384", "public_key": bob.public().to_pem() },
        ])
    );
    // The others take it as the session that it is.
    assert_eq!(succeeds(&user, &["hash", "session.signed"]).stdout, hash);
    let same = succeeds(&user, &["diff", "session.yml", "session.signed", "--json"]);
    assert_eq!(same.json()["identical"], true);
    let checked = run(&user, &["check", "session.signed"]);
    assert_eq!(checked.code, 1);
    assert!(checked.stdout.contains("mse session verify"), "{checked:?}");
}

#[test]
fn a_key_on_a_token_signs_and_stays_there() {
    let user = user();
    let token = SoftHsm::new();
    let keys = [
        ("carol", "01", Algorithm::P384),
        ("dave", "02", Algorithm::Ed25519),
    ]
    .map(|(label, id, algorithm)| {
        let key = SigningKey::generate(algorithm);
        token.import(label, id, &key.to_pem());
        (label, key)
    });
    user.write("pin", &format!("{PIN}\n"));
    user.write("wrong", "0000-wrong\n");
    let library = SoftHsm::library();
    let configuration = token.configuration();
    let sign = |file: &str, token: &str, key: &str, pin: &[&str]| {
        let words = [
            "session",
            "sign",
            file,
            "--pkcs11",
            library.to_str().unwrap(),
            "--token",
            token,
            "--key",
            key,
            "--output",
            "session.signed",
        ];
        let environment = [("SOFTHSM2_CONF", configuration.to_str().unwrap())];
        let ran = user.mse_with(&[&words[..], pin].concat(), &environment);
        assert!(!format!("{ran:?}").contains(PIN), "{ran:?}");
        ran
    };
    let pin = ["--pin-file", "pin"];
    sign("session.yml", "nothing", "carol", &pin).failed_with(6, "no token with the label");
    sign("session.yml", TOKEN, "nobody", &pin).failed_with(6, "no private key with the label");
    sign("session.yml", TOKEN, "carol", &["--pin-file", "wrong"]).failed_with(3, "the PIN is not");
    sign("session.yml", TOKEN, "carol", &[]).failed_with(2, "--pin-file");
    assert!(!user.path("session.signed").exists());

    for (file, (label, _)) in ["session.yml", "session.signed"].iter().zip(&keys) {
        let ran = sign(file, TOKEN, label, &pin);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    sign("session.signed", TOKEN, "dave", &pin)
        .failed_with(3, "signed with the key `dave` already");
    let json = fs::read_to_string(user.path("session.signed")).unwrap();
    let signed = SignedSession::from_json(&json).unwrap();
    assert_eq!(
        signed.verify(Compatibility::Strict).unwrap().signers,
        keys.iter().map(|(_, key)| key.public()).collect()
    );
}

#[test]
fn what_names_no_token_is_refused_before_anything_is_written() {
    let user = user();
    user.write("pin", "1234\n");
    user.write("text.so", "no library");
    let text = user.path("text.so").to_str().unwrap().to_owned();
    for (options, code, message) in [
        (&["--pkcs11", &text][..], 2, "--token"),
        (&["--token", "t"], 2, "--pkcs11"),
        (&["--pin-file", "pin"], 2, "--pkcs11"),
        (&["--pkcs11", "text.so", "--token", "t"], 2, "absolute path"),
        (
            &["--pkcs11", &text, "--token", "t", "--pin-file", "pin"],
            10,
            "cannot be used",
        ),
    ] {
        let words = ["sign", "session.yml", "--key", "k", "--output", "out"];
        run(&user, &[&words[..], options].concat()).failed_with(code, message);
        assert!(!user.path("out").exists());
    }
}

#[test]
fn a_signature_that_does_not_hold_is_refused() {
    let user = user();
    key(&user, "alice.pem", Algorithm::Ed25519);
    key(&user, "bob.pem", Algorithm::Ed25519);
    let words = ["sign", "plain.yml", "--key", "alice.pem", "-o", "signed"];
    succeeds(&user, &words);
    let json = fs::read_to_string(user.path("signed")).unwrap();
    user.write("changed", &json.replace("plain", "plane"));
    for words in [
        &["verify", "changed"][..],
        &["hash", "changed"],
        &["sign", "changed", "--key", "bob.pem", "--output", "out"],
        &["encrypt", "changed", "--to", &"ab".repeat(32)],
    ] {
        let ran = run(&user, words);
        ran.failed_with(1, "does not hold for this session");
        assert_eq!(ran.stdout, "");
    }
    assert!(!user.path("out").exists());
    let error = run(&user, &["verify", "changed", "--json"]).error();
    assert_eq!(error["code"], "verification-refused");

    user.write(
        "unsigned",
        "{\"session\": \"name: a\\nversion: 0.3.12\", \"signatures\": []}",
    );
    run(&user, &["verify", "unsigned"]).failed_with(1, "nobody has signed `unsigned`");
    run(&user, &["verify", "plain.yml"]).failed_with(3, "`plain.yml` is not signed");
    user.write("broken", "{\"session\": 1, \"signatures\": []}");
    run(&user, &["verify", "broken"]).failed_with(3, "this is no signed session");
    user.write("inside", "{\"session\": \"nane: a\", \"signatures\": []}");
    run(&user, &["verify", "inside"]).failed_with(3, "error[unknown-key]");

    user.write("no.pem", "ascii-canary-1f2e");
    run(&user, &["sign", "plain.yml", "--key", "no.pem"])
        .failed_with(3, "`no.pem` is no signing key");
    run(&user, &["sign", "plain.yml", "--key", "nowhere.pem"])
        .failed_with(6, "there is no file `nowhere.pem`");
}

#[test]
fn only_its_cas_reads_an_encrypted_session() {
    let user = user();
    key(&user, "alice.pem", Algorithm::Ed25519);
    let cas = KeyPair::generate();
    let hex = hex::encode(cas.public().0);
    user.write("cas.key", &format!("{hex}\n"));
    succeeds(
        &user,
        &["sign", "session.yml", "--key", "alice.pem", "-o", "signed"],
    );

    let sealed = ["encrypt", "signed", "--to", "cas.key", "--output", "sealed"];
    let report = succeeds(&user, &sealed);
    assert!(report.stdout.contains(&hex), "{report:?}");
    #[cfg(unix)]
    is_private(&user.path("sealed"));
    let open = |text: &str| {
        let encrypted = EncryptedSession::from_json(text.trim()).unwrap();
        assert!(encrypted.open(&KeyPair::generate()).is_err());
        let verified = encrypted.open(&cas).unwrap().verify(Compatibility::Strict);
        verified.unwrap()
    };
    let inside = open(&fs::read_to_string(user.path("sealed")).unwrap());
    assert_eq!(inside.signers.len(), 1);

    let plain = succeeds(&user, &["encrypt", "session.yml", "--to", &hex]);
    let inside = open(&plain.stdout);
    assert_eq!(inside.signers.len(), 0);
    let hash = succeeds(&user, &["hash", "session.yml"]).stdout;
    assert_eq!(inside.hash.to_string(), hash.trim());
    let words = [
        "encrypt",
        "plain.yml",
        "--to",
        &hex,
        "-o",
        "other",
        "--json",
    ];
    let document = succeeds(&user, &words).json();
    assert_eq!(
        keys(&document),
        ["cas_key", "file", "hash", "name", "signers", "warnings"]
    );
    let warning = document["warnings"][0].as_str().unwrap();
    assert!(warning.contains("names no `creator`"), "{warning}");

    run(&user, &sealed).failed_with(12, "`sealed` exists, and is not overwritten");
    for command in ["hash", "show", "verify"] {
        run(&user, &[command, "sealed"]).failed_with(3, "`sealed` is encrypted");
    }
    run(&user, &["encrypt", "plain.yml", "--to", "abcd"])
        .failed_with(2, "`--to`: `abcd` is neither a key nor a file");
    user.write("no.key", "abcd");
    run(&user, &["encrypt", "plain.yml", "--to", "no.key"])
        .failed_with(3, "`--to`: `no.key` has no key");
    run(&user, &["encrypt", "plain.yml", "--to", &"00".repeat(32)])
        .failed_with(3, "the session cannot be encrypted");
    run(&user, &["encrypt", "bad.yml", "--to", &hex]).failed_with(3, "is no valid session");
}

#[cfg(unix)]
#[track_caller]
fn is_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", path.display());
}
