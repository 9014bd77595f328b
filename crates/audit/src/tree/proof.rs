//! Proofs: that a leaf is in a tree, and that a tree only grew (RFC 9162, sections 2.1.3, 2.1.4).

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

use super::{Frontier, HashStore, NodeId, empty_root, node_hash};

/// No proof has more hashes: a tree has at most 2^64 leaves, and a consistency proof one hash more
/// than the tree has levels.
pub const MAX_PATH: usize = 65;

/// That a leaf is in a tree.
///
/// JSON: `{"leaf_index": 5, "path": ["<64 hex>", …], "tree_size": 8}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InclusionProof {
    /// The leaf's number, from 0.
    pub leaf_index: u64,
    /// The siblings on the way to the root, the lowest first.
    pub path: Vec<Digest>,
    /// How many leaves the tree has.
    pub tree_size: u64,
}

impl InclusionProof {
    /// Checks that `leaf` (a hash of [`leaf_hash`](super::leaf_hash)) stands at `leaf_index` in
    /// the tree with this `root`: RFC 9162, section 2.1.3.2. That the root is one of a tree of
    /// `tree_size` leaves is what the signed head says; compare it first.
    pub fn verify(&self, leaf: &Digest, root: &Digest) -> Result<(), InvalidProof> {
        if self.leaf_index >= self.tree_size {
            return Err(InvalidProof::Beyond {
                index: self.leaf_index,
                size: self.tree_size,
            });
        }
        let mut node = self.leaf_index;
        let mut last = self.tree_size - 1;
        let mut hash = *leaf;
        for sibling in &self.path {
            if last == 0 {
                return Err(InvalidProof::Length(self.path.len()));
            }
            if node & 1 == 1 || node == last {
                hash = node_hash(sibling, &hash);
                while node & 1 == 0 && node != 0 {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                hash = node_hash(&hash, sibling);
            }
            node >>= 1;
            last >>= 1;
        }
        if last != 0 {
            return Err(InvalidProof::Length(self.path.len()));
        }
        if hash == *root {
            Ok(())
        } else {
            Err(InvalidProof::Root)
        }
    }
}

/// That a tree is an earlier one with leaves added, and nothing else changed.
///
/// JSON: `{"first": 6, "path": ["<64 hex>", …], "second": 8}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyProof {
    /// How many leaves the earlier tree has.
    pub first: u64,
    /// The hashes from which both roots follow.
    pub path: Vec<Digest>,
    /// How many leaves the later tree has.
    pub second: u64,
}

impl ConsistencyProof {
    /// Checks the two roots: RFC 9162, section 2.1.4.2. What the RFC leaves out: between trees of
    /// one size, and from the empty tree, the path is empty, and the roots are equal or that of
    /// nothing.
    pub fn verify(&self, first_root: &Digest, second_root: &Digest) -> Result<(), InvalidProof> {
        if self.first > self.second {
            return Err(InvalidProof::Shrinks {
                first: self.first,
                second: self.second,
            });
        }
        if self.first == 0 || self.first == self.second {
            let expected = if self.first == self.second {
                second_root
            } else {
                &empty_root()
            };
            return if !self.path.is_empty() {
                Err(InvalidProof::Length(self.path.len()))
            } else if first_root != expected || (self.second == 0 && *second_root != empty_root()) {
                Err(InvalidProof::Root)
            } else {
                Ok(())
            };
        }
        self.verify_growth(first_root, second_root)
    }

