//! The HTTP interface of an enclave beside its app: `/.well-known/mse/…`, JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_attest::Evidence;
use mse_crypto::hpke::PublicKey;
use serde::{Deserialize, Serialize};

/// Everything under this prefix is answered by the enclave, never by the app.
pub const PREFIX: &str = "/.well-known/mse/";
/// `POST`: [`Challenge`] → [`ChallengeAnswer`].
pub const ATTEST: &str = "/.well-known/mse/attest";
/// `POST`: [`SealedProvisioning`] → 200 or [`Problem`]; once only.
pub const PROVISION: &str = "/.well-known/mse/provision";
/// `GET`: [`State`].
pub const STATE: &str = "/.well-known/mse/state";

/// A challenge is at most this long.
pub const MAX_CHALLENGE: usize = 1024;
/// The answer to a challenge is at most this long.
pub const MAX_ANSWER: usize = 64 * 1024;
/// An answer, or a TLS handshake, brings at most so many endorsements.
pub const MAX_CERTIFICATES: usize = 4;
/// An endorsement is at most this long; AMD's have less than 2 KiB.
pub const MAX_CERTIFICATE: usize = 8 * 1024;
/// What is sent for provisioning is at most this long: 2 MiB, of which secrets 1 MiB.
pub const MAX_PROVISIONING: usize = 2 * 1024 * 1024;
/// The secrets' JSON is at most this long.
pub const MAX_SECRETS: usize = 1024 * 1024;

/// The existing clients' sign that a server waits for its secrets.
pub const STATUS_HEADER: &str = "Mse-Status";

/// What the client sends after the handshake.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// 32 random bytes in hex.
    pub nonce: String,
}

/// What the enclave answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChallengeAnswer {
    /// Raw evidence in base64; its report data is
    /// [`challenge_report_data`](crate::binding::challenge_report_data).
    pub evidence: String,
    /// The enclave's X25519 public key in hex.
    pub x25519: String,
    /// Endorsements that the platform gave with the evidence, as DER in base64, the signer of the
    /// evidence first: the VEK of SEV-SNP and those above it. At most [`MAX_CERTIFICATES`] of
    /// [`MAX_CERTIFICATE`] bytes; nothing vouches for them but the appraisal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
}

impl ChallengeAnswer {
    /// The answer with `evidence` and, as far as they are within the bounds, `certificates`.
    pub fn new(evidence: &Evidence, x25519: &PublicKey, certificates: &[Vec<u8>]) -> Self {
        Self {
            evidence: BASE64.encode(evidence.as_bytes()),
            x25519: hex::encode(x25519.0),
            certificates: certificates
                .iter()
                .filter(|certificate| certificate.len() <= MAX_CERTIFICATE)
                .take(MAX_CERTIFICATES)
                .map(|certificate| BASE64.encode(certificate))
                .collect(),
        }
    }

    /// The certificates, or `None` if they are not base64 or over the bounds.
    pub fn certificates(&self) -> Option<Vec<Vec<u8>>> {
        decode_certificates(&self.certificates)
    }
}

/// Endorsements as they are sent: DER in base64. `None` if one is not, or they are over the bounds.
pub fn decode_certificates(certificates: &[String]) -> Option<Vec<Vec<u8>>> {
    if certificates.len() > MAX_CERTIFICATES {
        return None;
    }
    certificates
        .iter()
        .map(|certificate| {
            let der = BASE64.decode(certificate).ok()?;
            (der.len() <= MAX_CERTIFICATE).then_some(der)
        })
        .collect()
}

/// What the owner sends: HPKE to the attested key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedProvisioning {
    /// `encapsulated key ‖ ciphertext ‖ tag` in base64.
    pub sealed: String,
}

/// How far the enclave is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `awaiting-provisioning`, `starting` or `running`.
    pub state: String,
}

/// Why the enclave refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// For programs.
    pub code: ProblemCode,
    /// For people; holds no secret.
    pub message: String,
}

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemCode {
    /// 400: not of the right shape.
    Malformed,
    /// 413: over a bound.
    TooLarge,
    /// 403: sealed to another enclave or for another connection.
    DoesNotOpen,
    /// 403: meant for another app.
    WrongApp,
    /// 403: this code key does not open the measured bundle.
    WrongCodeKey,
    /// 403: the TLS key does not belong to the measured certificate.
    WrongTlsKey,
    /// 409: it was provisioned before.
    AlreadyProvisioned,
    /// 404, 405.
    NoSuchThing,
    /// 503: the evidence could not be had.
    NoEvidence,
    /// 503: too many requests of this kind at once, or the enclave is ending.
    Busy,
}

impl ProblemCode {
    /// The HTTP status that goes with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::DoesNotOpen | Self::WrongApp | Self::WrongCodeKey | Self::WrongTlsKey => 403,
            Self::NoSuchThing => 404,
            Self::AlreadyProvisioned => 409,
            Self::TooLarge => 413,
            Self::NoEvidence | Self::Busy => 503,
        }
    }
}
