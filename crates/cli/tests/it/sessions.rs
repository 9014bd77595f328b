//! `mse session`: the commands that need no CAS.

mod checking;
mod comparing;
mod signing;

use mse_crypto::signing::{Algorithm, SigningKey};
use serde_json::Value;

use crate::support::{Ran, User};

const SALT: &str = "101112131415161718191a1b1c1d1e1f";
const ASCII: &str = "ascii-canary-1f2e";
const BINARY: &str = "b1a7c0ffee";
const FILE_SYSTEM_KEY: &str = "5c6f3d2e1a0b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5";
const CREDENTIAL: &str = "credential-canary-77";
const FRAGMENT: &str = "fragment-canary-31";
/// What must be in no output.
const SECRETS: [&str; 6] = [SALT, ASCII, BINARY, FILE_SYSTEM_KEY, CREDENTIAL, FRAGMENT];

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
