//! What a process remembers of its store: enough to see at each read that nothing went back.

use std::collections::BTreeMap;
use std::ops::Bound;

use mse_crypto::Digest;

use super::cell::Seals;
use super::cell::{CellId, Kind, SealedCell, Stamp};
use super::chain::{ChainRow, Change, Position, Sum};
use super::error::StoreError;

/// The last position that was seen, the heads shortly before it, and the stamp of each cell.
///
/// The stamps are what makes a single old row visible at once: a row in the database is compared
/// with the stamp that is remembered. They cost about 150 bytes of memory for each cell; the audit
/// log's are not among them.
pub(super) struct Memory {
    position: Position,
    stamps: BTreeMap<CellId, Stamp>,
    /// Heads of the latest transactions, for reads that began before the last one.
    heads: BTreeMap<u64, Digest>,
}

/// The state of some cells: as long as two of the same cells are equal, none of them was changed in
/// between. No two values that were ever written have the same stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(Vec<Stamp>);

impl Mark {
    /// Whether there were no such cells.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a row of the database is, compared with what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the one.
    Current,
    /// It changed after the moment at which it was read.
    ChangedSince,
    /// It is not what it was at that moment.
    Tampered(&'static str),
}

impl Memory {
    pub(super) fn new(position: Position, stamps: BTreeMap<CellId, Stamp>) -> Self {
        Self {
            position,
            stamps,
            heads: BTreeMap::from([(position.sequence, position.head)]),
        }
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn stamp(&self, id: &CellId) -> Option<&Stamp> {
        self.stamps.get(id)
    }

    /// The head after a transaction, if it is among the latest.
    pub(super) fn head(&self, sequence: u64) -> Option<Digest> {
        self.heads.get(&sequence).copied()
    }

    /// Takes in the transaction after the last one.
    pub(super) fn advance(&mut self, to: Position, change: &Change) {
        for change in &change.0 {
            if !change.id.kind.is_remembered() {
                continue;
            }
            match change.to {
                Some(stamp) => self.stamps.insert(change.id.clone(), stamp),
                None => self.stamps.remove(&change.id),
            };
        }
        self.position = to;
        self.heads.insert(to.sequence, to.head);
        while self.heads.len() > REMEMBERED_HEADS {
            self.heads.pop_first();
        }
    }

    /// Whether a row of the chain that is not newer than what is remembered is genuine. `floor` is
    /// the number that was remembered before the row was read: what is older was rolled back.
    pub(super) fn judge_chain(&self, row: &ChainRow, floor: u64) -> Result<(), StoreError> {
        if row.position.sequence < floor {
            return Err(StoreError::RolledBack {
                found: row.position.sequence,
                seen: floor,
            });
        }
        match self.head(row.position.sequence) {
            Some(head) if head != row.position.head => Err(StoreError::Forked {
                sequence: row.position.sequence,
            }),
            _ => Ok(()),
        }
    }

    /// What the row of a cell is (`None`: there is none), read when the chain was at `sequence`.
    pub(super) fn judge(&self, id: &CellId, row: Option<&SealedCell>, sequence: u64) -> Verdict {
        let stamp = self.stamp(id);
        if stamp == row.map(|row| &row.stamp) {
            return Verdict::Current;
        }
        let settled = match stamp {
            Some(stamp) => stamp.sequence <= sequence,
            None => self.position.sequence <= sequence,
        };
        if !settled {
            return Verdict::ChangedSince;
        }
        Verdict::Tampered(match (stamp, row) {
            (Some(_), None) => "it was removed behind the store's back",
            (None, Some(_)) => "it was put there behind the store's back",
            (Some(stamp), Some(row)) if row.stamp.sequence < stamp.sequence => {
                "it is an older value of this cell"
            }
            _ => "it is not the value that was written last",
        })
    }

    /// What the rows under a prefix are, read together when the chain was at `sequence`.
    pub(super) fn judge_all(
        &self,
        prefix: &CellId,
        rows: &[SealedCell],
        sequence: u64,
    ) -> Result<Verdict, StoreError> {
        let found: BTreeMap<_, _> = rows.iter().map(|row| (&row.id, row)).collect();
        let mut verdict = Verdict::Current;
        let missing = self.ids(prefix).filter(|id| !found.contains_key(*id));
        let judged = found.iter().map(|(id, row)| (*id, Some(*row)));
        for (id, row) in judged.chain(missing.map(|id| (id, None))) {
            match self.judge(id, row, sequence) {
                Verdict::Current => {}
                Verdict::ChangedSince => verdict = Verdict::ChangedSince,
                Verdict::Tampered(what) => return Err(StoreError::tampered(id, what)),
            }
        }
        Ok(verdict)
    }

    /// The ids of the cells under a prefix.
    pub(super) fn ids<'a>(&'a self, prefix: &'a CellId) -> impl Iterator<Item = &'a CellId> {
        self.stamps
            .range((Bound::Included(prefix), Bound::Unbounded))
            .map(|(id, _)| id)
            .take_while(|id| id.kind == prefix.kind && id.key.starts_with(&prefix.key))
    }

    /// The state of all cells under these prefixes.
    pub(super) fn mark(&self, prefixes: &[CellId]) -> Mark {
        let ids = prefixes.iter().flat_map(|prefix| self.ids(prefix));
        Mark(ids.filter_map(|id| self.stamp(id).copied()).collect())
    }

    /// The cells of a kind that may be forgotten at `now`, at most `limit`.
    pub(super) fn expired(&self, kind: Kind, now: i64, limit: usize) -> Vec<CellId> {
        let all = CellId::new(kind, &[], &[]);
        self.ids(&all)
            .filter(|id| {
                self.stamp(id)
                    .and_then(|stamp| stamp.expires)
                    .is_some_and(|expires| expires <= now)
            })
            .take(limit)
            .cloned()
            .collect()
    }

    /// How a change moves the sum over all cells.
    pub(super) fn moved(&self, seals: &Seals, mut sum: Sum, change: &Change) -> Sum {
        for change in &change.0 {
            if let Some(before) = self.stamp(&change.id) {
                sum.subtract(&seals.element(&change.id, before));
            }
            if let Some(after) = &change.to {
                sum.add(&seals.element(&change.id, after));
            }
        }
        sum
    }
}

/// A read spans far fewer transactions than this.
const REMEMBERED_HEADS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::RootKey;
    use crate::store::chain::{CellChange, StoreId};

