//! Cells: what the store is made of, and how each is sealed.

use std::fmt;

use mse_crypto::Zeroizing;
use mse_crypto::sealing::SealingKey;

use super::chain::StoreId;
use super::error::StoreError;
use crate::keys::{Purpose, RootKey};

/// What a cell is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Name → number and hash of the current version, state.
    SessionHead = 1,
    /// Name, hash → number, predecessor, time, text.
    SessionVersion = 2,
    /// Session, name, version → value.
    Secret = 3,
    /// Session, volume → sequence number and root.
    VolumeRoot = 4,
    /// Index → leaf of the audit log.
    LogLeaf = 5,
    /// Level, index → hash of a complete subtree of the audit log.
    LogNode = 6,
    /// Size → signed head of the audit log at that size.
    LogHead = 7,
    /// The size of the audit log.
    LogTail = 8,
    /// Id → what the token stands for.
    Token = 9,
    /// Scope → nothing: what may happen once has happened.
    Used = 10,
    /// Session name, proposal → proposed text.
    Proposal = 11,
    /// Proposal, signer → signature.
    Approval = 12,
    /// Name → value.
    Setting = 13,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::SessionHead,
        Self::SessionVersion,
        Self::Secret,
        Self::VolumeRoot,
        Self::LogLeaf,
        Self::LogNode,
        Self::LogHead,
        Self::LogTail,
        Self::Token,
        Self::Used,
        Self::Proposal,
        Self::Approval,
        Self::Setting,
    ];

    pub(super) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    pub(super) fn number(self) -> i64 {
        i64::from(self as u8)
    }

    /// Whether [`Memory`](super::memory::Memory) remembers each cell of this kind. The audit log is
    /// written once and never changed, and only grows: its size is remembered instead.
    pub(super) fn is_remembered(self) -> bool {
        !matches!(self, Self::LogLeaf | Self::LogNode | Self::LogHead)
    }
}

/// Which cell: its kind, and a key that is unique within the kind.
///
/// A key is made of names, each ended by a zero byte, and of at most one last part of fixed length.
/// Names hold no zero byte (see `check_name`), so keys cannot run into each other, and a
/// key that ends after a name is the prefix of exactly what lies under that name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CellId {
    pub(super) kind: Kind,
    pub(super) key: Vec<u8>,
}

impl CellId {
    pub(super) fn new(kind: Kind, names: &[&str], last: &[u8]) -> Self {
        let mut key = Vec::new();
        for name in names {
            key.extend(name.as_bytes());
            key.push(0);
        }
        key.extend(last);
        Self { kind, key }
    }

    /// The smallest key that is greater than all that begin with this one.
    pub(super) fn end_of_prefix(&self) -> Vec<u8> {
        let mut end = self.key.clone();
        while let Some(last) = end.pop() {
            if last < 0xff {
                end.push(last + 1);
                return end;
            }
        }
        // Keys are at most `MAX_KEY` long, so this is greater than every key.
        vec![0xff; MAX_KEY + 1]
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[", self.kind)?;
        for part in self.key.chunk_by(|before, _| *before != 0) {
            match part {
                [name @ .., 0] if !name.is_empty() => match std::str::from_utf8(name) {
                    Ok(name) => write!(f, "{name} ")?,
                    Err(_) => write!(f, "{} ", hex::encode(part))?,
                },
                rest => f.write_str(&hex::encode(rest))?,
            }
        }
        f.write_str("]")
    }
}

impl fmt::Debug for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A cell as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SealedCell {
    pub(super) id: CellId,
    pub(super) stamp: Stamp,
    pub(super) sealed: Vec<u8>,
}

/// Everything by which one state of a cell differs from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The transaction that wrote it.
    pub(super) sequence: u64,
    /// When it may be forgotten, in milliseconds since the Unix epoch.
    pub(super) expires: Option<i64>,
    /// The tag of the cipher over its value.
    pub(super) tag: Tag,
}

/// The last 16 bytes of a sealed value. Nonces are random, so no two values have the same.
pub(super) type Tag = [u8; 16];

/// The tag of a sealed value.
pub(super) fn tag_of(sealed: &[u8]) -> Option<Tag> {
    sealed.last_chunk::<16>().copied()
}

/// The keys of one store.
pub(super) struct Seals {
    cells: SealingKey,
    chain: SealingKey,
    history: SealingKey,
    elements: SealingKey,
}

