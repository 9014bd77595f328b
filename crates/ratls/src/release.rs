//! Release by policy: what a service shows to a configuration and attestation service (CAS), and
//! what it gets.
//!
//! The service is the TLS client here, and the CAS is the side that it knows (by a key that its
//! own measurement names). On one TLS 1.3 connection:
//!
//! 1. `POST` [`CHALLENGE`] → [`ReleaseChallenge`]: a nonce. The CAS keeps nothing of it.
//! 2. The service makes an X25519 key and evidence over
//!    [`release_report_data`]: nonce, exporter of this connection, key, and what it asks for.
//! 3. `POST` [`RELEASE`] with [`ReleaseRequest`] → [`SealedRelease`]: the [`Configuration`],
//!    sealed by HPKE to that key and bound to this connection, and a ticket.
//! 4. `POST` [`RENEW`] with [`RenewalRequest`], on this or a later connection → [`SealedRelease`]:
//!    the configuration as it is now, without new evidence, sealed to the same key. Whoever has
//!    only the ticket can open nothing.
//! 5. `POST` [`VOLUME`] with [`VolumeReport`], on this or a later connection → [`Recorded`]: the CAS
//!    knows the newest state of a volume from now on, and grants no other.
//!
//! A report is a compare-and-swap on the counter of the volume, which the CAS keeps: `previous` is
//! what the grant or the last report said, and `sequence` is one more. Of two enclaves that go on
//! from the same state one is refused ([`RefusalCode::StaleVolume`]). The same report again is no
//! conflict: whoever lost the answer asks again. A report by itself opens nothing and tells nothing;
//! the root is no secret. With a stolen ticket a state could be reported that nobody has, which makes
//! the volume useless: no more than who stores it can do.

use std::collections::BTreeMap;

use mse_crypto::digest::{Hasher, sha512};
use mse_crypto::hpke::{self, HpkeError, KeyPair, PublicKey};
use mse_crypto::{Digest, Zeroizing};
use serde::{Deserialize, Serialize};

use crate::binding::{ChannelBinding, Nonce};

/// `POST`, no body: [`ReleaseChallenge`].
pub const CHALLENGE: &str = "/v1/release/challenge";
/// `POST`: [`ReleaseRequest`] → [`SealedRelease`].
pub const RELEASE: &str = "/v1/release";
/// `POST`: [`RenewalRequest`] → [`SealedRelease`].
pub const RENEW: &str = "/v1/release/renew";
/// `POST`: [`VolumeReport`] → [`Recorded`].
pub const VOLUME: &str = "/v1/release/volume";

/// A request for a release is at most this long; evidence takes most of it.
pub const MAX_REQUEST: usize = 128 * 1024;
/// A release is at most this long: files included.
pub const MAX_RELEASE: usize = 4 * 1024 * 1024;

/// Separates evidence for a release from everything else that an enclave could be made to sign.
const EVIDENCE_DOMAIN: &[u8] = b"mse-release-evidence-v1\0";

/// What a service asks for: one service of one session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Absolute name of the session, namespaces included.
    pub session: String,
    /// Name of the service in it.
    pub service: String,
}

impl Target {
    /// SHA-256 over `"mse-release-target-v1" ‖ 0` and both names, each behind its length.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::with_domain("mse-release-target-v1");
        hasher.update_field(self.session.as_bytes());
        hasher.update_field(self.service.as_bytes());
        hasher.finish()
    }
}

/// Report data of evidence for a release:
/// `SHA-512(domain ‖ nonce ‖ exporter ‖ X25519 key ‖ target digest)`. All parts have fixed
/// lengths.
pub fn release_report_data(
    nonce: &Nonce,
    channel: &ChannelBinding,
    x25519: &PublicKey,
    target: &Target,
) -> [u8; 64] {
    sha512(&[
        EVIDENCE_DOMAIN,
        &nonce.0,
        &channel.0,
        &x25519.0,
        &target.digest().0,
    ])
}

/// A nonce, to be used within its lifetime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseChallenge {
    /// 32 bytes in hex.
    pub nonce: String,
    /// Seconds until the CAS takes it no more.
    pub lifetime: u64,
}

/// What a service shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// What it asks for.
    pub target: Target,
    /// The challenge that it answers, hex.
    pub nonce: String,
    /// The key to seal to, hex.
    pub x25519: String,
    /// Raw evidence in base64, with [`release_report_data`].
    pub evidence: String,
    /// Endorsements that its platform gave, DER in base64; nothing vouches for them but the
    /// appraisal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// Where the session asks for one: six digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_time_password: Option<String>,
    /// Where the session asks for one: proof of knowing the access token, see
    /// [`access_token_proof`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_proof: Option<String>,
}

