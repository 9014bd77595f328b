//! Records that only who has the key can read.

use std::ops::Range;

use mse_crypto::Digest;
use mse_crypto::sealing::SealingKey;

use super::{Batch, Storage, StorageError};
use crate::head::{LogId, SignedHead};
use crate::tree::{HashStore, NodeId};

/// A store whose records are sealed (AES-256-GCM-SIV) before they reach the one below it. Each is
/// bound to its number and its log; heads and hashes are in clear, and the salts of the entries
/// keep the hashes from telling what the entries are.
pub struct SealedStorage<S> {
    below: S,
    key: SealingKey,
}

impl<S: Storage> SealedStorage<S> {
    /// Seals under a key derived from `root` for this log.
    pub fn new(below: S, root: &SealingKey, log: LogId) -> Self {
        Self {
            below,
            key: root.derive("mse-audit-record-v1", &log.0.0),
        }
    }

    /// The store below.
    pub fn into_inner(self) -> S {
        self.below
    }
}

impl<S: Storage> HashStore for SealedStorage<S> {
    type Error = StorageError;

    fn node(&self, node: NodeId) -> Result<Digest, StorageError> {
        self.below.node(node)
    }
}

impl<S: Storage> Storage for SealedStorage<S> {
    fn head(&self) -> Option<&SignedHead> {
        self.below.head()
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StorageError> {
        let sealed: Vec<Vec<u8>> = (batch.first..)
            .zip(batch.records)
            .map(|(index, record)| self.key.seal(&index.to_be_bytes(), record))
            .collect();
        self.below.commit(&Batch {
            records: &sealed,
            ..*batch
        })
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StorageError> {
        let sealed = self.below.read(range.clone())?;
        range
            .zip(sealed)
            .map(|(index, record)| {
                self.key
                    .open(&index.to_be_bytes(), &record)
                    .map(|opened| opened.to_vec())
                    .map_err(|_| StorageError::DoesNotOpen(index))
            })
            .collect()
    }

    fn checkpoints(&self, above: u64, limit: usize) -> Result<Vec<SignedHead>, StorageError> {
        self.below.checkpoints(above, limit)
    }

    fn write_hashes(&mut self, position: u64, hashes: &[Digest]) -> Result<(), StorageError> {
        self.below.write_hashes(position, hashes)
    }
}
