//! Quotes behind a header that is right: random bytes rarely get past it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_attest::{Collateral, Evidence, Policy, ReferenceValues, appraise, fields};

fuzz_target!(|input: (u8, bool, bool, &[u8])| {
    let (version, is_tdx, is_framed, tail) = input;
    let mut quote = vec![3 + version % 3, 0, 2, 0, if is_tdx { 0x81 } else { 0 }, 0, 0, 0, 0, 0, 0, 0];
    quote.extend(INTEL);
    quote.extend([0; 20]);
    quote.extend(tail);
    if is_framed && version % 3 != 2 {
        // The length of the signature data, so that what comes behind it is reached.
        let at = 48 + if is_tdx { 584 } else { 384 };
        if quote.len() > at + 4 {
            let rest = u32::try_from(quote.len() - at - 4).unwrap_or(u32::MAX);
            quote[at..at + 4].copy_from_slice(&rest.to_le_bytes());
        }
    }
    let Ok(evidence) = Evidence::parse(&quote) else {
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

const INTEL: [u8; 16] = [
    0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
];
