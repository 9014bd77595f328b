//! The chain: one link for each transaction, and the sum over all cells.

use std::fmt;

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;
use serde::{Deserialize, Serialize};

use super::cell::{CellId, Kind, MAX_KEY, Seals, Stamp};
use super::codec::{Decoder, Encoder, Malformed};
use super::error::StoreError;
use crate::keys::KeyId;

/// How far a store is: the number of its last transaction and the head of the chain after it.
///
/// The head is SHA-256 over the head before, the number and the digest of what changed. Two
/// positions with the same number and different heads are of stores that went different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Number of the last transaction; 0 for a new store.
    pub sequence: u64,
    /// The chain after it.
    pub head: Digest,
}

impl Position {
    /// Where every store of this id begins.
    pub(super) fn genesis(store: StoreId) -> Self {
        let mut hasher = Hasher::with_domain("mse-cas-genesis-v1");
        hasher.update(&store.0);
        Self {
            sequence: 0,
            head: hasher.finish(),
        }
    }

    /// The position after a transaction that made this change.
    pub(super) fn after(&self, change: &Change) -> Self {
        let sequence = self.sequence + 1;
        let mut hasher = Hasher::with_domain("mse-cas-chain-v1");
        hasher.update(self.head.as_ref());
        hasher.update(&sequence.to_be_bytes());
        hasher.update(Digest::of(&change.encode()).as_ref());
        Self {
            sequence,
            head: hasher.finish(),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.head)
    }
}

/// Tells a store from every other under the same root key: 16 random bytes, made once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// The row of the chain as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainRow {
    pub(super) store: StoreId,
    pub(super) key: KeyId,
    pub(super) position: Position,
    pub(super) sealed: Vec<u8>,
}

impl ChainRow {
    pub(super) fn seal(
        seals: &Seals,
        store: StoreId,
        key: KeyId,
        position: Position,
        sum: Sum,
    ) -> Self {
        let sealed = seals.chain().seal(&about(&position), &sum.to_bytes());
        Self {
            store,
            key,
            position,
            sealed,
        }
    }

    /// The sum over all cells, if the row is what a holder of the root key wrote.
    pub(super) fn open(&self, seals: &Seals) -> Result<Sum, StoreError> {
        seals
            .chain()
            .open(&about(&self.position), &self.sealed)
            .ok()
            .and_then(|opened| <[u8; 32]>::try_from(opened.as_slice()).ok())
            .map(Sum::from_bytes)
            .ok_or(StoreError::ChainTampered {
                sequence: self.position.sequence,
                what: "the seal of the chain's row does not open",
            })
    }
}

/// A row of the history as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HistoryRow {
    pub(super) position: Position,
    pub(super) sealed: Vec<u8>,
}

impl HistoryRow {
    pub(super) fn seal(seals: &Seals, position: Position, change: &Change) -> Self {
        Self {
            position,
            sealed: seals.history().seal(&about(&position), &change.encode()),
        }
    }

    /// The change, if this row follows `before`. A row that a holder of the root key wrote and that
    /// does not follow is of a store that went another way.
    pub(super) fn open_after(
        &self,
        seals: &Seals,
        before: &Position,
    ) -> Result<Change, StoreError> {
        let tampered = |what| StoreError::ChainTampered {
            sequence: before.sequence + 1,
            what,
        };
        if self.position.sequence != before.sequence + 1 {
            return Err(tampered("a row of the history is missing"));
        }
        let opened = seals
            .history()
            .open(&about(&self.position), &self.sealed)
            .map_err(|_| tampered("the seal of a row of the history does not open"))?;
        let change = Change::decode(&opened)
            .map_err(|_| tampered("a row of the history is not as this version writes it"))?;
        if before.after(&change) == self.position {
            Ok(change)
        } else {
            Err(StoreError::Forked {
                sequence: before.sequence,
            })
        }
    }
}

/// Which cells a transaction changed, in the order of their ids; each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change(pub(super) Vec<CellChange>);

/// What became of one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CellChange {
    pub(super) id: CellId,
    /// Its new stamp; `None`: it was removed.
    pub(super) to: Option<Stamp>,
}

