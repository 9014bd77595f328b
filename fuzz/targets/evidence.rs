//! Evidence of any kind, told apart by its first bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_attest::{Evidence, EvidenceKind, fields};

fuzz_target!(|bytes: &[u8]| {
    let Ok(evidence) = Evidence::parse(bytes) else {
        return;
    };
    fields(&evidence).expect("what was parsed can be described");
    match evidence.kind() {
        EvidenceKind::SgxDcap | EvidenceKind::TdxDcap | EvidenceKind::Snp => {
            assert_eq!(evidence.as_bytes(), bytes);
            assert!(evidence.stated_report_data().is_some());
        }
        EvidenceKind::Nitro => assert_eq!(evidence.as_bytes(), bytes),
        _ => (),
    }
});
