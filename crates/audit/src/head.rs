//! Signed tree heads: what the log vouches for.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::Digest;
use mse_crypto::digest::Hasher;
use mse_crypto::signing::{BadSignature, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::entry::{MAX_INTEGER, UnixMillis};

/// What signatures of heads are for.
pub const SIGNING_DOMAIN: &str = "mse-audit-head-v1";

/// A signed head in JSON is never larger: 1 KiB.
pub const MAX_HEAD: usize = 1024;

/// The name of a log: `SHA-256("mse-audit-log-v1" ‖ 00 ‖ SPKI)` of the key that signs its heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub Digest);

impl LogId {
    /// The log whose heads this key signs.
    pub fn of(key: &VerifyingKey) -> Self {
        let mut hasher = Hasher::with_domain("mse-audit-log-v1");
        hasher.update(&key.to_spki());
        Self(hasher.finish())
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of a log: how many entries it has and what they are.
///
/// JSON: `{"log_id", "previous", "root", "time", "tree_size"}`, hashes as 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Which log.
    pub log_id: LogId,
    /// The [`Head::digest`] of the head signed before this one; missing in the first of a log. A
    /// log that is faithful never signs two heads with the same `previous`: two that have it prove
    /// that it was set back, without a single entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The Merkle root over the entries.
    pub root: Digest,
    /// When it was signed, by the clock of the CAS.
    pub time: UnixMillis,
    /// How many entries there are.
    pub tree_size: u64,
}

impl Head {
    /// Signs it. `key` must be the one that [`Head::log_id`] names.
    pub fn sign(self, key: &SigningKey) -> SignedHead {
        debug_assert_eq!(self.log_id, LogId::of(&key.public()));
        let signature = key.sign(SIGNING_DOMAIN, &self.canonical());
        SignedHead {
            head: self,
            signature,
        }
    }

    /// `SHA-256("mse-audit-head-v1" ‖ 00 ‖ canonical form)`.
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::with_domain(SIGNING_DOMAIN);
        hasher.update(&self.canonical());
        hasher.finish()
    }

    /// The canonical form, RFC 8785 JSON: what is signed.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a head has only strings and integers")
    }

    /// Whether one faithful log can have signed both: what two heads show by themselves. That it
    /// did takes a consistency proof or the entries.
    pub fn agrees_with(&self, other: &Self) -> Result<(), Conflict> {
        if self.log_id != other.log_id {
            return Err(Conflict::OtherLog {
                expected: self.log_id,
                found: other.log_id,
            });
        }
        if self.tree_size == other.tree_size && self.root != other.root {
            return Err(Conflict::Fork {
                size: self.tree_size,
            });
        }
        if self.previous == other.previous && self != other {
            return Err(Conflict::SamePrevious {
                one: self.tree_size,
                other: other.tree_size,
            });
        }
        Ok(())
    }

    /// Whether this can be the state of the log after `seen`, which was seen before: as
    /// [`Head::agrees_with`], and not smaller.
    pub fn follows(&self, seen: &Self) -> Result<(), Conflict> {
        seen.agrees_with(self)?;
        if self.tree_size < seen.tree_size {
            return Err(Conflict::Rollback {
                seen: seen.tree_size,
                now: self.tree_size,
            });
        }
        Ok(())
    }
}

/// A head with its signature: in the domain [`SIGNING_DOMAIN`], over [`Head::canonical`].
///
/// JSON: the fields of [`Head`] and `signature` in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    head: Head,
    signature: Vec<u8>,
}

impl SignedHead {
    /// Reads the JSON form. Nothing is verified: [`SignedHead::verify`].
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidHead> {
        if json.len() > MAX_HEAD {
            return Err(InvalidHead::TooLarge(json.len()));
        }
        Ok(serde_json::from_slice(json)?)
    }

    /// The canonical form: RFC 8785 JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a head has only strings and integers")
    }

    /// Checks that the log of `key` signed it.
    pub fn verify(&self, key: &VerifyingKey) -> Result<&Head, UnverifiedHead> {
        let expected = LogId::of(key);
        if self.head.log_id != expected {
            return Err(UnverifiedHead::WrongLog {
                expected,
                found: self.head.log_id,
            });
        }
        key.verify(SIGNING_DOMAIN, &self.head.canonical(), &self.signature)?;
        Ok(&self.head)
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// The flat form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Flat {
    log_id: LogId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Digest>,
    root: Digest,
    signature: String,
    time: UnixMillis,
    tree_size: u64,
}

impl Serialize for SignedHead {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Flat {
            log_id: self.head.log_id,
            previous: self.head.previous,
            root: self.head.root,
            signature: BASE64.encode(&self.signature),
            time: self.head.time,
            tree_size: self.head.tree_size,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SignedHead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let flat = Flat::deserialize(deserializer)?;
        if flat.tree_size > MAX_INTEGER {
            return Err(D::Error::custom(format_args!(
                "`tree_size` {} is beyond 2^53 - 1",
                flat.tree_size
            )));
        }
        let signature = BASE64
            .decode(&flat.signature)
            .map_err(|_| D::Error::custom("`signature` is not base64"))?;
        Ok(Self {
            head: Head {
                log_id: flat.log_id,
                previous: flat.previous,
                root: flat.root,
                time: flat.time,
                tree_size: flat.tree_size,
            },
            signature,
        })
    }
}

