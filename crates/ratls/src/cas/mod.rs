//! How a CAS proves what it is, to anybody who asks.
//!
//! The CAS is the TLS 1.3 server; its chain ends in a self-signed root, whose key names it.
//!
//! 1. `GET` [`DESCRIBE`] → [`CasDescription`]: what it says of itself. Nothing vouches for it yet.
//! 2. `POST` [`ATTEST`] with [`AttestRequest`] (a nonce) → [`AttestAnswer`]: the description again,
//!    and fresh evidence whose report data is [`attest_report_data`]: nonce, exporter of this very
//!    connection, and digest of the description.
//!
//! So the evidence is of whoever ends this connection, and of these keys. Whoever relays it has a
//! connection with another exporter. From then on the root key is enough: [`PinnedRoot`].
//!
//! [`CasReport`] is all of that as a file: whoever has it can verify it without a network, and
//! without having been there.
//!
//! [`PinnedRoot`]: crate::pinned::PinnedRoot

pub mod client;
pub mod join;
pub mod recovery;
pub mod signer;
pub mod upgrade;

use std::fmt;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_attest::{Appraisal, Collateral, Evidence, Policy, ReferenceValues, Refusal, Verifier};
use mse_crypto::digest::sha512;
use mse_crypto::hpke::PublicKey;
use mse_crypto::signing::VerifyingKey;
use mse_crypto::{Digest, signing};
use mse_workload::{CasKey, Measurement};
use serde::{Deserialize, Serialize};

use crate::binding::{ChannelBinding, Nonce};
use crate::wire;

/// `GET`: [`CasDescription`].
pub const DESCRIBE: &str = "/v1/cas";
/// `POST`: [`AttestRequest`] → [`AttestAnswer`].
pub const ATTEST: &str = "/v1/attest";

/// The version of [`CasDescription`] that this code reads and writes.
pub const DESCRIPTION_FORMAT: u32 = 1;
/// The version of [`CasReport`] that this code reads and writes.
pub const REPORT_FORMAT: u32 = 1;
/// A report is at most this long: 4 MiB, most of it collateral.
pub const MAX_REPORT: usize = 4 * 1024 * 1024;

/// Separates evidence of a CAS about itself from everything else that it could be made to sign.
const EVIDENCE_DOMAIN: &[u8] = b"mse-cas-attest-v1\0";

/// What a CAS says of itself. All replicas of one CAS say the same, unless they are of different
/// versions or on different platforms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CasDescription {
    /// Version of this format: [`DESCRIPTION_FORMAT`].
    pub format: u32,
    /// Its root key: what services are measured with and clients pin.
    pub cas_key: CasKey,
    /// Public key (PEM) of its audit log.
    pub audit_key: String,
    /// X25519 public key (64 hex digits) that clients encrypt sessions to.
    pub session_encryption_key: String,
    /// Who owns it: SHA-256 of the `SubjectPublicKeyInfo` of a TLS client's key. It is measured,
    /// too.
    pub owner: Digest,
    /// Which store it has, hex.
    pub store_id: String,
    /// Version of its program.
    pub version: String,
    /// The TEE that it runs on: `sgx`, `tdx`, `snp` or `simulated`.
    pub tee: String,
    /// Whether that TEE is a simulated one.
    pub simulated: bool,
    /// Set as long as it waits for its root key. All keys above are for the time being then, and
    /// nothing may be given to it but shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovering: Option<recovery::Recovering>,
}

impl CasDescription {
    /// SHA-256 over the canonical form, RFC 8785 (JCS) JSON.
    pub fn digest(&self) -> Digest {
        let canonical = serde_json_canonicalizer::to_vec(self)
            .expect("a description has only strings, integers and booleans");
        Digest::of(&canonical)
    }

    /// The key of the audit log.
    pub fn audit_key(&self) -> Result<VerifyingKey, signing::InvalidKey> {
        VerifyingKey::from_pem(&self.audit_key)
    }

    /// The key that sessions are encrypted to, or `None` if it is not 64 hex digits.
    pub fn session_encryption_key(&self) -> Option<PublicKey> {
        let mut key = PublicKey([0; 32]);
        hex::decode_to_slice(&self.session_encryption_key, &mut key.0).ok()?;
        Some(key)
    }
}

/// Report data of evidence of a CAS: `SHA-512("mse-cas-attest-v1" ‖ 0 ‖ nonce ‖ exporter ‖
/// digest of the description)`. All parts have fixed lengths.
pub fn attest_report_data(
    nonce: &Nonce,
    channel: &ChannelBinding,
    description: &Digest,
) -> [u8; 64] {
    sha512(&[EVIDENCE_DOMAIN, &nonce.0, &channel.0, &description.0])
}

