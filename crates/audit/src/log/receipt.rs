//! An entry that proves itself.

use mse_crypto::signing::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, InvalidEntry};
use crate::head::{SignedHead, UnverifiedHead};
use crate::tree::{InclusionProof, InvalidProof};

/// An entry, a head, and the proof that the one is under the other.
///
/// JSON: `{"entry": {…}, "head": {…}, "proof": {…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The entry.
    pub entry: Entry,
    /// The head.
    pub head: SignedHead,
    /// The proof.
    pub proof: InclusionProof,
}

impl Receipt {
    /// Checks that the log of `key` has the entry. That it still does tells the next audit, if
    /// its witness knows this head.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), InvalidReceipt> {
        let head = self.head.verify(key)?;
        if self.proof.tree_size != head.tree_size || self.proof.leaf_index != self.entry.index {
            return Err(InvalidReceipt::Mismatch);
        }
        self.proof.verify(&self.entry.leaf_hash()?, &head.root)?;
        Ok(())
    }
}

/// Why a receipt proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum InvalidReceipt {
    /// The head is not the log's.
    #[error(transparent)]
    Head(#[from] UnverifiedHead),
    /// The entry is none.
    #[error(transparent)]
    Entry(#[from] InvalidEntry),
    /// The parts are not about the same thing.
    #[error("the proof is about another entry, or for another head")]
    Mismatch,
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] InvalidProof),
}
