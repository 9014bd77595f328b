//! Recovery of the root key by people: so many of them together, and no fewer.
//!
//! Each gets a share (Shamir, 1979, over GF(2^8), byte by byte). Fewer shares than the threshold say
//! nothing at all about the key, whoever holds them. A share is text to be printed or written down:
//!
//! ```text
//! mse1q8zu4-…, Bech32m in groups of five, of
//! version (1, = 1) ‖ key id (12) ‖ split (2) ‖ threshold (1) ‖ index (1) ‖ share (32)
//! ```
//!
//! The key id says which key it is of, and proves what comes out of [`combine`]; the split tells apart
//! the shares that were dealt at different times, which do not go together.

mod gf256;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mse_crypto::{Zeroizing, random};

use super::{KeyId, RootKey};

pub use text::Place;

/// One person's share of a root key. Wiped when dropped; it has no `Debug`, and is shown only when
/// asked for with [`Share::to_text`].
#[derive(Clone)]
pub struct Share {
    about: About,
    index: u8,
    value: Zeroizing<[u8; 32]>,
}

/// What all shares that go together have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct About {
    key: KeyId,
    split: u16,
    threshold: u8,
}

impl Share {
    /// Which root key it is of.
    pub fn key(&self) -> KeyId {
        self.about.key
    }

    /// How many shares recover the key.
    pub fn threshold(&self) -> u8 {
        self.about.threshold
    }

    /// Which share of its split it is, from 1.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// The share as text to write down. Secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
        bytes.push(VERSION);
        bytes.extend(self.about.key.0);
        bytes.extend(self.about.split.to_be_bytes());
        bytes.extend([self.about.threshold, self.index]);
        bytes.extend(self.value.iter());
        text::encode(&bytes)
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    /// Spaces, hyphens, line breaks and case do not matter.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text::decode(text)?;
        let (version, rest) = bytes.split_first().ok_or(InvalidShare::NotAShare)?;
        if *version != VERSION {
            return Err(InvalidShare::Version(*version));
        }
        let length = || InvalidShare::Impossible;
        let (key, rest) = rest.split_first_chunk::<12>().ok_or_else(length)?;
        let (split, rest) = rest.split_first_chunk::<2>().ok_or_else(length)?;
        let ([threshold, index], rest) = rest.split_first_chunk::<2>().ok_or_else(length)?;
        let value = <[u8; 32]>::try_from(rest).map_err(|_| length())?;
        if *threshold < MIN_THRESHOLD || *index == 0 {
            return Err(InvalidShare::Impossible);
        }
        Ok(Self {
            about: About {
                key: KeyId(*key),
                split: u16::from_be_bytes(*split),
                threshold: *threshold,
            },
            index: *index,
            value: Zeroizing::new(value),
        })
    }
}

/// Which share, and nothing of its value.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "share {} of root key {} ({} are needed)",
            self.index, self.about.key, self.about.threshold
        )
    }
}

/// Splits a root key among `people`, of whom any `threshold` recover it.
pub fn split(key: &RootKey, threshold: u8, people: u8) -> Result<Vec<Share>, InvalidSplit> {
    if threshold < MIN_THRESHOLD {
        return Err(InvalidSplit::Threshold(threshold));
    }
    if people < threshold {
        return Err(InvalidSplit::People { threshold, people });
    }
    let about = About {
        key: key.id(),
        split: u16::from_be_bytes(random::bytes()),
        threshold,
    };
    // The key is what the polynomials are at 0; the other coefficients are random.
    let others: Vec<_> = (1..threshold).map(|_| random::secret_bytes()).collect();
    Ok(deal(key, about, &others, people))
}

/// The values of the polynomials, one for each byte of the key, at 1, 2, …
fn deal(key: &RootKey, about: About, others: &[Zeroizing<[u8; 32]>], people: u8) -> Vec<Share> {
    let share = |index: u8| {
        let mut value = Zeroizing::new([0; 32]);
        for (at, byte) in value.iter_mut().enumerate() {
            let others = others.iter().map(|coefficients| coefficients[at]);
            *byte = gf256::evaluate(key.expose()[at], others, index);
        }
        Share {
            about,
            index,
            value,
        }
    };
    (1..=people).map(share).collect()
}

/// The root key out of shares: at least as many different ones as they say are needed, of one
/// split. The same share given twice counts once.
pub fn combine(shares: &[Share]) -> Result<RootKey, CombineError> {
    let about = shares.first().ok_or(CombineError::None)?.about;
    let mut by_index: BTreeMap<u8, &Share> = BTreeMap::new();
    for share in shares {
        if share.about.key != about.key {
            return Err(CombineError::OtherKey {
                index: share.index,
                key: share.about.key,
                expected: about.key,
            });
        }
        if share.about != about {
            return Err(CombineError::OtherSplit { index: share.index });
        }
        if let Some(same) = by_index.insert(share.index, share)
            && *same.value != *share.value
        {
            return Err(CombineError::Contradiction { index: share.index });
        }
    }
    let threshold = usize::from(about.threshold);
    if by_index.len() < threshold {
        return Err(CombineError::TooFew {
            given: by_index.len(),
            needed: about.threshold,
        });
    }
    let chosen: Vec<&Share> = by_index.values().take(threshold).copied().collect();
    let key = interpolate(&chosen);
    if key.id() == about.key {
        return Ok(key);
    }
    Err(CombineError::Wrong {
        key: about.key,
        indices: chosen.iter().map(|share| share.index).collect(),
    })
}

