//! How people bring back the root key of a CAS whose machines are lost.
//!
//! Each custodian of the CAS's workload has a share of the root key, sealed to their X25519 key
//! ([`SealedShare`], `GET` [`SHARES`] of a running CAS; harmless without that key). For a recovery:
//!
//! 1. An instance of the same program and workload is started, with an identity for the time being.
//!    Its description says [`Recovering`], with the X25519 key that it takes shares for.
//! 2. The custodian attests it on the connection that is then used
//!    ([`FirstContact::attest_recovering`](super::client::FirstContact::attest_recovering)).
//! 3. The custodian opens their share and seals it to that key, **as themselves** (HPKE in auth
//!    mode), bound to this connection: `POST` [`SHARE`] with [`GivenShare`] → [`RecoveryProgress`].
//!
//! That the sender is authenticated is not a formality. Whoever could give shares without being a
//! custodian could have the instance put together a root key of their own choice, and vouch for it
//! with its evidence.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::Zeroizing;
use mse_crypto::hpke::{self, HpkeError, KeyPair, PublicKey};
use serde::{Deserialize, Serialize};

use crate::binding::ChannelBinding;

/// `GET`: [`SealedShares`], from a CAS that runs.
pub const SHARES: &str = "/v1/recovery";
/// `POST`: [`GivenShare`] → [`RecoveryProgress`], to an instance that recovers.
pub const SHARE: &str = "/v1/recovery/share";

/// The version of [`SealedShare`] that this code reads and writes.
pub const SHARE_FORMAT: u32 = 1;
/// A sealed share is at most this long, in JSON.
pub const MAX_SHARE: usize = 8 * 1024;

const KEPT_AS: &[u8] = b"mse-cas-recovery-share-v1\0";
const GIVEN_AS: &[u8] = b"mse-cas-recovery-give-v1\0";

/// A custodian's share as it is kept: nobody else can open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedShare {
    /// Version of this format: [`SHARE_FORMAT`].
    pub format: u32,
    /// Which root key, 24 hex digits.
    pub key_id: String,
    /// Which share, from 1.
    pub index: u8,
    /// Whose: an X25519 public key, hex.
    pub custodian: String,
    /// The text of the share, sealed; base64.
    pub sealed: String,
}

impl SealedShare {
    /// Seals the text of a share.
    pub fn seal(
        key_id: &str,
        index: u8,
        custodian: &PublicKey,
        text: &str,
    ) -> Result<Self, HpkeError> {
        let aad = about(key_id, index);
        let sealed = hpke::seal(custodian, KEPT_AS, &aad, text.as_bytes())?;
        Ok(Self {
            format: SHARE_FORMAT,
            key_id: key_id.to_owned(),
            index,
            custodian: hex::encode(custodian.0),
            sealed: BASE64.encode(sealed),
        })
    }

    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, ShareError> {
        if json.len() > MAX_SHARE {
            return Err(ShareError::Malformed("it is too long".into()));
        }
        let this: Self = serde_json::from_slice(json)
            .map_err(|error| ShareError::Malformed(error.to_string()))?;
        if this.format != SHARE_FORMAT {
            return Err(ShareError::Malformed(format!(
                "it has format {}, and this program reads format {SHARE_FORMAT}",
                this.format
            )));
        }
        Ok(this)
    }

    /// The text of the share, for its custodian.
    pub fn open(&self, custodian: &KeyPair) -> Result<Zeroizing<String>, ShareError> {
        if self.custodian != hex::encode(custodian.public().0) {
            return Err(ShareError::Custodian {
                found: hex::encode(custodian.public().0),
                expected: self.custodian.chars().take(64).collect(),
            });
        }
        let sealed = BASE64
            .decode(&self.sealed)
            .map_err(|_| ShareError::Malformed("`sealed` is not base64".into()))?;
        let text = custodian.open(KEPT_AS, &about(&self.key_id, self.index), &sealed)?;
        let text = std::str::from_utf8(&text)
            .map_err(|_| ShareError::Malformed("what it holds is no text".into()))?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

fn about(key_id: &str, index: u8) -> Vec<u8> {
    [key_id.as_bytes(), &[0, index]].concat()
}

/// All shares of a root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedShares {
    /// Which root key, 24 hex digits.
    pub key_id: String,
    /// How many shares recover it.
    pub threshold: u8,
    /// Sealed to the custodians.
    pub shares: Vec<SealedShare>,
}

/// What an instance says of itself as long as it has no root key yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovering {
    /// Which root key it waits for, 24 hex digits.
    pub key_id: String,
    /// The X25519 key that shares are sealed to, hex.
    pub share_key: String,
}

