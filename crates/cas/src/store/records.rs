//! What the store keeps, as its callers see it, and the form in which it is sealed.

use jiff::Timestamp;
use mse_crypto::{Digest, Zeroizing};

use super::codec::{Decoder, Encoder, Malformed};

/// The current state of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHead {
    /// Number of the current version; the first is 1.
    pub number: u64,
    /// Its hash.
    pub hash: Digest,
    /// Whether it may still be used.
    pub state: SessionState,
}

/// Whether a session may be used. Sessions are never deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It may.
    Active,
    /// Never again: it cannot be updated either.
    Revoked,
}

/// A version of a session that is to be stored.
#[derive(Clone)]
pub struct NewVersion {
    /// Its hash, by the rules of the session language: opaque here.
    pub hash: Digest,
    /// What it says: opaque here.
    pub text: Zeroizing<Vec<u8>>,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// A stored version of a session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionVersion {
    /// Its number; the first is 1.
    pub number: u64,
    /// Its hash.
    pub hash: Digest,
    /// Hash of the version that it replaced; none for the first.
    pub predecessor: Option<Digest>,
    /// What it says.
    pub text: Zeroizing<Vec<u8>>,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// Which secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretId {
    /// The session that owns it.
    pub session: String,
    /// Its name there.
    pub name: String,
    /// Its version; what a version means is for the session language.
    pub version: u64,
}

/// The newest state of a volume that a service reported.
#[derive(Clone, PartialEq, Eq)]
pub struct VolumeRoot {
    /// The volume's own counter.
    pub sequence: u64,
    /// Its root (hash, tag and keys: opaque here).
    pub root: Zeroizing<Vec<u8>>,
}

/// A proposed version that waits for approvals.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Names it; usually the digest of what is proposed.
    pub id: Digest,
    /// What is proposed.
    pub text: Zeroizing<Vec<u8>>,
    /// When it lapses.
    pub expires_at: Timestamp,
}

/// What one signer said to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Hash of the signer's key.
    pub signer: Digest,
    /// The signature: opaque here.
    pub signature: Vec<u8>,
    /// Whether the signer took it back.
    pub withdrawn: bool,
}

/// The form in which a record is sealed.
pub(super) trait Record: Sized {
    fn encode(&self) -> Zeroizing<Vec<u8>>;
    fn decode(bytes: &[u8]) -> Result<Self, Malformed>;
}

impl Record for SessionHead {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoder = Encoder::default();
        encoder.u64(self.number);
        encoder.fixed(self.hash.as_ref());
        encoder.u8(match self.state {
            SessionState::Active => 0,
            SessionState::Revoked => 1,
        });
        encoder.finish_secret()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let head = Self {
            number: decoder.u64()?,
            hash: Digest(decoder.fixed()?),
            state: match decoder.u8()? {
                0 => SessionState::Active,
                1 => SessionState::Revoked,
                _ => return Err(Malformed),
            },
        };
        decoder.end()?;
        Ok(head)
    }
}

impl Record for SessionVersion {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoder = Encoder::with_room_for(self.text.len() + 128);
        encoder.u64(self.number);
        encoder.fixed(self.hash.as_ref());
        encoder.optional_digest(self.predecessor.as_ref());
        encoder.i64(self.created_at.as_millisecond());
        encoder.bytes(&self.text);
        encoder.finish_secret()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let version = Self {
            number: decoder.u64()?,
            hash: Digest(decoder.fixed()?),
            predecessor: decoder.optional_digest()?,
            created_at: time(decoder.i64()?)?,
            text: Zeroizing::new(decoder.bytes(MAX_VALUE)?.to_vec()),
        };
        decoder.end()?;
        Ok(version)
    }
}

impl Record for VolumeRoot {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoder = Encoder::with_room_for(self.root.len() + 16);
        encoder.u64(self.sequence);
        encoder.bytes(&self.root);
        encoder.finish_secret()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let root = Self {
            sequence: decoder.u64()?,
            root: Zeroizing::new(decoder.bytes(MAX_VALUE)?.to_vec()),
        };
        decoder.end()?;
        Ok(root)
    }
}

