//! The values of one session as the store keeps them: all in one cell, so that a session and its
//! values change together.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use mse_crypto::Zeroizing;
use mse_secrets::{Validity, Value, Versioned};
use mse_session::{SecretName, SessionHash};

use crate::sources::Freshness;
use crate::store::SecretId;
use crate::values::Values;

/// The values of a session's own secrets: not those that it imports.
#[derive(Clone)]
pub(super) struct Vault {
    /// The version of the session that they were made for.
    pub(super) made_for: SessionHash,
    pub(super) secrets: BTreeMap<SecretName, Held>,
}

/// A value with its predecessor, and where it is from.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) value: Versioned<Value>,
    /// Whether the owner gave it, in place of what the session says.
    pub(super) is_given: bool,
    /// Of a value that is kept outside of the CAS.
    pub(super) fetched: Option<Fetch>,
    /// From when on the current value is the one to show, seconds since 1970: half of the grace.
    pub(super) presented_at: Option<u64>,
}

impl Held {
    /// A value that nobody gave and that was never another.
    pub(super) fn new(value: Value) -> Self {
        Self {
            value: Versioned::new(value),
            is_given: false,
            fetched: None,
            presented_at: None,
        }
    }

    /// Makes `value` the current one; gives its number. The one before is accepted for the grace.
    pub(super) fn rotate(&mut self, value: Value, now: SystemTime, grace: Option<Validity>) -> u64 {
        self.presented_at = grace
            .and_then(|grace| now.checked_add(grace.duration() / 2))
            .map(seconds);
        self.value.rotate(value, now, grace)
    }

    /// When the value to show is another.
    pub(super) fn presented_at(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.presented_at?))
    }
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// When a value was fetched, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    /// Its number, where the source counts versions.
    pub(super) version: Option<u64>,
    /// When it is to be fetched again, seconds since 1970.
    pub(super) refresh_at: Option<u64>,
}

impl Fetch {
    /// Fetched at `now`.
    pub(super) fn at(freshness: Freshness, now: SystemTime) -> Self {
        let refresh_at = freshness
            .refresh_after
            .and_then(|after| now.checked_add(after))
            .map(seconds);
        Self {
            version: freshness.version,
            refresh_at,
        }
    }

    fn to_bytes(self) -> [u8; 16] {
        let number = |value: Option<u64>| value.unwrap_or(u64::MAX).to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number(self.version));
        bytes[8..].copy_from_slice(&number(self.refresh_at));
        bytes
    }

    fn from_bytes(bytes: &[u8; 16]) -> Self {
        let (version, refresh_at) = bytes.split_at(8);
        let number = |bytes: &[u8]| {
            let number = bytes.try_into().map_or(u64::MAX, u64::from_be_bytes);
            (number != u64::MAX).then_some(number)
        };
        Self {
            version: number(version),
            refresh_at: number(refresh_at),
        }
    }
}

impl Vault {
    /// Under which name the store has it: no secret of a session has this name.
    pub(super) const CELL: &str = "/values";

    /// Which of the store's secrets it is.
    pub(super) fn id(session: &str, number: u64) -> SecretId {
        SecretId {
            session: session.to_owned(),
            name: Self::CELL.to_owned(),
            version: number,
        }
    }

    /// The number of the newest among what the store has of a session.
    pub(super) fn newest(ids: &[SecretId]) -> Option<u64> {
        ids.iter()
            .filter(|id| id.name == Self::CELL)
            .map(|id| id.version)
            .max()
    }

    /// When the first of the values that are kept outside is to be fetched again.
    pub(super) fn refresh_at(&self) -> Option<u64> {
        let fetched = self.secrets.values().filter_map(|held| held.fetched);
        fetched.filter_map(|fetched| fetched.refresh_at).min()
    }

    /// What is known of values that are kept outside.
    pub(super) fn freshness(&self) -> BTreeMap<SecretName, Freshness> {
        self.secrets
            .iter()
            .filter_map(|(name, held)| {
                let version = held.fetched?.version;
                let freshness = Freshness {
                    version,
                    refresh_after: None,
                };
                Some((name.clone(), freshness))
            })
            .collect()
    }

