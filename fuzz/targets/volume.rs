//! The metadata of volumes: what is read has one form, and no bytes make the reader panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_volume::manifest::{RootManifest, decode_listing, encode_listing};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = RootManifest::decode(bytes) {
        assert_eq!(manifest.encode(), bytes);
    }
    if let Ok(entries) = decode_listing(bytes) {
        assert_eq!(encode_listing(&entries), bytes);
    }
});
