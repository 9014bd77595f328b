//! Invariant 1, as far as the client goes: what leaves this machine in clear holds no secret.

use std::fs;

use crate::support::{CODE_CANARY, FakePlatform, SECRET_CANARY, User, is_below};

#[test]
fn the_platform_hears_neither_code_nor_secrets_nor_keys() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let deployed = user.deploy();
    let id = deployed["id"].as_str().unwrap();
    let text =
        fs::read_to_string(user.conf().join("context").join(id).join("context.mse")).unwrap();
    let at = text.find("code_secret_key = \"").unwrap() + 19;
    let key = text[at..at + 64].to_owned();
    let raw = hex::decode(&key).unwrap();
    let calls = platform.calls();
    assert!(
        calls.iter().any(|call| call.body.len() > 1_000),
        "an upload"
    );
    for needle in [
        CODE_CANARY.as_bytes(),
        SECRET_CANARY.as_bytes(),
        key.as_bytes(),
        &raw,
    ] {
        for call in &calls {
            let leaks = call
                .body
                .windows(needle.len())
                .any(|window| window == needle)
                || call
                    .path
                    .as_bytes()
                    .windows(needle.len())
                    .any(|window| window == needle);
            assert!(!leaks, "{} {}", call.method, call.path);
        }
    }
    // Nor does the encrypted archive that stays here, or anything else that is kept.
    assert_eq!(is_below(&user.conf(), CODE_CANARY.as_bytes()), None);
    assert_eq!(is_below(&user.conf(), SECRET_CANARY.as_bytes()), None);
}

#[test]
fn nothing_is_printed_that_is_secret() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let output = user.mse_with(&["deploy", "-y"], &[("MSE_LOG", "trace")]);
    assert_eq!(output.code, 0, "{output:?}");
    let context = user.contexts()[0].join("context.mse");
    let text = fs::read_to_string(context).unwrap();
    let at = text.find("code_secret_key = \"").unwrap() + 19;
    for secret in [
        &text[at..at + 64],
        SECRET_CANARY,
        CODE_CANARY,
        "access-token",
    ] {
        assert!(!output.stdout.contains(secret));
        assert!(!output.stderr.contains(secret), "{secret}");
    }
}
