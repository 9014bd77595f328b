//! Quotes, and the certificates that carry them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_attest::{Evidence, quote};
use mse_ratls::certificate::EnclaveCertificate;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(evidence) = Evidence::parse(bytes) {
        assert_eq!(evidence.as_bytes(), bytes);
        quote::fields(&evidence).expect("what was parsed can be described");
        assert!(evidence.stated_report_data().is_some());
    }
    let _ = EnclaveCertificate::parse(bytes);
});
