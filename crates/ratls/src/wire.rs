//! The HTTP interface of an enclave beside its app: `/.well-known/mse/…`, JSON.

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
