//! `mse session`: the commands that need no CAS.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use mse_crypto::hpke::KeyPair;
use mse_crypto::signing::{Algorithm, SigningKey};
use mse_session::{Compatibility, EncryptedSession, SignedSession, Variables, check_text};
use serde_json::{Value, json};

use crate::softhsm::{PIN, SoftHsm, TOKEN};
use crate::support::{Ran, User};

const SALT: &str = "101112131415161718191a1b1c1d1e1f";
const ASCII: &str = "ascii-canary-1f2e";
const BINARY: &str = "b1a7c0ffee";
const FILE_SYSTEM_KEY: &str = "5c6f3d2e1a0b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5";
const CREDENTIAL: &str = "credential-canary-77";
const FRAGMENT: &str = "fragment-canary-31";
/// What must be in no output.
const SECRETS: [&str; 6] = [SALT, ASCII, BINARY, FILE_SYSTEM_KEY, CREDENTIAL, FRAGMENT];

fn text() -> String {
    format!(
        r"# What the shop's API may be told.
name: shop/api
version: 0.3.12
salt: {SALT}
access_policy: {{read: [CREATOR], update: [CREATOR], create_sessions: [NONE]}}
services:
- name: api
  command: python3 -m api
  pwd: /app
  environment: {{API_USER: myself, API_PASSWORD: $$SCONE::password$$}}
  fspf_path: /app.fspf
  fspf_key: {FILE_SYSTEM_KEY}
  fspf_tag: 00112233445566778899aabbccddeeff
  attestation:
  - workload: 5d1d0ab1d5c6b8b1f8a6a4f3a4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7
secrets:
- {{name: password, kind: ascii, value: {ASCII}}}
- {{name: token, kind: binary, value: {BINARY}}}
- {{name: rules, kind: config-fragment, value: {{what: {FRAGMENT}}}}}
- {{name: vault, kind: aad-token, tenant_id: 11111111-2222-3333-4444-555555555555, client_id: 11111111-2222-3333-4444-555555555556, application_secret: {CREDENTIAL}}}
- {{name: size, kind: ascii, size: 32}}
"
    )
}

/// A user with `session.yml`, `plain.yml` (without secret values), `bad.yml` and `template.yml`.
fn user() -> User {
    let user = User::new();
    user.write("session.yml", &text());
    user.write("plain.yml", PLAIN);
    user.write(
        "bad.yml",
        "name: shop/api\nversion: 0.3.12\nacess_policy:\n  read: [CREATOR]\nsecrets:\n- {name: s, kind: asci, size: 8}\n",
    );
    user.write(
        "template.yml",
        "name: $NAME\nversion: 0.3.12\nsalt: 000102030405060708090a0b0c0d0e0f\nsecrets: [{name: s, kind: ascii, size: $SIZE}]\n",
    );
    user
}

const PLAIN: &str = "name: plain\nversion: 0.3.12\nsalt: 000102030405060708090a0b0c0d0e0f\n";

/// Runs `mse session`, and looks for secret values in what it writes.
#[track_caller]
fn run(user: &User, words: &[&str]) -> Ran {
    let ran = user.mse(&[&["session"], words].concat());
    for secret in SECRETS {
        assert!(
            !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
            "`{secret}` of {words:?} is in {ran:?}"
        );
    }
    ran
}

#[track_caller]
fn succeeds(user: &User, words: &[&str]) -> Ran {
    let ran = run(user, words);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran
}

fn key(user: &User, file: &str, algorithm: Algorithm) -> SigningKey {
    let key = SigningKey::generate(algorithm);
    user.write(file, &key.to_pem());
    key
}

/// Sorted: the order is nobody's business.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[cfg(unix)]
#[track_caller]
fn is_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", path.display());
}

#[test]
fn every_action_has_a_help_with_an_example() {
    let user = User::new();
    for action in [
        "check",
        "hash",
        "show",
        "diff",
        "keygen",
        "sign",
        "verify",
        "encrypt",
        "create",
        "update",
        "read",
        "list",
        "history",
        "revoke",
        "propose",
        "proposals",
        "proposal",
        "approve",
        "withdraw",
        "drop",
    ] {
        let help = succeeds(&user, &[action, "--help"]).stdout;
        assert!(help.contains("Examples:"), "{action}");
        insta::assert_snapshot!(format!("session_help_{action}"), help);
    }
}

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
fn the_hash_is_the_library_s() {
    let user = user();
    let session = check_text(&text(), &Variables::new(), Compatibility::Strict)
        .session
        .unwrap();
    let hash = session.hash().to_string();
    assert_eq!(
        succeeds(&user, &["hash", "session.yml"]).stdout,
        format!("{hash}\n")
    );
    assert_eq!(
        succeeds(&user, &["hash", "session.yml", "--json"]).json(),
        json!({ "name": "shop/api", "hash": hash, "salted": true })
    );
    user.write("unsalted.yml", "name: a\nversion: 0.3.12\n");
    assert_eq!(
        succeeds(&user, &["hash", "unsalted.yml", "--json"]).json()["salted"],
        false
    );
    run(&user, &["hash", "nowhere.yml"]).failed_with(6, "there is no file `nowhere.yml`");
}

