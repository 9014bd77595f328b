//! `mse session hash`, `show` and `diff`.

use mse_crypto::signing::{Algorithm, SigningKey};
use mse_session::{Compatibility, SignedSession, Variables, check_text};
use serde_json::{Value, json};

use super::{ASCII, FILE_SYSTEM_KEY, PLAIN, SALT, key, keys, run, succeeds, text, user};

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
