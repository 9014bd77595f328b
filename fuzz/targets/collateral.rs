//! Collateral and trust anchors, and appraising with them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::{Duration, UNIX_EPOCH};

use mse_attest::{Collateral, Evidence, Policy, ReferenceValues, TrustAnchor, appraise};

fuzz_target!(|input: (&[u8], &[u8], &str)| {
    let (evidence, collateral, anchor) = input;
    let anchor = TrustAnchor::from_toml(anchor);
    if let (Ok(evidence), Ok(collateral)) = (Evidence::parse(evidence), Collateral::from_json(collateral)) {
        let policy = match anchor {
            Ok(anchor) => Policy::strict().with_simulated(anchor),
            Err(_) => Policy::strict(),
        };
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let verdict = appraise(&evidence, &collateral, &policy, &ReferenceValues::default(), now);
        assert!(verdict.is_err(), "nobody signed this");
    }
});