#[test]
fn the_hash_of_a_next_version() {
    let user = user();
    let hash = |words: &[&str]| {
        let ran = succeeds(&user, &[&["hash"], words].concat());
        ran.stdout.trim().to_owned()
    };
    let old = hash(&["plain.yml"]);
    let written = format!("{PLAIN}predecessor: {old}\n");
    user.write("next.yml", &written);
    let next = hash(&["next.yml"]);
    assert_eq!(hash(&["plain.yml", "--predecessor", &old]), next);
    assert_eq!(hash(&["plain.yml", "--predecessor", "plain.yml"]), next);
    assert_eq!(hash(&["next.yml", "--predecessor", "plain.yml"]), next);
    run(&user, &["hash", "next.yml", "--predecessor", &next])
        .failed_with(3, "`predecessor` in `next.yml`");
    run(&user, &["hash", "plain.yml", "--predecessor", "abc"])
        .failed_with(2, "`abc` is neither a hash nor a file");
}

#[test]
fn the_canonical_form_hides_values_unless_asked() {
    let user = user();
    let shown = succeeds(&user, &["show", "session.yml"]);
    insta::assert_snapshot!("session_show", shown.shown());
    let compact = succeeds(&user, &["show", "session.yml", "--json"]);
    let pretty: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(compact.json(), pretty);
    assert_eq!(compact.stdout, format!("{pretty}\n"));
    assert_eq!(compact.stderr, "");
    let exact = user.mse(&["session", "show", "session.yml", "--json", "--with-secrets"]);
    let session = check_text(&text(), &Variables::new(), Compatibility::Strict)
        .session
        .unwrap();
    assert_eq!(exact.stdout, format!("{}\n", &*session.canonical()));
    let pretty = user.mse(&["session", "show", "session.yml", "--with-secrets"]);
    assert_eq!(pretty.json(), exact.json());
    run(&user, &["show", "bad.yml"]).failed_with(3, "`bad.yml` is no valid session: 2 errors");
}

#[test]
fn diff_shows_what_changes_and_no_secret() {
    let user = user();
    let other = text()
        .replace("pwd: /app", "pwd: /srv")
        .replace("API_USER: myself, ", "")
        .replace(ASCII, "ascii-canary-changed")
        .replace(SALT, "ffffffffffffffffffffffffffffffff")
        .replace(
            "size: 32}",
            "size: 32}\n- {name: more, kind: binary, size: 16}",
        )
        .replace("python3 -m api", "python3 -O -m api")
        .replace(FILE_SYSTEM_KEY, &"00".repeat(32));
    user.write("new.yml", &other);
    let ran = succeeds(&user, &["diff", "session.yml", "new.yml"]);
    for value in ["ascii-canary-changed", "ffffffffffffffff", "00000000000000"] {
        assert!(!ran.stdout.contains(value), "{ran:?}");
    }
    insta::assert_snapshot!("session_diff", ran.shown());

    let document = succeeds(&user, &["diff", "session.yml", "new.yml", "--json"]).json();
    assert_eq!(keys(&document), ["changes", "identical", "new", "old"]);
    assert_eq!(keys(&document["old"]), ["hash", "name"]);
    assert_eq!(document["identical"], false);
    let changes = document["changes"].as_array().unwrap();
    for expected in [
        json!({ "path": "services[api].pwd", "change": "changed", "old": "/app", "new": "/srv" }),
        json!({ "path": "services[api].environment.API_USER", "change": "removed", "old": "myself" }),
        json!({ "path": "services[api].command[1]", "change": "added", "new": "-O" }),
        json!({ "path": "secrets[password].value", "change": "changed", "old": "(secret value)", "new": "(secret value)" }),
        json!({ "path": "services[api].fspf_key", "change": "changed", "old": "(secret value)", "new": "(secret value)" }),
        json!({ "path": "salt", "change": "changed", "old": "(secret value)", "new": "(secret value)" }),
        json!({ "path": "secrets[more]", "change": "added", "new": { "kind": "binary", "name": "more", "size": 16 } }),
    ] {
        assert!(
            changes.contains(&expected),
            "{expected} is not in {changes:?}"
        );
    }
    assert_eq!(changes.len(), 7, "{changes:?}");
}

