//! RA-TLS certificates of ours and of other stacks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mse_ratls::{PeerCertificate, certificate::EnclaveCertificate};

fuzz_target!(|der: &[u8]| {
    let _ = EnclaveCertificate::parse(der);
    let _ = PeerCertificate::parse(der);
});
