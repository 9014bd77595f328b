//! The Merkle tree of RFC 9162, section 2.1, over SHA-256.
//!
//! A leaf's hash is `SHA-256(00 ‖ data)`, a node's `SHA-256(01 ‖ left ‖ right)`. The left part of
//! a tree of `n` leaves is the largest complete one: `k` leaves, `k` the largest power of two below
//! `n`. So a complete subtree, once it is full, never changes again, and all proofs are made of the
//! hashes of complete subtrees ([`NodeId`]): a store that keeps them ([`HashStore`]) answers with
//! O(log n) reads.

mod proof;
#[cfg(test)]
mod tests;

pub use proof::{
    ConsistencyProof, InclusionProof, InvalidProof, MAX_PATH, ProofError, prove_consistency,
    prove_inclusion, root_at,
};

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;

/// The hash of a leaf.
pub fn leaf_hash(data: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[0]);
    hasher.update(data);
    hasher.finish()
}

/// The hash of a node over its two children.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[1]);
    hasher.update(&left.0);
    hasher.update(&right.0);
    hasher.finish()
}

/// The root of the tree without leaves: the hash of nothing.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The right edge of a growing tree: all that appending and the root need, O(log n) hashes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// The roots of the complete subtrees, the largest first: one for each bit set in `size`.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// The frontier of a tree of `size` leaves whose complete subtrees have these roots, the
    /// largest first. Says nothing of where the hashes come from: compare [`Frontier::root`].
    pub fn from_peaks(size: u64, peaks: Vec<Digest>) -> Result<Self, WrongPeaks> {
        if peaks.len() == size.count_ones() as usize {
            Ok(Self { size, peaks })
        } else {
            Err(WrongPeaks {
                size,
                expected: size.count_ones(),
                found: peaks.len(),
            })
        }
    }

    /// The frontier of the first `size` leaves of a stored tree: O(log n) reads.
    pub fn load<S: HashStore + ?Sized>(store: &S, size: u64) -> Result<Self, S::Error> {
        let peaks = complete_subtrees(size)
            .map(|node| store.node(node))
            .collect::<Result<_, _>>()?;
        Ok(Self { size, peaks })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, the largest first.
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Takes in the hash of the next leaf. `completed` gets every subtree that is complete with
    /// it: the leaf itself, then its ancestors, upwards. That is the order of
    /// [`NodeId::position`]: whoever appends what is given here keeps a [`HashStore`].
    pub fn append(&mut self, leaf: Digest, mut completed: impl FnMut(Digest)) {
        completed(leaf);
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self
                .peaks
                .pop()
                .expect("there is a peak for each bit set in the size");
            hash = node_hash(&left, &hash);
            completed(hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> Digest {
        let mut from_the_right = self.peaks.iter().rev();
        match from_the_right.next() {
            None => empty_root(),
            Some(last) => from_the_right.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

/// A number of hashes that no tree of this size has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tree of {size} leaves has a frontier of {expected} hashes, not {found}")]
pub struct WrongPeaks {
    size: u64,
    expected: u32,
    found: usize,
}

/// A complete subtree: the leaves `index << level` and the `2^level - 1` after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// 0 for a leaf.
    pub level: u32,
    /// Counted from the left, among those of its level.
    pub index: u64,
}

impl NodeId {
    /// The leaf `index`.
    pub fn leaf(index: u64) -> Self {
        Self { level: 0, index }
    }

    /// Where the hash stands if all are written one after the other in the order in which
    /// [`Frontier::append`] completes them. `None` if that is beyond 64 bits.
    pub fn position(self) -> Option<u64> {
        let last_leaf = self
            .index
            .checked_add(1)?
            .checked_mul(1_u64.checked_shl(self.level)?)?
            - 1;
        positions_before(last_leaf)?.checked_add(u64::from(self.level))
    }
}

/// How many hashes the first `leaves` leaves complete.
pub fn positions_before(leaves: u64) -> Option<u64> {
    Some(leaves.checked_mul(2)? - u64::from(leaves.count_ones()))
}

/// Where the hashes of complete subtrees are read from.
pub trait HashStore {
    /// Why a hash cannot be read.
    type Error;

    /// The hash of a complete subtree within the stored leaves. A wrong one leads to proofs that
    /// do not verify, to nothing worse.
    fn node(&self, node: NodeId) -> Result<Digest, Self::Error>;
}

/// All hashes in memory, in the order of [`NodeId::position`]: 64 bytes for each leaf.
#[derive(Clone, Debug, Default)]
pub struct MemoryHashes(Vec<Digest>);

impl MemoryHashes {
    /// Takes in the next hash.
    pub fn push(&mut self, hash: Digest) {
        self.0.push(hash);
    }

    /// How many hashes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl HashStore for MemoryHashes {
    type Error = NoSuchNode;

    fn node(&self, node: NodeId) -> Result<Digest, NoSuchNode> {
        node.position()
            .and_then(|position| self.0.get(usize::try_from(position).ok()?))
            .copied()
            .ok_or(NoSuchNode(node))
    }
}

/// A subtree that the tree does not have, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree has no complete subtree at level {}, index {}", .0.level, .0.index)]
pub struct NoSuchNode(pub NodeId);

/// The complete subtrees that a tree of `size` leaves is made of, the largest first.
fn complete_subtrees(size: u64) -> impl Iterator<Item = NodeId> {
    (0..u64::BITS)
        .rev()
        .filter(move |level| size >> level & 1 == 1)
        .map(move |level| NodeId {
            level,
            // All larger ones stand before it, and each holds an even number of its like.
            index: (size >> level) - 1,
        })
}