    fn verify_growth(&self, first_root: &Digest, second_root: &Digest) -> Result<(), InvalidProof> {
        let wrong_length = || InvalidProof::Length(self.path.len());
        // An earlier tree that is complete is a node of the later one: its root goes without
        // saying.
        let (seed, rest) = if self.first.is_power_of_two() {
            if self.path.is_empty() {
                return Err(wrong_length());
            }
            (first_root, self.path.as_slice())
        } else {
            self.path.split_first().ok_or_else(wrong_length)?
        };
        let mut node = self.first - 1;
        let mut last = self.second - 1;
        while node & 1 == 1 {
            node >>= 1;
            last >>= 1;
        }
        let mut first = *seed;
        let mut second = *seed;
        for hash in rest {
            if last == 0 {
                return Err(wrong_length());
            }
            if node & 1 == 1 || node == last {
                first = node_hash(hash, &first);
                second = node_hash(hash, &second);
                while node & 1 == 0 && node != 0 {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                second = node_hash(&second, hash);
            }
            node >>= 1;
            last >>= 1;
        }
        if last != 0 {
            return Err(wrong_length());
        }
        if first == *first_root && second == *second_root {
            Ok(())
        } else {
            Err(InvalidProof::Root)
        }
    }
}

/// Proves that leaf `index` is in the tree of the first `tree_size` leaves: O(log n) reads.
pub fn prove_inclusion<S: HashStore + ?Sized>(
    store: &S,
    index: u64,
    tree_size: u64,
) -> Result<InclusionProof, ProofError<S::Error>> {
    if index >= tree_size {
        return Err(ProofError::Invalid(InvalidProof::Beyond {
            index,
            size: tree_size,
        }));
    }
    let mut path = Vec::new();
    let (mut start, mut end) = (0, tree_size);
    while end - start > 1 {
        let middle = start + left_size(end - start);
        if index < middle {
            path.push(subtree(store, middle, end)?);
            end = middle;
        } else {
            path.push(subtree(store, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(InclusionProof {
        leaf_index: index,
        path,
        tree_size,
    })
}

/// Proves that the tree of the first `second` leaves is that of the first `first` with leaves
/// added: O(log n) reads.
pub fn prove_consistency<S: HashStore + ?Sized>(
    store: &S,
    first: u64,
    second: u64,
) -> Result<ConsistencyProof, ProofError<S::Error>> {
    if first > second {
        return Err(ProofError::Invalid(InvalidProof::Shrinks { first, second }));
    }
    let mut path = Vec::new();
    if first != 0 && first != second {
        let (mut start, mut end) = (0, second);
        // Down to the subtree that ends where the earlier tree does.
        while first != end {
            let middle = start + left_size(end - start);
            if first <= middle {
                path.push(subtree(store, middle, end)?);
                end = middle;
            } else {
                path.push(subtree(store, start, middle)?);
                start = middle;
            }
        }
        if start != 0 {
            path.push(subtree(store, start, end)?);
        }
        path.reverse();
    }
    Ok(ConsistencyProof {
        first,
        path,
        second,
    })
}

/// The root of the tree of the first `size` leaves: O(log n) reads.
pub fn root_at<S: HashStore + ?Sized>(store: &S, size: u64) -> Result<Digest, S::Error> {
    Ok(Frontier::load(store, size)?.root())
}

/// The hash over the leaves `start..end`, a subtree of some tree: complete, or on its right edge.
fn subtree<S: HashStore + ?Sized>(store: &S, start: u64, end: u64) -> Result<Digest, S::Error> {
    let size = end - start;
    if size.is_power_of_two() {
        let level = size.trailing_zeros();
        return store.node(NodeId {
            level,
            index: start >> level,
        });
    }
    let middle = start + left_size(size);
    let left = subtree(store, start, middle)?;
    let right = subtree(store, middle, end)?;
    Ok(node_hash(&left, &right))
}

/// The largest power of two below `size`, which is at least 2.
fn left_size(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// What a proof does not prove.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// There is no such leaf.
    #[error("a tree of {size} leaves has no leaf {index}")]
    Beyond {
        /// The leaf's number.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// The later tree is the smaller one.
    #[error("a tree of {first} leaves cannot have become one of {second}: trees only grow")]
    Shrinks {
        /// Leaves of the earlier tree.
        first: u64,
        /// Leaves of the later tree.
        second: u64,
    },
    /// Too few or too many hashes.
    #[error("the proof has {0} hashes, which is not what a proof between these has")]
    Length(usize),
    /// The hashes lead to another root.
    #[error("the proof leads to another root than the one given")]
    Root,
}

/// Why a proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProofError<E> {
    /// Nothing of the kind can be proven.
    #[error(transparent)]
    Invalid(InvalidProof),
    /// A hash cannot be read.
    #[error(transparent)]
    Store(#[from] E),
}
