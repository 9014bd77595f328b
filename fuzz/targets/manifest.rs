//! `mse.toml`: whatever is in it, it is parsed or diagnosed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_manifest::{CloudSection, Manifest};

fuzz_target!(|text: &str| {
    for cloud in [CloudSection::Required, CloudSection::Optional] {
        if let Ok(loaded) = Manifest::parse("mse.toml".as_ref(), text, cloud) {
            // What was accepted can be saved, and saved again the same way.
            let saved = loaded.manifest.to_toml();
            let again = Manifest::parse("mse.toml".as_ref(), &saved, cloud)
                .unwrap_or_else(|error| panic!("saved but not read:\n{saved}\n{error}"));
            assert_eq!(again.manifest.to_toml(), saved);
        }
    }
});