/// A challenge to a CAS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestRequest {
    /// 32 random bytes of the client, hex.
    pub nonce: String,
}

impl AttestRequest {
    /// With this nonce.
    pub fn new(nonce: &Nonce) -> Self {
        Self {
            nonce: hex::encode(nonce.0),
        }
    }

    /// The nonce, or `None` if it is not 64 hex digits.
    pub fn nonce(&self) -> Option<Nonce> {
        nonce_of(&self.nonce)
    }
}

/// What a CAS answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttestAnswer {
    /// What it says of itself.
    pub description: CasDescription,
    /// Raw evidence in base64, with [`attest_report_data`].
    pub evidence: String,
    /// Endorsements that its platform gave, DER in base64; nothing vouches for them but the
    /// appraisal. At most [`wire::MAX_CERTIFICATES`] of [`wire::MAX_CERTIFICATE`] bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
}

impl AttestAnswer {
    /// The answer with `evidence` and, as far as they are within the bounds, `certificates`.
    pub fn new(description: CasDescription, evidence: &Evidence, certificates: &[Vec<u8>]) -> Self {
        Self {
            description,
            evidence: BASE64.encode(evidence.as_bytes()),
            certificates: certificates
                .iter()
                .filter(|certificate| certificate.len() <= wire::MAX_CERTIFICATE)
                .take(wire::MAX_CERTIFICATES)
                .map(|certificate| BASE64.encode(certificate))
                .collect(),
        }
    }
}

/// What a CAS must turn out to be.
#[derive(Debug, Clone)]
pub struct ExpectedCas {
    /// Trust anchors, TCB and the rest.
    pub policy: Policy,
    /// Its measurement; it covers program, owner and believed platforms. Without it any program
    /// that satisfies the policy passes, whatever it says of itself.
    pub measurement: Option<Measurement>,
    /// Its owner.
    pub owner: Option<Digest>,
    /// Its root key.
    pub cas_key: Option<CasKey>,
}

/// How a CAS was attested.
#[derive(Clone, Debug)]
pub struct AttestedCas {
    /// What it says of itself, vouched for by the evidence.
    pub description: CasDescription,
    /// What was found of the evidence.
    pub appraisal: Appraisal,
    /// All that the trust rests on, for others to verify.
    pub report: CasReport,
}

impl AttestedCas {
    /// The measurement that the evidence proves, of a TEE of the SGX form.
    pub fn measurement(&self) -> Option<Measurement> {
        measurement_of(&self.appraisal)
    }
}

/// The measurement that an appraisal proves, of a TEE of the SGX form.
pub fn measurement_of(appraisal: &Appraisal) -> Option<Measurement> {
    let claims = appraisal.claims.sgx()?;
    Some(Measurement(Digest(claims.mrenclave)))
}

/// A CAS's evidence about itself with everything that is needed to verify it offline.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CasReport {
    /// Version of this format: [`REPORT_FORMAT`].
    pub format: u32,
    /// When it was made, unix seconds: the word of whoever made it.
    pub attested_at: u64,
    /// The nonce, hex.
    pub nonce: String,
    /// The exporter value of the connection, hex.
    pub exporter: String,
    /// What the CAS said of itself.
    pub description: CasDescription,
    /// Raw evidence in base64.
    pub evidence: String,
    /// The endorsements that were used ([`Collateral::to_json`]).
    pub collateral: serde_json::Value,
}

impl CasReport {
    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, AttestError> {
        if json.len() > MAX_REPORT {
            return Err(AttestError::Report(format!(
                "it is {} bytes long, and at most {MAX_REPORT} are read",
                json.len()
            )));
        }
        let report: Self =
            serde_json::from_slice(json).map_err(|error| AttestError::Report(error.to_string()))?;
        if report.format != REPORT_FORMAT {
            return Err(AttestError::Report(format!(
                "it has format {}, and this program reads format {REPORT_FORMAT}",
                report.format
            )));
        }
        Ok(report)
    }

    /// Verifies that a CAS as `expected` made this report, with its own collateral, as of `now`.
    pub fn verify(
        &self,
        expected: &ExpectedCas,
        now: SystemTime,
    ) -> Result<Appraisal, AttestError> {
        let malformed = |what: &str| AttestError::Report(what.to_owned());
        let nonce =
            nonce_of(&self.nonce).ok_or_else(|| malformed("`nonce` is not 64 hex digits"))?;
        let mut channel = ChannelBinding([0; 32]);
        hex::decode_to_slice(&self.exporter, &mut channel.0)
            .map_err(|_| malformed("`exporter` is not 64 hex digits"))?;
        let collateral = Collateral::from_json(self.collateral.to_string().as_bytes())
            .map_err(|error| malformed(&format!("its collateral: {error}")))?;
        let evidence = evidence_of(&self.evidence)?;
        judge(
            &Shown {
                nonce,
                channel,
                description: &self.description,
                evidence: &evidence,
                collateral: &collateral,
            },
            expected,
            Stage::Open,
            now,
        )
    }
}

