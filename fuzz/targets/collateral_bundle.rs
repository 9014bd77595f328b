//! Bundles of collateral: what is read is the same after writing it, and answers every question.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_collateral::{CollateralBundle, CollateralFile, Facts};

fuzz_target!(|json: &[u8]| {
    let _ = CollateralFile::from_json(json);
    if let Ok(bundle) = CollateralBundle::from_json(json) {
        let again = CollateralBundle::from_json(bundle.to_json().as_bytes());
        assert_eq!(again.expect("what was written can be read"), bundle);
        for entry in bundle.entries() {
            let _ = Facts::of(&entry.collateral);
            assert!(bundle.find(&entry.platform).is_ok());
        }
        let _ = CollateralBundle::default().merged(bundle);
    }
});
