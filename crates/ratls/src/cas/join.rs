//! How one more instance of a CAS gets the root key from one that runs.
//!
//! The joining instance is the TLS client. It was told where the running one is and what its root
//! key is; neither is measured, so it does not trust either:
//!
//! 1. It pins the server by that root key, and challenges it ([`ATTEST`](super::ATTEST)). A server
//!    that is not a CAS of the same program could hand it a root key that somebody knows, and it
//!    would go on to vouch for that key with its own, genuine evidence. If the server is another
//!    program, the joining instance needs signatures of the approvers whom its *own* workload names
//!    ([`UpgradeAuthorization`]): they say that the CAS with
//!    that root key is a real one.
//! 2. `POST` [`release::CHALLENGE`](crate::release::CHALLENGE) → a nonce.
//! 3. It makes an X25519 key, and evidence over [`join_report_data`]: nonce, exporter of this
//!    connection, key.
//! 4. `POST` [`REPLICA`] with [`JoinRequest`] → [`JoinAnswer`]: [`Inheritance`], sealed by HPKE to
//!    that key and bound to this connection.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_attest::Evidence;
use mse_crypto::Zeroizing;
use mse_crypto::digest::sha512;
use mse_crypto::hpke::{self, HpkeError, KeyPair, PublicKey};
use serde::{Deserialize, Serialize};

use super::upgrade::UpgradeAuthorization;
use crate::binding::{ChannelBinding, Nonce};
use crate::wire;

/// `POST`: [`JoinRequest`] → [`JoinAnswer`].
pub const REPLICA: &str = "/v1/replica";
/// A request to join is at most this long.
pub const MAX_JOIN: usize = 128 * 1024;

/// Separates evidence for joining from everything else that a CAS could be made to sign.
const EVIDENCE_DOMAIN: &[u8] = b"mse-cas-replica-v1\0";
const SEALED_AS: &[u8] = b"mse-cas-inheritance-v1\0";

/// Report data of evidence for joining: `SHA-512("mse-cas-replica-v1" ‖ 0 ‖ nonce ‖ exporter ‖ X25519
/// key)`. All parts have fixed lengths.
pub fn join_report_data(nonce: &Nonce, channel: &ChannelBinding, x25519: &PublicKey) -> [u8; 64] {
    sha512(&[EVIDENCE_DOMAIN, &nonce.0, &channel.0, &x25519.0])
}

/// What an instance shows that wants to join.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The challenge that it answers, hex.
    pub nonce: String,
    /// The key to seal to, hex.
    pub x25519: String,
    /// Raw evidence in base64, with [`join_report_data`].
    pub evidence: String,
    /// Endorsements that its platform gave, DER in base64; nothing vouches for them but the
    /// appraisal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// For another program than the one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<UpgradeAuthorization>,
}

impl JoinRequest {
    /// With `evidence` and, as far as they are within the bounds, `certificates`.
    pub fn new(
        nonce: &Nonce,
        x25519: &PublicKey,
        evidence: &Evidence,
        certificates: &[Vec<u8>],
        authorization: Option<UpgradeAuthorization>,
    ) -> Self {
        Self {
            nonce: hex::encode(nonce.0),
            x25519: hex::encode(x25519.0),
            evidence: BASE64.encode(evidence.as_bytes()),
            certificates: certificates
                .iter()
                .filter(|certificate| certificate.len() <= wire::MAX_CERTIFICATE)
                .take(wire::MAX_CERTIFICATES)
                .map(|certificate| BASE64.encode(certificate))
                .collect(),
            authorization,
        }
    }
}

/// What it gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinAnswer {
    /// `encapsulated key ‖ ciphertext ‖ tag` in base64: [`Inheritance`] in JSON.
    pub sealed: String,
}

/// The root key, and where the store is that goes with it. It has no `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inheritance {
    /// The root key, 32 bytes in hex.
    pub root_key: Zeroizing<String>,
    /// Which store, hex.
    pub store_id: String,
    /// Where the store was: whoever joins takes none that is older.
    pub sequence: u64,
    /// The head of its chain there, hex.
    pub head: String,
}

impl Inheritance {
    /// Seals it to the attested key `heir`, for the connection `channel`.
    pub fn seal(&self, heir: &PublicKey, channel: &ChannelBinding) -> Result<Vec<u8>, JoinError> {
        let json = Zeroizing::new(serde_json::to_vec(self).map_err(|_| JoinError::Form)?);
        Ok(hpke::seal(heir, SEALED_AS, &channel.0, &json)?)
    }

    /// Opens what was sealed to `key` for the connection `channel`.
    pub fn open(
        answer: &JoinAnswer,
        key: &KeyPair,
        channel: &ChannelBinding,
    ) -> Result<Self, JoinError> {
        let sealed = BASE64.decode(&answer.sealed).map_err(|_| JoinError::Form)?;
        let json = key.open(SEALED_AS, &channel.0, &sealed)?;
        serde_json::from_slice(&json).map_err(|_| JoinError::Form)
    }
}

/// What a running CAS sent cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Not of the right shape.
    #[error("what the running CAS sent has not the expected shape: is it of another version?")]
    Form,
    /// It does not open.
    #[error("what the running CAS sent: {0}")]
    Sealed(#[from] HpkeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_report_data_counts_and_it_is_no_other_evidence() {
        let data = |nonce, channel, key| {
            join_report_data(
                &Nonce([nonce; 32]),
                &ChannelBinding([channel; 32]),
                &PublicKey([key; 32]),
            )
        };
        let base = data(1, 2, 3);
        for changed in [data(0, 2, 3), data(1, 0, 3), data(1, 2, 0)] {
            assert_ne!(base, changed);
        }
        let (nonce, channel) = (Nonce([1; 32]), ChannelBinding([2; 32]));
        let attest =
            super::super::attest_report_data(&nonce, &channel, &mse_crypto::Digest([3; 32]));
        assert_ne!(base, attest);
    }

    #[test]
    fn an_inheritance_opens_for_its_heir_and_connection_only() {
        let given = Inheritance {
            root_key: Zeroizing::new("07".repeat(32)),
            store_id: "00".repeat(16),
            sequence: 3,
            head: "01".repeat(32),
        };
        let (heir, other) = (KeyPair::generate(), KeyPair::generate());
        let channel = ChannelBinding([1; 32]);
        let sealed = given.seal(&heir.public(), &channel).unwrap();
        let answer = JoinAnswer {
            sealed: BASE64.encode(sealed),
        };
        let opened = Inheritance::open(&answer, &heir, &channel).unwrap();
        assert_eq!(*opened.root_key, *given.root_key);
        assert!(Inheritance::open(&answer, &other, &channel).is_err());
        assert!(Inheritance::open(&answer, &heir, &ChannelBinding([2; 32])).is_err());
    }
}
