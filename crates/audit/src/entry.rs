//! What one line of the log says: an event, when, about which session, by whom.

mod event;
#[cfg(test)]
mod tests;
mod words;

pub use event::{Event, ExitReason, SessionOperation, UnrecognisedEvent};
pub use words::{
    CheckName, InvalidWord, KeyHash, MAX_TIME, Measurement, Name, Salt, TeeName, UnixMillis,
};

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

use crate::tree;

/// An entry in its canonical form is never larger: 8 KiB.
pub const MAX_ENTRY: usize = 8 * 1024;

/// The largest number that JSON carries exactly everywhere (RFC 8785): 2^53 - 1.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// An entry of the log.
///
/// The canonical form, RFC 8785 (JCS) JSON, is the data of the leaf: what precedes an entry is
/// bound to it by the tree, not by the entry. It carries no secret and no value of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Who asked: the hash of the key that authenticated. Missing when it is the CAS itself, or
    /// nobody that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<KeyHash>,
    /// What happened.
    pub event: Event,
    /// The entry's number, from 0.
    pub index: u64,
    /// Hides the entry from who sees only its hash, as the neighbours in a proof.
    pub salt: Salt,
    /// What it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionVersion>,
    /// When, by the clock of the CAS, which may go backwards: order is what `index` says.
    pub time: UnixMillis,
}

/// A session, and the version of it that an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionVersion {
    /// The session's hash; missing when there is none yet, or none that the actor may know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Digest>,
    /// The session's name with its namespaces.
    pub name: Name,
}

impl Entry {
    /// Reads the canonical form, and nothing but that: other spacing, order, unknown fields of
    /// known events, fields given twice, or more than [`MAX_ENTRY`] bytes are refused.
    pub fn from_canonical(json: &[u8]) -> Result<Self, InvalidEntry> {
        if json.len() > MAX_ENTRY {
            return Err(InvalidEntry::TooLarge(json.len()));
        }
        let entry: Self = serde_json::from_slice(json)?;
        entry.check()?;
        if entry.write()? == json {
            Ok(entry)
        } else {
            Err(InvalidEntry::NotCanonical)
        }
    }

    /// The canonical form: what the leaf's hash is over.
    pub fn to_canonical(&self) -> Result<Vec<u8>, InvalidEntry> {
        self.check()?;
        let json = self.write()?;
        if json.len() > MAX_ENTRY {
            return Err(InvalidEntry::TooLarge(json.len()));
        }
        Ok(json)
    }

    /// The hash of the leaf.
    pub fn leaf_hash(&self) -> Result<Digest, InvalidEntry> {
        Ok(tree::leaf_hash(&self.to_canonical()?))
    }

    /// The rules that the types alone do not express.
    fn check(&self) -> Result<(), InvalidEntry> {
        if self.index > MAX_INTEGER {
            return Err(InvalidEntry::Index(self.index));
        }
        if self.event.concerns_a_session() && self.session.is_none() {
            return Err(InvalidEntry::NoSession(self.event.name().to_owned()));
        }
        self.event.check_numbers()
    }

    fn write(&self) -> Result<Vec<u8>, InvalidEntry> {
        Ok(serde_json_canonicalizer::to_vec(self)?)
    }
}

/// Why something is no entry.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEntry {
    /// Over [`MAX_ENTRY`].
    #[error("the entry has {0} bytes; at most {MAX_ENTRY} are allowed")]
    TooLarge(usize),
    /// Not the JSON of an entry.
    #[error("not an entry: {0}")]
    Json(#[from] serde_json::Error),
    /// Written in another way than the canonical one.
    #[error("the entry is not in canonical form (RFC 8785), or has a field that it must not have")]
    NotCanonical,
    /// Over [`MAX_INTEGER`].
    #[error("index {0} is beyond 2^53 - 1, the largest that JSON carries")]
    Index(u64),
    /// A number of the event is over [`MAX_INTEGER`].
    #[error("`event.{field}` is {value}, beyond 2^53 - 1, the largest that JSON carries")]
    Number {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The event is about a session, and there is none.
    #[error("an event `{0}` needs `session`")]
    NoSession(String),
}