    /// The values that count at `now`.
    pub(super) fn values(&self, now: SystemTime) -> Values {
        let current = self
            .secrets
            .iter()
            .map(|(name, held)| (name.clone(), held.value.current().value.clone()));
        self.secrets
            .iter()
            .filter_map(|(name, held)| {
                let before = held.value.accepted(now).nth(1)?;
                let is_presented = held.presented_at().is_some_and(|at| now < at);
                Some((name.clone(), before.value.clone(), is_presented))
            })
            .fold(
                Values::of(current),
                |values, (name, value, is_presented)| {
                    values.with_previous(name, value, is_presented)
                },
            )
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(self.made_for.0.to_vec());
        for (name, held) in &self.secrets {
            field(&mut bytes, name.as_str().as_bytes());
            let mut about = vec![u8::from(held.is_given)];
            about.extend(held.presented_at.unwrap_or(u64::MAX).to_be_bytes());
            about.extend(held.fetched.map(Fetch::to_bytes).into_iter().flatten());
            field(&mut bytes, &about);
            field(&mut bytes, &held.value.to_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (made_for, mut rest) = bytes.split_first_chunk()?;
        let mut secrets = BTreeMap::new();
        while !rest.is_empty() {
            let name = std::str::from_utf8(take(&mut rest)?).ok()?.parse().ok()?;
            let (given, about) = take(&mut rest)?.split_first()?;
            let (presented_at, fetched) = about.split_first_chunk()?;
            let presented_at = u64::from_be_bytes(*presented_at);
            let is_given = match given {
                0 => false,
                1 => true,
                _ => return None,
            };
            let fetched = match fetched {
                [] => None,
                bytes => Some(Fetch::from_bytes(bytes.try_into().ok()?)),
            };
            let value = Versioned::from_bytes(take(&mut rest)?).ok()?;
            secrets.insert(
                name,
                Held {
                    value,
                    is_given,
                    fetched,
                    presented_at: (presented_at != u64::MAX).then_some(presented_at),
                },
            );
        }
        Some(Self {
            made_for: SessionHash(*made_for),
            secrets,
        })
    }
}

fn field(bytes: &mut Zeroizing<Vec<u8>>, content: &[u8]) {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    // Growing in place leaves copies behind, so room is made anew.
    let mut grown = Zeroizing::new(Vec::with_capacity(bytes.len() + 4 + content.len()));
    grown.extend_from_slice(bytes);
    grown.extend_from_slice(&length.to_be_bytes());
    grown.extend_from_slice(content);
    *bytes = grown;
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (content, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(content)
}

#[cfg(test)]
mod tests {
    use mse_secrets::{Given, Kind};
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Given::parse(Kind::Ascii, text).unwrap().value().clone()
    }

    #[test]
    fn a_vault_is_read_as_it_was_written_and_nothing_else_is() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let mut rotated = Versioned::new(text("one"));
        rotated.rotate(text("two"), now, Some("100s".parse().unwrap()));
        let fetched = Some(Fetch {
            version: Some(7),
            refresh_at: None,
        });
        let held = |value, is_given| Held {
            value,
            is_given,
            fetched: fetched.filter(|_| is_given),
            presented_at: Some(9).filter(|_| !is_given),
        };
        let vault = Vault {
            made_for: SessionHash([5; 32]),
            secrets: [
                ("a".parse().unwrap(), held(rotated, false)),
                ("b".parse().unwrap(), held(Versioned::new(text("")), true)),
            ]
            .into(),
        };
        let bytes = vault.to_bytes();
        let again = Vault::from_bytes(&bytes).unwrap();
        assert_eq!(again.to_bytes(), bytes);
        assert_eq!(again.made_for, vault.made_for);
        let given = &again.secrets[&"b".parse().unwrap()];
        assert!(given.is_given);
        assert_eq!(given.fetched, fetched);
        for cut in 33..bytes.len() {
            let whole = Vault::from_bytes(&bytes[..cut]).map(|vault| vault.secrets.len());
            assert!(whole.is_none_or(|count| count == 1), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Vault::from_bytes(&bytes);
        }
    }
}
