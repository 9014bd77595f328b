//! Looking at everything: every seal, every link, every cell, every version.

use std::collections::{BTreeMap, HashMap};

use mse_crypto::Digest;

use super::cell::{CellId, Kind, SealedCell, Seals, Stamp};
use super::chain::{Position, StoreId, Sum};
use super::codec::Malformed;
use super::database::Transaction;
use super::error::StoreError;
use super::records::{
    Approval, LogTail, MALFORMED, Proposal, Record, SessionHead, SessionVersion, VolumeRoot,
};
use super::{Store, audit};

/// What [`Store::verify`] looked at and found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Where the store was at that moment.
    pub position: Position,
    /// Cells that were opened.
    pub cells: u64,
    /// Leaves of the audit log.
    pub leaves: u64,
}

impl Store {
    /// Walks the whole history from the first transaction, opens every cell and checks that exactly
    /// the cells are there that the history left, that versions follow each other, and that the
    /// audit log has no gap. Reads the whole store; writers go on meanwhile.
    pub async fn verify(&self) -> Result<Verified, StoreError> {
        let mut snapshot = self.shared.database.snapshot().await?;
        let verified = verify(&mut snapshot, &self.shared.seals, self.shared.id).await?;
        drop(snapshot);
        // What was verified has to be what this process has seen, too.
        self.shared
            .check_seen(&verified.position, &self.refresh().await?)
            .await?;
        Ok(verified)
    }
}

/// Verifies what one transaction sees.
pub(super) async fn verify(
    snapshot: &mut Transaction,
    seals: &Seals,
    store: StoreId,
) -> Result<Verified, StoreError> {
    let row = snapshot.chain().await?.ok_or(StoreError::ChainTampered {
        sequence: 0,
        what: "the chain's row is gone",
    })?;
    let expected = row.open(seals)?;
    let position = row.position;
    let mut stamps = replay(snapshot, seals, store, position).await?;
    let mut contents = Contents::default();
    let mut sum = Sum::default();
    let mut cells = 0;
    snapshot
        .each_cell(|cell| {
            match stamps.remove(&cell.id) {
                Some(stamp) if stamp == cell.stamp => {}
                Some(stamp) if stamp.sequence > cell.stamp.sequence => {
                    let what = "it is an older value of this cell";
                    return Err(StoreError::tampered(&cell.id, what));
                }
                Some(_) => {
                    let what = "it is not the value that was written last";
                    return Err(StoreError::tampered(&cell.id, what));
                }
                None => {
                    let what = "it was put there behind the store's back";
                    return Err(StoreError::tampered(&cell.id, what));
                }
            }
            sum.add(&seals.element(&cell.id, &cell.stamp));
            cells += 1;
            contents.take(seals, &cell)
        })
        .await?;
    if let Some(id) = stamps.keys().next() {
        return Err(StoreError::tampered(
            id,
            "it was removed behind the store's back",
        ));
    }
    if sum != expected {
        return Err(StoreError::ChainTampered {
            sequence: position.sequence,
            what: "the sum over all cells is not the one that was sealed",
        });
    }
    let leaves = contents.check()?;
    Ok(Verified {
        position,
        cells,
        leaves,
    })
}

/// The stamp of every cell as the history leaves it, from the first transaction to `end`.
async fn replay(
    snapshot: &mut Transaction,
    seals: &Seals,
    store: StoreId,
    end: Position,
) -> Result<BTreeMap<CellId, Stamp>, StoreError> {
    let mut at = Position::genesis(store);
    let mut stamps = BTreeMap::new();
    snapshot
        .each_history(|row| {
            let change = row.open_after(seals, &at)?;
            at = row.position;
            for change in change.0 {
                match change.to {
                    Some(stamp) => stamps.insert(change.id, stamp),
                    None => stamps.remove(&change.id),
                };
            }
            Ok(())
        })
        .await?;
    if at == end {
        Ok(stamps)
    } else {
        Err(StoreError::ChainTampered {
            sequence: at.sequence + 1,
            what: "the history does not end where the chain's row says",
        })
    }
}

/// What the cells say, as far as they have to fit together.
#[derive(Default)]
struct Contents {
    heads: Vec<(CellId, SessionHead)>,
    versions: HashMap<(Vec<u8>, Digest), Link>,
    tail: LogTail,
    leaves: u64,
}

/// A version's place among those of its session.
struct Link {
    number: u64,
    predecessor: Option<Digest>,
}

impl Contents {
    /// Opens and reads a cell.
    fn take(&mut self, seals: &Seals, cell: &SealedCell) -> Result<(), StoreError> {
        let value = seals.open_cell(cell)?;
        let malformed = |Malformed| StoreError::tampered(&cell.id, MALFORMED);
        match cell.id.kind {
            Kind::SessionHead => {
                let head = SessionHead::decode(&value).map_err(malformed)?;
                self.heads.push((cell.id.clone(), head));
            }
            Kind::SessionVersion => {
                let version = SessionVersion::decode(&value).map_err(malformed)?;
                let name_end = cell.id.key.len().saturating_sub(32);
                let (name, hash) = cell.id.key.split_at(name_end);
                if hash != version.hash.as_ref() {
                    return Err(malformed(Malformed));
                }
                let link = Link {
                    number: version.number,
                    predecessor: version.predecessor,
                };
                self.versions.insert((name.to_vec(), version.hash), link);
            }
            Kind::VolumeRoot => drop(VolumeRoot::decode(&value).map_err(malformed)?),
            Kind::Proposal => drop(Proposal::decode(&value).map_err(malformed)?),
            Kind::Approval => drop(Approval::decode(&value).map_err(malformed)?),
            Kind::LogTail => self.tail = LogTail::decode(&value).map_err(malformed)?,
            Kind::LogLeaf => {
                // Cells come in the order of their keys, so a gap shows at once.
                if cell.id != audit::leaf(self.leaves) {
                    let missing = audit::leaf(self.leaves);
                    return Err(StoreError::tampered(
                        &missing,
                        "a leaf of the log is missing",
                    ));
                }
                self.leaves += 1;
            }
            Kind::Secret
            | Kind::LogNode
            | Kind::LogHead
            | Kind::Token
            | Kind::Used
            | Kind::Setting => {}
        }
        Ok(())
    }

    /// Whether it fits together: the number of leaves of the audit log.
    fn check(mut self) -> Result<u64, StoreError> {
        for (id, head) in &self.heads {
            let mut next = Some(head.hash);
            let mut number = head.number;
            while let Some(hash) = next {
                let key = (id.key.clone(), hash);
                let link = self
                    .versions
                    .remove(&key)
                    .filter(|link| link.number == number)
                    .ok_or_else(|| StoreError::tampered(id, "a version of it is missing"))?;
                number -= 1;
                next = link.predecessor;
            }
            if number != 0 {
                return Err(StoreError::tampered(id, "its first version is missing"));
            }
        }
        if let Some((name, hash)) = self.versions.keys().next() {
            let key = [&name[..], hash.as_ref()].concat();
            let kind = Kind::SessionVersion;
            return Err(StoreError::tampered(
                &CellId { kind, key },
                "no session leads to it",
            ));
        }
        if self.leaves == self.tail.size {
            Ok(self.leaves)
        } else {
            Err(StoreError::tampered(
                &audit::tail(),
                "the audit log has another number of leaves",
            ))
        }
    }
}
