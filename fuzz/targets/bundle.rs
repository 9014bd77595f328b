//! The code bundle: hostile archives neither panic nor leave the folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io;

use mse_crypto::CodeKey;
use mse_workload::bundle::{FileMode, FileSink, SourceSalt, digest_of, unseal};

struct CleanPaths;

impl FileSink for CleanPaths {
    fn begin(&mut self, path: &str, _: FileMode, _: u64) -> io::Result<()> {
        assert!(!path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | "..")));
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|archive: &[u8]| {
    let salt: SourceSalt = "00".repeat(32).parse().expect("64 hex digits");
    let digest = digest_of(archive);
    if let Ok(opened) = unseal(archive, &CodeKey::from_bytes([0; 32]), &salt, &mut CleanPaths) {
        assert_eq!(digest.expect("what opens has a digest"), opened.digest);
    }
});