#[test]
fn a_session_that_is_laid_out_anew_is_the_same() {
    let user = user();
    let exact = user.mse(&["session", "show", "session.yml", "--json", "--with-secrets"]);
    let mut laid_out = exact.json();
    laid_out["salt"] = SALT.into();
    user.write("same.json", &format!("{laid_out:#}"));
    let same = succeeds(&user, &["diff", "session.yml", "same.json"]);
    assert!(
        same.stdout.starts_with("The sessions mean the same: "),
        "{same:?}"
    );
    let same = succeeds(&user, &["diff", "session.yml", "same.json", "--json"]).json();
    assert_eq!(same["identical"], true);
    assert_eq!(same["changes"], json!([]));
    run(&user, &["diff", "session.yml", "bad.yml"])
        .failed_with(3, "bad.yml:3:1: error[unknown-key]");
}

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
fn where_a_value_is_kept_is_shown_and_what_opens_it_is_not() {
    let user = user();
    user.write(
        "outside.yml",
        &format!(
            "{PLAIN}secrets:\n\
             - {{name: token, kind: ascii, value: {ASCII}}}\n\
             - {{name: a, kind: ascii, import_kv: {{url: 'https://vault.example', path: shop/db, field: password, token: token}}}}\n\
             - {{name: b, kind: binary, import_pkcs11: {{module: hsm, token: shop, object: master, pin: token}}}}\n"
        ),
    );
    let shown = succeeds(&user, &["show", "outside.yml", "--json"]).json();
    assert_eq!(
        shown["secrets"][1]["import_kv"],
        json!({"url": "https://vault.example", "path": "shop/db", "field": "password", "token": "token"})
    );
    assert_eq!(shown["secrets"][2]["import_pkcs11"]["pin"], "token");
    assert_eq!(shown["secrets"][0]["value"], "(secret value)");
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
fn secret_values_are_printed_on_purpose_only() {
    let user = user();
    key(&user, "alice.pem", Algorithm::Ed25519);
    run(&user, &["sign", "session.yml", "--key", "alice.pem"])
        .failed_with(2, "values of secrets, which would be printed");
    let printed = user.mse(&[
        "session",
        "sign",
        "session.yml",
        "--key",
        "alice.pem",
        "--output",
        "-",
    ]);
    let signed = SignedSession::from_json(printed.stdout.trim()).unwrap();
    assert!(signed.text().contains(ASCII));
    // Without any there is nothing to be careful of.
    let printed = succeeds(
        &user,
        &["sign", "plain.yml", "--key", "alice.pem", "--json"],
    );
    let signed = SignedSession::from_json(printed.stdout.trim()).unwrap();
    assert!(signed.verify(Compatibility::Strict).is_ok());
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
        ["cas_key", "file", "hash", "name", "signers"]
    );

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

#[test]
fn every_place_of_a_secret_value_is_hidden_and_references_are_not() {
    let user = user();
    let session = |value: &str, key: &str, private_key: &str| {
        format!(
            r"{PLAIN}
security:
  service_access_token: {value}
  attestation: {{one_time_password_shared_secret: {value}}}
services:
- name: s
  pwd: /
  one_time_password_shared_secret: {value}
  fspf_path: /a
  fspf_key: {key}
  fspf_tag: 00112233445566778899aabbccddeeff
  attestation: [{{workload: {workload}}}]
volumes:
- {{name: v, fspf_key: {key}, fspf_tag: 00112233445566778899aabbccddeeff}}
secrets:
- {{name: text, kind: ascii, size: 32}}
- {{name: bytes, kind: binary, size: 32}}
- {{name: other, kind: ascii, value: {value}}}
- {{name: vault, kind: aad-token, tenant_id: 11111111-2222-3333-4444-555555555555, client_id: 11111111-2222-3333-4444-555555555556, private_key: {private_key}, certificate_thumbprint: {thumbprint}}}
",
            workload = "5d".repeat(32),
            thumbprint = "ab".repeat(20),
        )
    };
    let hidden = |text: &str| {
        user.write("places.yml", text);
        let ran = succeeds(&user, &["show", "places.yml"]);
        let warned = succeeds(&user, &["check", "places.yml"]).stdout;
        let hidden = ran.stdout.matches("(secret value)").count();
        // What the language warns of is what is hidden.
        assert_eq!(warned.matches("explicit-secret").count(), hidden, "{ran:?}");
        (hidden, ran.stdout)
    };
    let pem = SigningKey::generate(Algorithm::P384).to_pem();
    let line = pem.lines().nth(1).unwrap();
    let value = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
    let pem = Value::from(pem.as_str()).to_string();
    let (count, shown) = hidden(&session(value, FILE_SYSTEM_KEY, &pem));
    assert_eq!(count, 7);
    assert!(!shown.contains(value) && !shown.contains(line), "{shown}");
    let revealed = user.mse(&["session", "show", "places.yml", "--with-secrets"]);
    assert!(revealed.stdout.contains(value) && revealed.stdout.contains(line));
    let (count, shown) = hidden(&session("$$MSE::text$$", "$$MSE::bytes$$", "$$MSE::text$$"));
    assert_eq!(count, 0, "{shown}");
}
