//! `mse-enclave attest`: shows an operator which attester there is and what it gives.

use std::path::Path;

use mse_crypto::digest::sha512;
use serde::Serialize;

use super::{AttesterError, Machine, Wish};

/// The report data of a self-check is fixed, and nobody's to choose. Whoever could choose it
/// would get genuine evidence of this program over a key of their own, and could pass for it.
/// Nobody knows a TLS or X25519 key, or a challenge, that leads to this digest.
const DOMAIN: &[u8] = b"mse-enclave-self-check-v1\0";

/// What `mse-enclave attest` prints, as JSON.
#[derive(Debug, Serialize)]
pub struct SelfCheck {
    /// Which attester it was.
    attester: &'static str,
    /// The self-check's own report data, in hex.
    report_data: String,
    /// The evidence as the TEE made it, in hex.
    evidence: String,
    /// The platform's certificates, each as DER in hex; often none.
    certificates: Vec<String>,
}

/// Asks the attester of the machine at `root`, which has no launcher.
pub async fn self_check(root: &Path, wish: Wish) -> Result<SelfCheck, AttesterError> {
    let attester = Machine::at(root).attester(wish, None).await?;
    let report_data = sha512(&[DOMAIN]);
    let attested = attester.evidence(&report_data).await?;
    Ok(SelfCheck {
        attester: attester.name(),
        report_data: hex::encode(report_data),
        evidence: hex::encode(attested.evidence.as_bytes()),
        certificates: attested.certificates.iter().map(hex::encode).collect(),
    })
}
