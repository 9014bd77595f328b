//! Where the audit log and the store meet.
//!
//! The store keeps the log's leaves, subtree hashes and signed heads as opaque bytes, and appends
//! them in the same transaction as the change that they describe. What they mean, and how a head is
//! signed, is for an [`AuditLog`]; it is called while the chain is locked, once for each
//! transaction, so that one signature covers all that is committed together, and leaves can say
//! which number they have.

use mse_crypto::Digest;

use super::cell::{CellId, Kind};
use super::chain::Position;
use super::error::StoreError;

/// Makes leaves into a log.
pub trait AuditLog: Send + Sync + 'static {
    /// Appends `leaves` after `tail`. Called again for the same tail if the transaction failed:
    /// it must keep nothing that is not in what it returns.
    fn append(&self, tail: &Tail, leaves: &[&[u8]]) -> Result<Appended, AuditError>;
}

/// Why the log did not take the leaves. The write is then refused as a whole.
pub type AuditError = Box<dyn std::error::Error + Send + Sync>;

/// Where the log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// How many leaves it has.
    pub size: u64,
    /// What the last [`Appended::state`] was; empty for a new log.
    pub state: Vec<u8>,
    /// Where the store was before this transaction.
    pub position: Position,
}

/// What there is to store for the leaves that were appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The leaves as they are to be stored: as many as there were.
    pub leaves: Vec<Vec<u8>>,
    /// The subtrees that these leaves complete.
    pub nodes: Vec<LogNode>,
    /// The signed head of the log at its new size; empty: none is kept.
    pub head: Vec<u8>,
    /// What [`AuditLog::append`] wants to be given next time.
    pub state: Vec<u8>,
}

/// A complete subtree of the log: the one that covers leaves `index << level` to
/// `(index + 1) << level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogNode {
    /// Its height; 0 is a leaf.
    pub level: u8,
    /// Its place among those of its height.
    pub index: u64,
    /// Its hash.
    pub hash: Digest,
}

/// A log that keeps its leaves in order, without a tree and without signed heads. The store's own
/// chain shows what became of it, to those who hold the root key and to nobody else.
pub struct LeavesOnly;

impl AuditLog for LeavesOnly {
    fn append(&self, _: &Tail, leaves: &[&[u8]]) -> Result<Appended, AuditError> {
        Ok(Appended {
            leaves: leaves.iter().map(|leaf| leaf.to_vec()).collect(),
            ..Appended::default()
        })
    }
}

/// Refuses nodes that these leaves do not complete: a node is written once.
pub(super) fn check(appended: &Appended, before: u64, after: u64) -> Result<(), StoreError> {
    if appended.leaves.len() as u64 != after - before {
        return Err(StoreError::Audit(format!(
            "it made {} leaves of {}",
            appended.leaves.len(),
            after - before
        )));
    }
    for node in &appended.nodes {
        let end = node
            .index
            .checked_add(1)
            .and_then(|next| next.checked_mul(1_u64.checked_shl(u32::from(node.level))?));
        if !end.is_some_and(|end| end > before && end <= after) {
            return Err(StoreError::Audit(format!(
                "it wants to store node {} of level {}, which the leaves {before} to {after} do not complete",
                node.index, node.level
            )));
        }
    }
    let mut ids: Vec<_> = appended
        .nodes
        .iter()
        .map(|node| (node.level, node.index))
        .collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(StoreError::Audit("it wants to store a node twice".into()));
    }
    Ok(())
}

pub(super) fn leaf(index: u64) -> CellId {
    CellId::new(Kind::LogLeaf, &[], &index.to_be_bytes())
}

pub(super) fn node(level: u8, index: u64) -> CellId {
    let mut key = vec![level];
    key.extend(index.to_be_bytes());
    CellId::new(Kind::LogNode, &[], &key)
}

pub(super) fn head(size: u64) -> CellId {
    CellId::new(Kind::LogHead, &[], &size.to_be_bytes())
}

pub(super) fn tail() -> CellId {
    CellId::new(Kind::LogTail, &[], &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appended(nodes: &[(u8, u64)]) -> Appended {
        Appended {
            leaves: vec![Vec::new()],
            nodes: nodes
                .iter()
                .map(|&(level, index)| LogNode {
                    level,
                    index,
                    hash: Digest([0; 32]),
                })
                .collect(),
            ..Appended::default()
        }
    }

    #[test]
    fn only_nodes_that_the_new_leaves_complete_are_taken() {
        // From 3 leaves to 4: leaf 3, the pair (2, 3) and the four.
        assert!(check(&appended(&[(0, 3), (1, 1), (2, 0)]), 3, 4).is_ok());
        for bad in [
            &[(0, 2)][..],
            &[(0, 4)],
            &[(1, 0)],
            &[(3, 0)],
            &[(64, 0)],
            &[(63, 1)],
            &[(0, u64::MAX)],
            &[(0, 3), (0, 3)],
        ] {
            assert!(check(&appended(bad), 3, 4).is_err(), "{bad:?}");
        }
    }
}
