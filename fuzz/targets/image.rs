//! Images: hostile layers and manifests neither panic nor make paths that leave the image.
#![no_main]

use libfuzzer_sys::fuzz_target;

use mse_image::layer::{Compression, Limits, index};
use mse_image::manifest::{ImageConfig, Manifest};
use mse_image::tree::{FileSystem, root_digest};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::from_json(bytes) {
        let again = Manifest::from_json(&manifest.to_json()).expect("it was just written");
        assert_eq!(manifest, again);
    }
    let _ = ImageConfig::from_json(bytes);
    let limits = Limits {
        layer: 16 << 20,
        entries: 10_000,
        ..Limits::default()
    };
    for compression in [Compression::None, Compression::Gzip] {
        let Ok((layer, _)) = index(bytes, compression, &limits) else {
            continue;
        };
        let mut system = FileSystem::default();
        // Twice: the second time everything is there.
        for number in 0..2 {
            if system.apply(number, &layer).is_err() {
                break;
            }
        }
        for (path, _) in system.iter() {
            assert!(path.starts_with('/') && !path[1..].split('/').any(|part| matches!(part, "" | "." | "..")));
        }
        let _ = root_digest(&system, &[]);
    }
});