/// Why something is no signed head.
#[derive(Debug, thiserror::Error)]
pub enum InvalidHead {
    /// Over [`MAX_HEAD`].
    #[error("the head has {0} bytes; at most {MAX_HEAD} are allowed")]
    TooLarge(usize),
    /// Not the JSON of a signed head.
    #[error("not a signed head: {0}")]
    Json(#[from] serde_json::Error),
}

/// Why a head is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnverifiedHead {
    /// It names another log.
    #[error("the head is of the log {found}, not of {expected}, whose key was given")]
    WrongLog {
        /// The log of the key.
        expected: LogId,
        /// The log of the head.
        found: LogId,
    },
    /// The log did not sign it.
    #[error("the signature of the head is not one of the log's key")]
    Signature(#[from] BadSignature),
}

/// What two heads show about a log that is not faithful.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// They are of two logs.
    #[error("the heads are of two logs, {expected} and {found}")]
    OtherLog {
        /// The log of the one.
        expected: LogId,
        /// The log of the other.
        found: LogId,
    },
    /// Two histories of the same length.
    #[error("the log signed two histories of {size} entries: it was forked")]
    Fork {
        /// How many entries both have.
        size: u64,
    },
    /// Two heads signed after the same one.
    #[error(
        "the log signed two heads, of {one} and of {other} entries, after the same one: it was set \
         back between them"
    )]
    SamePrevious {
        /// Entries of the one.
        one: u64,
        /// Entries of the other.
        other: u64,
    },
    /// Fewer entries than before.
    #[error("the log had {seen} entries and has {now} now: it was set back")]
    Rollback {
        /// How many were seen.
        seen: u64,
        /// How many there are.
        now: u64,
    },
}

#[cfg(test)]
mod tests {
    use mse_crypto::signing::Algorithm;

    use super::*;

    fn head(key: &SigningKey, tree_size: u64, root: &str, previous: Option<&Head>) -> Head {
        Head {
            log_id: LogId::of(&key.public()),
            previous: previous.map(Head::digest),
            root: Digest::of(root.as_bytes()),
            time: UnixMillis::try_from(1000).unwrap(),
            tree_size,
        }
    }

    #[test]
    fn a_head_is_believed_as_it_was_signed_only() {
        for algorithm in [Algorithm::Ed25519, Algorithm::P384] {
            let key = SigningKey::generate(algorithm);
            let signed = head(&key, 7, "a", None).sign(&key);
            assert_eq!(signed.verify(&key.public()), Ok(signed.head()));
            let json = signed.to_json();
            assert!(json.len() <= MAX_HEAD);
            assert_eq!(SignedHead::from_json(&json).unwrap(), signed);

            let other = SigningKey::generate(algorithm);
            assert!(matches!(
                signed.verify(&other.public()),
                Err(UnverifiedHead::WrongLog { .. })
            ));
            let text = String::from_utf8(json).unwrap();
            let root = signed.head().root.to_string();
            for (from, to) in [
                (r#""tree_size":7"#, r#""tree_size":8"#),
                (r#""time":1000"#, r#""time":1001"#),
                (&root, &Digest::of(b"b").to_string()),
                (r#""root""#, &format!(r#""previous":"{root}","root""#)),
            ] {
                let changed = text.replacen(from, to, 1);
                assert_ne!(changed, text);
                let changed = SignedHead::from_json(changed.as_bytes()).unwrap();
                assert_eq!(
                    changed.verify(&key.public()),
                    Err(UnverifiedHead::Signature(BadSignature))
                );
            }
            for bad in [
                text.replacen(r#""time":1000"#, r#""time":1000,"x":1"#, 1),
                text.replacen(r#""tree_size":7"#, r#""tree_size":9007199254740992"#, 1),
                text.replacen(r#""signature":""#, r#""signature":"*"#, 1),
                format!("{text}{}", " ".repeat(MAX_HEAD)),
            ] {
                assert!(SignedHead::from_json(bad.as_bytes()).is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn a_signature_for_another_purpose_is_none_for_a_head() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let head = head(&key, 1, "a", None);
        let signature = key.sign("mse-other-v1", &head.canonical());
        let signed = SignedHead { head, signature };
        assert!(signed.verify(&key.public()).is_err());
    }

    #[test]
    fn two_heads_show_forks_and_rollbacks() {
        let key = SigningKey::generate(Algorithm::Ed25519);
        let first = head(&key, 1, "a", None);
        let second = head(&key, 2, "b", Some(&first));
        let third = head(&key, 3, "c", Some(&second));
        assert_eq!(second.follows(&first), Ok(()));
        assert_eq!(third.follows(&first), Ok(()));
        assert_eq!(third.follows(&third), Ok(()));
        // The same state, signed again later.
        let again = head(&key, 2, "b", Some(&second));
        assert_eq!(again.follows(&second), Ok(()));
        assert_eq!(
            first.follows(&third),
            Err(Conflict::Rollback { seen: 3, now: 1 })
        );
        assert_eq!(first.agrees_with(&third), Ok(()));
        let other = head(&key, 2, "x", Some(&third));
        assert_eq!(other.agrees_with(&second), Err(Conflict::Fork { size: 2 }));
        let set_back = head(&key, 5, "y", Some(&second));
        assert_eq!(
            set_back.follows(&third),
            Err(Conflict::SamePrevious { one: 3, other: 5 })
        );
        let stranger = SigningKey::generate(Algorithm::Ed25519);
        assert!(matches!(
            head(&stranger, 5, "y", None).follows(&third),
            Err(Conflict::OtherLog { .. })
        ));
    }
}
