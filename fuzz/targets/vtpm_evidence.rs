//! vTPM evidence: JSON and YAML forms, HCL reports, TPM structures.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_attest::{
    Collateral, Evidence, Policy, ReferenceValues, appraise, fields, vtpm::VtpmEvidence,
};

fuzz_target!(|input: (&[u8], &[u8])| {
    let (bytes, part) = input;
    let Ok(vtpm) = VtpmEvidence::parse(bytes) else {
        return;
    };
    let with_part = vtpm.clone().with_part(part);
    for vtpm in [Ok(vtpm), with_part].into_iter().flatten() {
        let evidence = Evidence::Vtpm(Box::new(vtpm));
        let _ = fields(&evidence);
        let verdict = appraise(
            &evidence,
            &Collateral::none(),
            &Policy::strict(),
            &ReferenceValues::default(),
            std::time::SystemTime::UNIX_EPOCH,
        );
        assert!(verdict.is_err());
    }
});