/// Proves to know `token` on this connection without showing it: SHA-256 over
/// `"mse-access-token-v1" ‖ 0`, the token, nonce and exporter, hex.
pub fn access_token_proof(token: &str, nonce: &Nonce, channel: &ChannelBinding) -> String {
    let mut hasher = Hasher::with_domain("mse-access-token-v1");
    hasher.update_field(token.as_bytes());
    hasher.update_field(&nonce.0);
    hasher.update_field(&channel.0);
    hex::encode(hasher.finish().0)
}

/// Asks for the configuration as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewalRequest {
    /// What the release before brought, base64.
    pub ticket: String,
}

/// A configuration for one enclave and one connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedRelease {
    /// `encapsulated key ‖ ciphertext ‖ tag` in base64: [`Configuration`] in JSON.
    pub sealed: String,
    /// For the renewal, base64. Opaque to all but the CAS.
    pub ticket: String,
    /// Seconds until the service should renew: something in the configuration changes then.
    pub renew_in: u64,
}

/// Everything that a service is told. Nothing else reaches its program.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Hash of the session that it comes from, hex.
    pub session_hash: String,
    /// The program's name and its arguments.
    pub arguments: Vec<Zeroizing<String>>,
    /// The whole environment.
    pub environment: BTreeMap<String, Zeroizing<String>>,
    /// Where the program starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    /// Files that exist in the enclave only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InjectedFile>,
    /// Encrypted volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeGrant>,
}

/// A file that exists in the enclave only.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InjectedFile {
    /// Absolute.
    pub path: String,
    /// As in `chmod`, for the program's user only.
    pub mode: u32,
    /// Base64.
    pub content: Zeroizing<String>,
}

/// An encrypted volume, and the state of it that may be used.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeGrant {
    /// Its name in the session.
    pub name: String,
    /// Where it is mounted, absolute.
    pub path: String,
    /// The key, 32 bytes in hex.
    pub key: Zeroizing<String>,
    /// `encrypted` or `authenticated-only`: what the host may learn of the files.
    pub files: String,
    /// `rollback_protected`, `ephemeral` or `no_rollback_protection`.
    pub update_policy: String,
    /// The root of the newest state, 32 bytes in hex; none before the volume was initialised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The counter that goes with the root; 0 without one.
    pub sequence: u64,
    /// Whether the volume may be initialised: only without a root, and by one whose changes count.
    pub may_initialise: bool,
}

/// A new state of a volume, to be recorded before it counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeReport {
    /// What the last release brought, base64. It is not used up.
    pub ticket: String,
    /// The volume's name in the session.
    pub name: String,
    /// The counter of the new state: `previous` and 1.
    pub sequence: u64,
    /// The root of the new state, 32 bytes in hex.
    pub root: String,
    /// The counter of the state that it was made from: 0 for the first one.
    pub previous: u64,
}

/// The state is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {}

impl Configuration {
    /// Seals the configuration to the attested key `service`, for `target` and the connection
    /// `channel`.
    pub fn seal(
        &self,
        service: &PublicKey,
        target: &Target,
        channel: &ChannelBinding,
    ) -> Result<Vec<u8>, ReleaseError> {
        let json = Zeroizing::new(serde_json::to_vec(self)?);
        if json.len() > MAX_RELEASE {
            return Err(ReleaseError::TooLarge { size: json.len() });
        }
        Ok(hpke::seal(service, &info(target), &channel.0, &json)?)
    }

    /// Opens what was sealed for `target` to `key`, for the connection `channel`.
    pub fn open(
        sealed: &[u8],
        target: &Target,
        key: &KeyPair,
        channel: &ChannelBinding,
    ) -> Result<Self, ReleaseError> {
        if sealed.len() > MAX_RELEASE + hpke::OVERHEAD {
            return Err(ReleaseError::TooLarge { size: sealed.len() });
        }
        let json = key.open(&info(target), &channel.0, sealed)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

fn info(target: &Target) -> Vec<u8> {
    [b"mse-release-v1\0".as_slice(), &target.digest().0].concat()
}

/// Why a CAS refuses, for the service and its operator. Authentic: it comes over the connection to
/// the CAS. Names the check that failed and no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ReleaseRefusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub message: String,
    /// The check of the appraisal that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
}

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// 400: not of the right shape.
    Malformed,
    /// 403: the challenge is not one of this CAS, or too old.
    Challenge,
    /// 403: the evidence does not satisfy the session's attestation.
    Attestation,
    /// 403: the one-time password is wrong, or was used.
    OneTimePassword,
    /// 403: the access token is not known to the service.
    AccessToken,
    /// 403: the ticket is not one of this CAS, too old, or of another session by now.
    Ticket,
    /// 404: there is no such service, or not for this one.
    NoSuchService,
    /// 404: the service has no such volume.
    NoSuchVolume,
    /// 403: the service's policy records no state of the volume: `ephemeral`.
    VolumePolicy,
    /// 409: the reported state of the volume was not made from the recorded one. Somebody else has
    /// written meanwhile, or the service works on an old copy.
    StaleVolume,
    /// 410: the session was revoked.
    Revoked,
    /// 413: over a bound.
    TooLarge,
    /// 503: the CAS cannot answer now.
    Unavailable,
}