impl Change {
    fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::default();
        for CellChange { id, to } in &self.0 {
            encoder.u64(id.kind.number().unsigned_abs());
            encoder.bytes(&id.key);
            match to {
                None => encoder.u8(0),
                Some(stamp) => {
                    encoder.u8(1);
                    encoder.u64(stamp.sequence);
                    encoder.optional_i64(stamp.expires);
                    encoder.fixed(&stamp.tag);
                }
            }
        }
        encoder.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(bytes);
        let mut changes = Vec::new();
        while !decoder.is_empty() {
            let kind = i64::try_from(decoder.u64()?)
                .ok()
                .and_then(Kind::from_number)
                .ok_or(Malformed)?;
            let key = decoder.bytes(MAX_KEY)?.to_vec();
            let to = match decoder.u8()? {
                0 => None,
                1 => Some(Stamp {
                    sequence: decoder.u64()?,
                    expires: decoder.optional_i64()?,
                    tag: decoder.fixed()?,
                }),
                _ => return Err(Malformed),
            };
            changes.push(CellChange {
                id: CellId { kind, key },
                to,
            });
        }
        Ok(Self(changes))
    }
}

/// A hash over the set of all cells that is updated by the cells that change: the sum modulo 2^256
/// of one unforeseeable number for each (an MSet-Add-Hash of Clarke et al., 2003; the sum itself
/// is kept sealed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum([u64; 4]);

impl Sum {
    pub(super) fn add(&mut self, element: &[u8; 32]) {
        let mut carry = false;
        for (mine, other) in self.0.iter_mut().zip(Self::from_bytes(*element).0) {
            let (sum, first) = mine.overflowing_add(other);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            *mine = sum;
            carry = first || second;
        }
    }

    pub(super) fn subtract(&mut self, element: &[u8; 32]) {
        let mut borrow = false;
        for (mine, other) in self.0.iter_mut().zip(Self::from_bytes(*element).0) {
            let (difference, first) = mine.overflowing_sub(other);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            *mine = difference;
            borrow = first || second;
        }
    }

    fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        Self(words)
    }

    fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *chunk = word.to_le_bytes();
        }
        bytes
    }
}

/// What the seals of the chain and its history are bound to.
fn about(position: &Position) -> Vec<u8> {
    let mut about = b"position\0".to_vec();
    about.extend(position.sequence.to_be_bytes());
    about.extend(position.head.as_ref());
    about
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        let cell = (
            prop::sample::select(Kind::ALL.to_vec()),
            prop::collection::vec(any::<u8>(), 0..20),
            prop::option::of((any::<u64>(), any::<Option<i64>>(), any::<[u8; 16]>())),
        );
        prop::collection::vec(cell, 0..5).prop_map(|cells| {
            Change(
                cells
                    .into_iter()
                    .map(|(kind, key, to)| CellChange {
                        id: CellId { kind, key },
                        to: to.map(|(sequence, expires, tag)| Stamp {
                            sequence,
                            expires,
                            tag,
                        }),
                    })
                    .collect(),
            )
        })
    }

    proptest! {
        #[test]
        fn changes_round_trip_and_no_part_of_one_is_another(change in change()) {
            let encoded = change.encode();
            prop_assert_eq!(Change::decode(&encoded).unwrap(), change.clone());
            let start = Position::genesis(StoreId([0; 16]));
            for cut in 0..encoded.len() {
                if let Ok(other) = Change::decode(&encoded[..cut]) {
                    prop_assert_ne!(start.after(&other), start.after(&change));
                }
            }
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Change::decode(&bytes);
        }

        #[test]
        fn the_sum_does_not_depend_on_the_order(
            elements in prop::collection::vec(any::<[u8; 32]>(), 1..8),
            at in any::<prop::sample::Index>(),
        ) {
            let mut forth = Sum::default();
            let mut back = Sum::default();
            for (element, other) in elements.iter().zip(elements.iter().rev()) {
                forth.add(element);
                back.add(other);
            }
            prop_assert_eq!(forth, back);
            prop_assert_eq!(Sum::from_bytes(forth.to_bytes()), forth);
            let one = &elements[at.index(elements.len())];
            forth.subtract(one);
            forth.add(one);
            prop_assert_eq!(forth, back);
            for element in &elements {
                back.subtract(element);
            }
            prop_assert_eq!(back, Sum::default());
        }
    }
}