impl Record for Proposal {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoder = Encoder::with_room_for(self.text.len() + 64);
        encoder.fixed(self.id.as_ref());
        encoder.i64(self.expires_at.as_millisecond());
        encoder.bytes(&self.text);
        encoder.finish_secret()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let proposal = Self {
            id: Digest(decoder.fixed()?),
            expires_at: time(decoder.i64()?)?,
            text: Zeroizing::new(decoder.bytes(MAX_VALUE)?.to_vec()),
        };
        decoder.end()?;
        Ok(proposal)
    }
}

impl Record for Approval {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoder = Encoder::default();
        encoder.fixed(self.signer.as_ref());
        encoder.u8(u8::from(self.withdrawn));
        encoder.bytes(&self.signature);
        encoder.finish_secret()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let approval = Self {
            signer: Digest(decoder.fixed()?),
            withdrawn: match decoder.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed),
            },
            signature: decoder.bytes(MAX_VALUE)?.to_vec(),
        };
        decoder.end()?;
        Ok(approval)
    }
}

/// How far the audit log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogTail {
    pub(super) size: u64,
    pub(super) state: Vec<u8>,
}

impl Record for LogTail {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoder = Encoder::default();
        encoder.u64(self.size);
        encoder.bytes(&self.state);
        encoder.finish_secret()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let tail = Self {
            size: decoder.u64()?,
            state: decoder.bytes(MAX_VALUE)?.to_vec(),
        };
        decoder.end()?;
        Ok(tail)
    }
}

/// Values that are kept as they are.
impl Record for Zeroizing<Vec<u8>> {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        self.clone()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self::new(bytes.to_vec()))
    }
}

/// A time as the store keeps it: milliseconds since the Unix epoch.
pub(super) fn time(milliseconds: i64) -> Result<Timestamp, Malformed> {
    Timestamp::from_millisecond(milliseconds).map_err(|_| Malformed)
}

/// How it shows that a value is not what this version writes.
pub(super) const MALFORMED: &str = "its value is not as this version writes it";

/// Longest value of a cell, in bytes.
pub const MAX_VALUE: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trips<R: Record + PartialEq>(record: &R) -> bool {
        let encoded = record.encode();
        let cut = R::decode(&encoded[..encoded.len() - 1]).is_err();
        let longer = R::decode(&[&encoded[..], &[0]].concat()).is_err();
        R::decode(&encoded).is_ok_and(|decoded| decoded == *record) && cut && longer
    }

    proptest! {
        #[test]
        fn records_round_trip(
            number in any::<u64>(),
            hash in any::<[u8; 32]>(),
            predecessor in prop::option::of(any::<[u8; 32]>()),
            text in prop::collection::vec(any::<u8>(), 0..50),
            flag in any::<bool>(),
            millis in -377_705_116_800_000_i64..253_402_207_200_000,
        ) {
            let hash = Digest(hash);
            let at = Timestamp::from_millisecond(millis).unwrap();
            let state = if flag { SessionState::Active } else { SessionState::Revoked };
            let secret = Zeroizing::new(text.clone());
            let head = SessionHead { number, hash, state };
            prop_assert!(round_trips(&head));
            let version = SessionVersion {
                number,
                hash,
                predecessor: predecessor.map(Digest),
                text: secret.clone(),
                created_at: at,
            };
            prop_assert!(round_trips(&version));
            let root = VolumeRoot { sequence: number, root: secret.clone() };
            prop_assert!(round_trips(&root));
            let proposal = Proposal { id: hash, text: secret, expires_at: at };
            prop_assert!(round_trips(&proposal));
            let approval = Approval { signer: hash, signature: text.clone(), withdrawn: flag };
            prop_assert!(round_trips(&approval));
            let tail = LogTail { size: number, state: text };
            prop_assert!(round_trips(&tail));
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = SessionHead::decode(&bytes);
            let _ = SessionVersion::decode(&bytes);
            let _ = VolumeRoot::decode(&bytes);
            let _ = Proposal::decode(&bytes);
            let _ = Approval::decode(&bytes);
            let _ = LogTail::decode(&bytes);
        }
    }
}