impl RefusalCode {
    /// The HTTP status that goes with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Challenge
            | Self::Attestation
            | Self::OneTimePassword
            | Self::AccessToken
            | Self::Ticket
            | Self::VolumePolicy => 403,
            Self::NoSuchService | Self::NoSuchVolume => 404,
            Self::StaleVolume => 409,
            Self::Revoked => 410,
            Self::TooLarge => 413,
            Self::Unavailable => 503,
        }
    }
}

/// Why a configuration cannot be sealed or opened. Never repeats what is inside.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Over [`MAX_RELEASE`].
    #[error("the configuration has `{size}` bytes, more than {MAX_RELEASE}; inject smaller files")]
    TooLarge {
        /// Bytes.
        size: usize,
    },
    /// Another key, target or connection, or changed bytes.
    #[error(transparent)]
    Seal(#[from] HpkeError),
    /// The text inside is not of the right shape.
    #[error("the configuration is malformed")]
    Json,
}

impl From<serde_json::Error> for ReleaseError {
    /// The cause is dropped: serde's messages may quote the input.
    fn from(_: serde_json::Error) -> Self {
        Self::Json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            session: "team/shop".into(),
            service: "web".into(),
        }
    }

    #[test]
    fn every_part_of_the_evidence_counts() {
        let data = |nonce, channel, key, target: &Target| {
            release_report_data(
                &Nonce([nonce; 32]),
                &ChannelBinding([channel; 32]),
                &PublicKey([key; 32]),
                target,
            )
        };
        let moved = Target {
            session: "team/shopw".into(),
            service: "eb".into(),
        };
        let base = data(1, 2, 3, &target());
        for changed in [
            data(0, 2, 3, &target()),
            data(1, 0, 3, &target()),
            data(1, 2, 0, &target()),
            data(1, 2, 3, &moved),
        ] {
            assert_ne!(base, changed);
        }
    }

    #[test]
    fn a_configuration_opens_for_its_key_target_and_channel_only() {
        let (key, channel) = (KeyPair::generate(), ChannelBinding([1; 32]));
        let configuration = Configuration {
            session_hash: "ab".repeat(32),
            arguments: vec![Zeroizing::new("python3".into())],
            environment: [("API_PASSWORD".into(), Zeroizing::new("secret".into()))].into(),
            working_directory: None,
            files: Vec::new(),
            volumes: Vec::new(),
        };
        let sealed = configuration
            .seal(&key.public(), &target(), &channel)
            .unwrap();
        let opened = Configuration::open(&sealed, &target(), &key, &channel).unwrap();
        assert_eq!(opened.environment["API_PASSWORD"].as_str(), "secret");
        let other = Target {
            service: "db".into(),
            ..target()
        };
        assert!(Configuration::open(&sealed, &other, &key, &channel).is_err());
        assert!(Configuration::open(&sealed, &target(), &KeyPair::generate(), &channel).is_err());
        let elsewhere = ChannelBinding([2; 32]);
        assert!(Configuration::open(&sealed, &target(), &key, &elsewhere).is_err());
    }

    #[test]
    fn grants_and_reports_are_read_strictly() {
        let grant = serde_json::json!({
            "name": "data", "path": "/data", "key": "00", "files": "encrypted",
            "update_policy": "ephemeral", "sequence": 0, "may_initialise": false,
        });
        let report = serde_json::json!({
            "ticket": "", "name": "data", "sequence": 1, "root": "00", "previous": 0,
        });
        assert!(serde_json::from_value::<VolumeGrant>(grant.clone()).is_ok());
        assert!(serde_json::from_value::<VolumeReport>(report.clone()).is_ok());
        for required in ["files", "sequence", "may_initialise"] {
            let mut less = grant.clone();
            less.as_object_mut().unwrap().remove(required);
            assert!(serde_json::from_value::<VolumeGrant>(less).is_err());
        }
        let (mut grant, mut report) = (grant, report);
        grant["more"] = 1.into();
        report["more"] = 1.into();
        assert!(serde_json::from_value::<VolumeGrant>(grant).is_err());
        assert!(serde_json::from_value::<VolumeReport>(report).is_err());
        assert_eq!(
            serde_json::to_value(Recorded {}).unwrap(),
            serde_json::json!({})
        );
        assert_eq!(RefusalCode::StaleVolume.http_status(), 409);
    }

    #[test]
    fn a_token_proof_is_for_one_connection() {
        let proof = |token, nonce, channel| {
            access_token_proof(token, &Nonce([nonce; 32]), &ChannelBinding([channel; 32]))
        };
        assert_eq!(proof("t", 1, 2), proof("t", 1, 2));
        assert_ne!(proof("t", 1, 2), proof("u", 1, 2));
        assert_ne!(proof("t", 1, 2), proof("t", 0, 2));
        assert_ne!(proof("t", 1, 2), proof("t", 1, 0));
    }
}