fn interpolate(shares: &[&Share]) -> RootKey {
    let points: Vec<_> = shares.iter().map(|share| share.index).collect();
    let weights = gf256::weights_at_zero(&points);
    let mut bytes = Zeroizing::new([0; 32]);
    for (share, weight) in shares.iter().zip(weights) {
        for (sum, value) in bytes.iter_mut().zip(share.value.iter()) {
            *sum ^= gf256::multiply(weight, *value);
        }
    }
    RootKey::from_bytes(*bytes)
}

/// Why a text is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidShare {
    /// It is something else.
    #[error("this is no key share: one begins with `mse1`")]
    NotAShare,
    /// Characters are missing or too many.
    #[error(
        "the share has {0} characters after `mse1` instead of {CHARACTERS}; compare it with the paper"
    )]
    Length(usize),
    /// Far too many characters.
    #[error(
        "the share has more than {CHARACTERS} characters after `mse1`; give one share at a time"
    )]
    TooLong,
    /// A character that no share has.
    #[error(
        "`{character}` ({place}) occurs in no share; `b`, `i`, `o` and `1` are never used: was it `8`, `l` or `0`?"
    )]
    Character {
        /// The character.
        character: char,
        /// Where.
        place: Place,
    },
    /// One character is another one.
    #[error("the share is mistyped: {0} is probably wrong; compare it with the paper")]
    OneWrong(Place),
    /// The checksum is wrong.
    #[error("the share is mistyped in more than one place; compare all of it with the paper")]
    SeveralWrong,
    /// A newer form.
    #[error(
        "the share is of version {0}, and this mse-cas knows version {VERSION}; use a newer one"
    )]
    Version(u8),
    /// A length, a threshold or an index that no share has.
    #[error("the share holds what no share of mse-cas holds, though its checksum is right")]
    Impossible,
}

impl From<text::Mistyped> for InvalidShare {
    fn from(mistyped: text::Mistyped) -> Self {
        match mistyped {
            text::Mistyped::NotAShare => Self::NotAShare,
            text::Mistyped::TooLong => Self::TooLong,
            text::Mistyped::Character { character, place } => Self::Character { character, place },
            text::Mistyped::Checksum { characters, .. } if characters != CHARACTERS => {
                Self::Length(characters)
            }
            text::Mistyped::Checksum { suspect, .. } => {
                suspect.map_or(Self::SeveralWrong, Self::OneWrong)
            }
        }
    }
}

/// Why a key cannot be split so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSplit {
    /// A threshold that makes each share the key.
    #[error(
        "a threshold of {0} would make each share the key itself; at least {MIN_THRESHOLD} people have to be needed"
    )]
    Threshold(u8),
    /// More are needed than there are.
    #[error("{people} people can never be {threshold}: deal at least as many shares as are needed")]
    People {
        /// How many are needed.
        threshold: u8,
        /// How many there are.
        people: u8,
    },
}

/// Why shares give no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// Nothing was given.
    #[error("no share was given")]
    None,
    /// Not enough.
    #[error("{given} different shares are given, and {needed} are needed; give {} more", usize::from(*needed) - given)]
    TooFew {
        /// How many different ones there are.
        given: usize,
        /// How many there have to be.
        needed: u8,
    },
    /// They are of different keys.
    #[error(
        "share {index} is of root key {key}, and the first one of {expected}; leave out those of the other key"
    )]
    OtherKey {
        /// The share.
        index: u8,
        /// Its key.
        key: KeyId,
        /// The first one's key.
        expected: KeyId,
    },
    /// They were dealt at different times.
    #[error(
        "share {index} was dealt at another time than the first one; only shares of one dealing go together"
    )]
    OtherSplit {
        /// The share.
        index: u8,
    },
    /// Two shares of one index say different things.
    #[error("two different shares of index {index} are given: one of them is forged")]
    Contradiction {
        /// The index.
        index: u8,
    },
    /// What comes out is not the key.
    #[error(
        "shares {indices:?} do not give root key {key}: one of them is forged; try without one after the other"
    )]
    Wrong {
        /// The key they are said to be of.
        key: KeyId,
        /// The shares that were used.
        indices: Vec<u8>,
    },
}

const VERSION: u8 = 1;
const LENGTH: usize = 1 + 12 + 2 + 2 + 32;
/// Five bits each, and six for the checksum.
const CHARACTERS: usize = (LENGTH * 8).div_ceil(5) + 6;
const MIN_THRESHOLD: u8 = 2;

#[cfg(test)]
mod tests;
