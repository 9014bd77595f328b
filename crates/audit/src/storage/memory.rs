//! A log in memory: for tests, and for logs that are exported before the process ends.

use std::ops::Range;

use mse_crypto::Digest;

use super::{Batch, Keep, Storage, StorageError, check_range};
use crate::head::SignedHead;
use crate::tree::{HashStore, MemoryHashes, NodeId};

/// Keeps a log in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    records: Vec<Vec<u8>>,
    head: Option<SignedHead>,
    checkpoints: Vec<SignedHead>,
    hashes: MemoryHashes,
}

impl MemoryStorage {
    /// Without a log.
    pub fn new() -> Self {
        Self::default()
    }
}

impl HashStore for MemoryStorage {
    type Error = StorageError;

    fn node(&self, node: NodeId) -> Result<Digest, StorageError> {
        self.hashes
            .node(node)
            .map_err(|missing| StorageError::NoSuchNode(missing.0))
    }
}

impl Storage for MemoryStorage {
    fn head(&self) -> Option<&SignedHead> {
        self.head.as_ref()
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StorageError> {
        batch.check(self.records.len() as u64)?;
        self.records.extend_from_slice(batch.records);
        if batch.keep == Keep::ForGood {
            self.checkpoints.push(batch.head.clone());
        }
        self.head = Some(batch.head.clone());
        Ok(())
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StorageError> {
        check_range(&range, self.records.len() as u64)?;
        let at = |index| usize::try_from(index).expect("the range is within the vector");
        Ok(self.records[at(range.start)..at(range.end)].to_vec())
    }

    fn checkpoints(&self, above: u64, limit: usize) -> Result<Vec<SignedHead>, StorageError> {
        let larger = |head: &&SignedHead| head.head().tree_size > above;
        Ok(self
            .checkpoints
            .iter()
            .filter(larger)
            .take(limit)
            .cloned()
            .collect())
    }

    fn write_hashes(&mut self, position: u64, hashes: &[Digest]) -> Result<(), StorageError> {
        // A position beyond the end leaves a gap that no read can be served from: nothing is kept.
        if let Ok(position) = usize::try_from(position)
            && position <= self.hashes.len()
        {
            self.hashes.truncate(position);
            for hash in hashes {
                self.hashes.push(*hash);
            }
        }
        Ok(())
    }
}
