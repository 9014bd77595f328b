//! A policy file: whatever is in it, it is read and can be told in words, or refused in one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::{Duration, UNIX_EPOCH};

use mse_attest::{Policy, TcbStatus};

fuzz_target!(|text: &str| {
    let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    // Half of what the fuzzer finds should get past the first key.
    for text in [text.to_owned(), format!("format = \"mse-policy/1\"\n{text}")] {
        match Policy::from_toml(&text) {
            Ok(policy) => {
                let statements = policy.describe(now);
                assert!(!statements.is_empty());
                assert!(
                    !format!("{policy:?}").contains(&format!("status: {}", TcbStatus::Revoked)),
                    "no policy accepts revoked platforms"
                );
            }
            Err(error) => assert!(!error.to_string().contains('\n')),
        }
    }
});
