//! Nitro documents behind the protected header that all of them have.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_attest::{Collateral, Evidence, Policy, ReferenceValues, appraise, fields};

fuzz_target!(|input: (&[u8], Vec<u8>)| {
    let (payload, signature) = input;
    let mut document = vec![0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0, 0x59];
    document.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    document.extend(payload);
    document.extend([0x58, 96]);
    document.extend(signature.iter().copied().chain(std::iter::repeat(0)).take(96));
    let Ok(evidence) = Evidence::parse(&document) else {
        return;
    };
    let _ = fields(&evidence);
    let verdict = appraise(
        &evidence,
        &Collateral::none(),
        &Policy::strict(),
        &ReferenceValues::default(),
        std::time::SystemTime::UNIX_EPOCH,
    );
    assert!(verdict.is_err());
});