impl Recovering {
    /// The key that shares are sealed to, or `None` if it is not 64 hex digits.
    pub fn share_key(&self) -> Option<PublicKey> {
        let mut key = PublicKey([0; 32]);
        hex::decode_to_slice(&self.share_key, &mut key.0).ok()?;
        Some(key)
    }
}

/// A custodian's share for an instance that recovers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenShare {
    /// Who gives it: an X25519 public key, hex.
    pub custodian: String,
    /// The text of the share, sealed; base64.
    pub sealed: String,
}

impl GivenShare {
    /// Seals the text of a share to the attested key `instance`, as `custodian`, for the connection
    /// `channel`.
    pub fn seal(
        text: &str,
        custodian: &KeyPair,
        instance: &PublicKey,
        channel: &ChannelBinding,
    ) -> Result<Self, HpkeError> {
        let sealed = custodian.seal_as(instance, GIVEN_AS, &channel.0, text.as_bytes())?;
        Ok(Self {
            custodian: hex::encode(custodian.public().0),
            sealed: BASE64.encode(sealed),
        })
    }

    /// The text of the share, if `custodian` sealed it to `instance` for the connection `channel`.
    pub fn open(
        &self,
        custodian: &PublicKey,
        instance: &KeyPair,
        channel: &ChannelBinding,
    ) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        let sealed = BASE64
            .decode(&self.sealed)
            .map_err(|_| HpkeError::TooShort)?;
        instance.open_from(custodian, GIVEN_AS, &channel.0, &sealed)
    }
}

/// How far a recovery is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryProgress {
    /// Which shares were given, by their index.
    pub given: Vec<u8>,
    /// How many it takes.
    pub threshold: u8,
    /// Whether this share had been given before.
    pub repeated: bool,
    /// Whether the root key is there again.
    pub recovered: bool,
}

/// A share that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// It is something else.
    #[error("this is no sealed share: {0}")]
    Malformed(String),
    /// Somebody else's.
    #[error("the share belongs to the custodian `{expected}`, and the key is that of `{found}`")]
    Custodian {
        /// Whose key it is.
        found: String,
        /// Whose share it is.
        expected: String,
    },
    /// It was changed.
    #[error("the share: {0}")]
    Sealed(#[from] HpkeError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_share_opens_for_its_custodian_as_what_it_says_to_be() {
        let (own, other) = (KeyPair::generate(), KeyPair::generate());
        let share = SealedShare::seal("ab", 2, &own.public(), "mse1…").unwrap();
        let json = serde_json::to_vec(&share).unwrap();
        let share = SealedShare::from_json(&json).unwrap();
        assert_eq!(*share.open(&own).unwrap(), "mse1…");
        assert!(matches!(
            share.open(&other),
            Err(ShareError::Custodian { .. })
        ));
        type Change = fn(&mut SealedShare);
        let changes: [Change; 3] = [
            |share| share.index = 1,
            |share| share.key_id = "ac".into(),
            |share| share.sealed = share.sealed.replacen(['A', 'b', 'c'], "d", 1),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = share.clone();
            change(&mut changed);
            if changed != share {
                assert!(changed.open(&own).is_err(), "{number}");
            }
        }
    }

    #[test]
    fn a_given_share_is_of_its_custodian_and_for_one_connection() {
        let (custodian, stranger) = (KeyPair::generate(), KeyPair::generate());
        let instance = KeyPair::generate();
        let channel = ChannelBinding([1; 32]);
        let seal = |who| GivenShare::seal("mse1…", who, &instance.public(), &channel).unwrap();
        let open = |given: &GivenShare, channel| {
            given.open(&custodian.public(), &instance, &channel).is_ok()
        };
        assert!(open(&seal(&custodian), ChannelBinding([1; 32])));
        assert!(!open(&seal(&custodian), ChannelBinding([2; 32])));
        assert!(!open(&seal(&stranger), ChannelBinding([1; 32])));
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            sealed in ".{0,100}",
        ) {
            let key = KeyPair::derive(&[7; 32]);
            if let Ok(share) = SealedShare::from_json(&bytes) {
                let _ = share.open(&key);
            }
            let custodian = hex::encode(key.public().0);
            let given = GivenShare { custodian, sealed };
            let _ = given.open(&key.public(), &key, &ChannelBinding([1; 32]));
        }
    }
}