    fn cell(sequence: u64) -> SealedCell {
        let seals = Seals::new(&RootKey::from_bytes([1; 32]), StoreId([2; 16]));
        seals.seal_cell(
            CellId::new(Kind::Setting, &["a"], &[]),
            sequence,
            None,
            b"v",
        )
    }

    fn memory(cells: &[&SealedCell]) -> Memory {
        let mut memory = Memory::new(Position::genesis(StoreId([2; 16])), BTreeMap::new());
        for cell in cells {
            let change = Change(vec![CellChange {
                id: cell.id.clone(),
                to: Some(cell.stamp),
            }]);
            let next = memory.position().after(&change);
            memory.advance(next, &change);
        }
        memory
    }

    #[test]
    fn only_the_last_value_is_current() {
        let (old, new) = (cell(1), cell(2));
        let memory = memory(&[&old, &new]);
        assert_eq!(memory.judge(&new.id, Some(&new), 2), Verdict::Current);
        let same_number_other_nonce = cell(2);
        for row in [Some(&old), Some(&same_number_other_nonce), None] {
            let verdict = memory.judge(&new.id, row, 2);
            assert!(matches!(verdict, Verdict::Tampered(_)), "{verdict:?}");
        }
    }

    #[test]
    fn a_read_of_an_earlier_moment_is_told_from_tampering() {
        let (old, new) = (cell(1), cell(2));
        let memory = memory(&[&old, &new]);
        assert_eq!(memory.judge(&new.id, Some(&old), 1), Verdict::ChangedSince);
        let other = CellId::new(Kind::Setting, &["b"], &[]);
        let row = SealedCell {
            id: other.clone(),
            ..cell(1)
        };
        assert_eq!(memory.judge(&other, Some(&row), 1), Verdict::ChangedSince);
        assert!(matches!(
            memory.judge(&other, Some(&row), 2),
            Verdict::Tampered(_)
        ));
    }
}