impl Seals {
    pub(super) fn new(root: &RootKey, store: StoreId) -> Self {
        let chain = root.derive(Purpose::StoreChain);
        Self {
            cells: root
                .derive(Purpose::StoreCells)
                .derive("mse-cas-cells-v1", &store.0),
            history: chain.derive("mse-cas-history-v1", &store.0),
            elements: chain.derive("mse-cas-elements-v1", &store.0),
            chain: chain.derive("mse-cas-head-v1", &store.0),
        }
    }

    /// Seals a value for one cell, as the transaction of number `sequence` writes it.
    pub(super) fn seal_cell(
        &self,
        id: CellId,
        sequence: u64,
        expires: Option<i64>,
        value: &[u8],
    ) -> SealedCell {
        let sealed = self.cells.seal(&about_cell(&id, sequence, expires), value);
        let tag = tag_of(&sealed).expect("a sealed value is longer than its tag");
        let stamp = Stamp {
            sequence,
            expires,
            tag,
        };
        SealedCell { id, stamp, sealed }
    }

    pub(super) fn open_cell(&self, cell: &SealedCell) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let about = about_cell(&cell.id, cell.stamp.sequence, cell.stamp.expires);
        self.cells
            .open(&about, &cell.sealed)
            .map_err(|_| StoreError::tampered(&cell.id, "its seal does not open"))
    }

    /// What a cell adds to the sum over all cells: 256 bits that nobody without the key can foresee.
    pub(super) fn element(&self, id: &CellId, stamp: &Stamp) -> [u8; 32] {
        let mut about = about_cell(id, stamp.sequence, stamp.expires);
        about.extend(stamp.tag);
        *self.elements.derive("mse-cas-element-v1", &about).expose()
    }

    pub(super) fn chain(&self) -> &SealingKey {
        &self.chain
    }

    pub(super) fn history(&self) -> &SealingKey {
        &self.history
    }
}

/// What a cell's seal is bound to: the table, the key, the transaction and the expiry.
fn about_cell(id: &CellId, sequence: u64, expires: Option<i64>) -> Vec<u8> {
    let mut about = b"cell\0".to_vec();
    about.extend(id.kind.number().to_be_bytes());
    about.extend(sequence.to_be_bytes());
    match expires {
        None => about.push(0),
        Some(expires) => {
            about.push(1);
            about.extend(expires.to_be_bytes());
        }
    }
    about.extend(&id.key);
    about
}

/// Longest key of a cell, in bytes: three names and a fixed part.
pub(super) const MAX_KEY: usize = 2048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seals() -> Seals {
        Seals::new(&RootKey::from_bytes([1; 32]), StoreId([2; 16]))
    }

    #[test]
    fn kinds_have_the_numbers_they_are_found_by() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(Kind::from_number(14), None);
    }

    #[test]
    fn a_cell_opens_as_what_it_is_only() {
        let seals = seals();
        let id = CellId::new(Kind::Secret, &["s", "n"], &1_u64.to_be_bytes());
        let cell = seals.seal_cell(id, 5, Some(9), b"value");
        assert_eq!(&*seals.open_cell(&cell).unwrap(), b"value");
        let changes: [fn(&mut SealedCell); 5] = [
            |cell| cell.id.kind = Kind::Setting,
            |cell| cell.id.key[0] ^= 1,
            |cell| cell.stamp.sequence += 1,
            |cell| cell.stamp.expires = None,
            |cell| cell.sealed[3] ^= 1,
        ];
        for change in changes {
            let mut other = cell.clone();
            change(&mut other);
            assert!(seals.open_cell(&other).is_err());
        }
        let elsewhere = Seals::new(&RootKey::from_bytes([1; 32]), StoreId([3; 16]));
        assert!(elsewhere.open_cell(&cell).is_err());
    }

    #[test]
    fn ids_are_shown_readably() {
        let id = CellId::new(Kind::Secret, &["ns/s", "n"], &1_u64.to_be_bytes());
        assert_eq!(id.to_string(), "Secret[ns/s n 0000000000000001]");
        let id = CellId::new(Kind::LogTail, &[], &[]);
        assert_eq!(id.to_string(), "LogTail[]");
    }

    proptest! {
        #[test]
        fn the_end_of_a_prefix_bounds_exactly_what_begins_with_it(
            prefix in prop::collection::vec(any::<u8>(), 0..6),
            key in prop::collection::vec(prop_oneof![Just(0xff_u8), Just(0), any::<u8>()], 0..9),
        ) {
            let id = CellId { kind: Kind::Setting, key: prefix.clone() };
            let within = key >= prefix && key < id.end_of_prefix();
            prop_assert_eq!(within, key.starts_with(&prefix));
        }
    }
}
