//! The header of a backing directory: the only bytes that are read before any key is used.

use std::fmt;
use std::str::FromStr;

use mse_crypto::random;
use serde::{Deserialize, Serialize};

const VERSION: &str = "mse-volume-v1";
/// The header has exactly one form, and it is no longer than this.
pub(crate) const MAX_HEADER: usize = 128;

/// What the host can learn of the files. Names, sizes, modes and links are sealed in both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Contents are sealed.
    #[default]
    Encrypted,
    /// Contents are stored in clear, in chunks; whoever changes one is found out.
    AuthenticatedOnly,
}

impl Protection {
    /// As it is written in a session: `encrypted`, `authenticated-only`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::AuthenticatedOnly => "authenticated-only",
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protection {
    type Err = InvalidProtection;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Encrypted, Self::AuthenticatedOnly]
            .into_iter()
            .find(|protection| protection.as_str() == text)
            .ok_or_else(|| InvalidProtection(text.chars().take(40).collect()))
    }
}

/// No such protection.
#[derive(Debug, thiserror::Error)]
#[error("`files: {0}` is unknown: `encrypted` or `authenticated-only` is expected")]
pub struct InvalidProtection(String);

/// Version, a random id and the protection. Keys are derived with it and roots cover it, so one
/// that was changed opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    id: [u8; 16],
    pub(crate) protection: Protection,
}

impl Header {
    pub(crate) fn new(protection: Protection) -> Self {
        Self {
            id: random::bytes(),
            protection,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        format!("{VERSION}\n{}\n{}\n", hex::encode(self.id), self.protection).into_bytes()
    }

    /// Reads what [`Header::encode`] makes, and nothing else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines().skip(1);
        let mut id = [0; 16];
        hex::decode_to_slice(lines.next()?, &mut id).ok()?;
        let header = Self {
            id,
            protection: lines.next()?.parse().ok()?,
        };
        (header.encode() == bytes).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn one_form_only(at in any::<prop::sample::Index>(), flip in 1u8..=255, junk: Vec<u8>) {
            for protection in [Protection::Encrypted, Protection::AuthenticatedOnly] {
                let header = Header::new(protection);
                let bytes = header.encode();
                prop_assert!(bytes.len() <= MAX_HEADER);
                prop_assert_eq!(Header::decode(&bytes), Some(header));
                let mut changed = bytes.clone();
                changed[at.index(bytes.len())] ^= flip;
                prop_assert_ne!(Header::decode(&changed), Some(header));
                prop_assert_eq!(Header::decode(&[&bytes[..], &junk].concat()).is_some(), junk.is_empty());
            }
            prop_assert_eq!(Header::decode(&junk), None);
        }
    }

    #[test]
    fn protections_are_named_as_in_sessions() {
        for protection in [Protection::Encrypted, Protection::AuthenticatedOnly] {
            assert_eq!(
                protection.as_str().parse::<Protection>().unwrap(),
                protection
            );
            assert_eq!(
                serde_json::to_value(protection).unwrap(),
                serde_json::json!(protection.as_str())
            );
        }
        assert!("clear".parse::<Protection>().is_err());
    }
}