/// Whether a CAS is one already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has its root key.
    Open,
    /// It waits for shares.
    Recovering,
}

/// What a CAS showed on one connection.
struct Shown<'a> {
    nonce: Nonce,
    channel: ChannelBinding,
    description: &'a CasDescription,
    evidence: &'a Evidence,
    collateral: &'a Collateral,
}

/// The one place where it is decided whether a CAS is what it must be.
fn judge(
    shown: &Shown<'_>,
    expected: &ExpectedCas,
    stage: Stage,
    now: SystemTime,
) -> Result<Appraisal, AttestError> {
    let description = shown.description;
    if description.format != DESCRIPTION_FORMAT {
        return Err(AttestError::Description(format!(
            "it has format {}, and this program reads format {DESCRIPTION_FORMAT}",
            description.format
        )));
    }
    let reference = ReferenceValues {
        mrenclave: expected.measurement.map(|measurement| measurement.0.0),
        report_data: Some(attest_report_data(
            &shown.nonce,
            &shown.channel,
            &description.digest(),
        )),
        ..ReferenceValues::default()
    };
    let appraisal = Verifier::new(expected.policy.clone())
        .appraise(shown.evidence, shown.collateral, &reference, now)
        .map_err(|refusal| AttestError::Refused(Box::new(refusal)))?;
    let tee = appraisal.tee.as_str();
    if description.tee != tee || description.simulated != (tee == "simulated") {
        return Err(AttestError::Description(format!(
            "it says that its TEE is `{}`, and the evidence is of `{tee}`",
            Tame(&description.tee)
        )));
    }
    if description.audit_key().is_err() || description.session_encryption_key().is_none() {
        return Err(AttestError::Description(
            "one of its public keys cannot be read".to_owned(),
        ));
    }
    if description.recovering.is_some() != (stage == Stage::Recovering) {
        return Err(AttestError::Stage(match stage {
            Stage::Open => "it has no root key yet, and waits for shares to recover one",
            Stage::Recovering => "it has its root key, and waits for no shares",
        }));
    }
    if let Some(owner) = expected.owner
        && owner != description.owner
    {
        return Err(AttestError::Owner {
            found: description.owner,
            expected: owner,
        });
    }
    if let Some(key) = expected.cas_key
        && key != description.cas_key
    {
        return Err(AttestError::Key {
            found: description.cas_key,
            expected: key,
        });
    }
    Ok(appraisal)
}

fn nonce_of(hex: &str) -> Option<Nonce> {
    let mut nonce = Nonce([0; 32]);
    hex::decode_to_slice(hex, &mut nonce.0).ok()?;
    Some(nonce)
}

fn evidence_of(base64: &str) -> Result<Evidence, AttestError> {
    let bytes = BASE64
        .decode(base64)
        .map_err(|_| AttestError::Evidence("it is not base64".to_owned()))?;
    Evidence::parse(&bytes).map_err(|error| AttestError::Evidence(error.to_string()))
}

/// A peer's words, for one line of a log or a terminal.
struct Tame<'a>(&'a str);

impl fmt::Display for Tame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(300) {
            let plain = if character.is_control() {
                ' '
            } else {
                character
            };
            write!(f, "{plain}")?;
        }
        Ok(())
    }
}

/// Why a CAS is not believed.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The evidence does not pass.
    #[error("the evidence of the CAS was refused: {0}")]
    Refused(Box<Refusal>),
    /// There is nothing to appraise.
    #[error("the evidence of the CAS cannot be read: {0}")]
    Evidence(String),
    /// What it says of itself cannot be.
    #[error("what the CAS says of itself is no good: {0}")]
    Description(String),
    /// It recovers, or it does not.
    #[error("the CAS is not ready for this: {0}")]
    Stage(&'static str),
    /// Somebody else's CAS.
    #[error("the CAS belongs to `{found}`, and its owner should be `{expected}`")]
    Owner {
        /// The owner that it has.
        found: Digest,
        /// The owner that it should have.
        expected: Digest,
    },
    /// Another CAS.
    #[error("the CAS has the root key `{found}`, and `{expected}` is expected")]
    Key {
        /// The key that it has.
        found: CasKey,
        /// The key that it should have.
        expected: CasKey,
    },
    /// The file is no report.
    #[error("this is no report of a CAS: {0}")]
    Report(String),
}

#[cfg(test)]
mod tests;
