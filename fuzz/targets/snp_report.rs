//! SNP reports of the right size and version, with certificates of any content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_attest::{Collateral, Evidence, Policy, ReferenceValues, appraise, fields};

fuzz_target!(|input: (u8, Vec<u8>, Vec<Vec<u8>>, Vec<Vec<u8>>)| {
    let (version, mut report, certificates, crls) = input;
    report.resize(1184, 0);
    report[..4].copy_from_slice(&[2 + version % 4, 0, 0, 0]);
    let Ok(evidence) = Evidence::parse(&report) else {
        return;
    };
    let _ = fields(&evidence);
    let collateral = Collateral {
        certificates,
        crls,
        ..Collateral::none()
    };
    let verdict = appraise(
        &evidence,
        &collateral,
        &Policy::strict(),
        &ReferenceValues::default(),
        std::time::SystemTime::UNIX_EPOCH,
    );
    assert!(verdict.is_err());
});
