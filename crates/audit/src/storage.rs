//! Where a log is kept. The keeper is not trusted: what it changes, the log or its auditor finds.

mod file;
mod memory;
mod sealed;

pub use file::{FileStorage, Repaired};
pub use memory::MemoryStorage;
pub use sealed::SealedStorage;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_crypto::sealing::OVERHEAD;

use crate::entry::MAX_ENTRY;
use crate::head::SignedHead;
use crate::tree::{HashStore, NodeId};

/// A stored record is never larger: an entry, sealed.
pub const MAX_RECORD: usize = MAX_ENTRY + OVERHEAD;

/// At most so many entries are appended together.
pub const MAX_BATCH: usize = 1024;

/// Keeps the records of a log, its newest head, and some of its older ones.
///
/// The [`HashStore`] half is a cache: it is filled by [`Storage::write_hashes`] whenever a log is
/// opened, and need not survive a crash.
pub trait Storage: HashStore<Error = StorageError> {
    /// The head of the last batch, if there was one.
    fn head(&self) -> Option<&SignedHead>;

    /// Appends a batch: all of it, durably, before this returns; or, after a crash or an error,
    /// all or nothing of it.
    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StorageError>;

    /// The records of a range that is stored and not longer than [`MAX_BATCH`].
    fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StorageError>;

    /// The first `limit` checkpoints of more than `above` entries, the smallest first.
    fn checkpoints(&self, above: u64, limit: usize) -> Result<Vec<SignedHead>, StorageError>;

    /// Keeps hashes for [`HashStore::node`], from this [`NodeId::position`] on.
    fn write_hashes(&mut self, position: u64, hashes: &[Digest]) -> Result<(), StorageError>;
}

/// What is appended in one step.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The number of the first entry: how many there were before.
    pub first: u64,
    /// The records, at most [`MAX_BATCH`] of at most [`MAX_RECORD`] bytes.
    pub records: &'a [Vec<u8>],
    /// The head that covers them.
    pub head: &'a SignedHead,
    /// How long to keep the head.
    pub keep: Keep,
}

/// How long a head is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Until there is a newer one.
    UntilTheNext,
    /// For good, as a checkpoint.
    ForGood,
}

/// Why a store does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refuses.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is a log already.
    #[error("`{}` holds a log already: open it, or choose another folder", .0.display())]
    Exists(PathBuf),
    /// There is no log.
    #[error("`{}` holds no log: if it once did, restore it from a backup", .0.display())]
    Missing(PathBuf),
    /// Another process has it open.
    #[error("`{}` is open in another process: a log has one writer", .0.display())]
    InUse(PathBuf),
    /// What was acknowledged is not whole.
    #[error("`{}` is damaged: {what}; restore the log from a backup or an export", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A record does not open.
    #[error("record {0} does not open with the key of this log: it was changed, or is of another")]
    DoesNotOpen(u64),
    /// Nothing is stored there.
    #[error("records {}..{} are not stored, or are too many at once", .0.start, .0.end)]
    OutOfRange(Range<u64>),
    /// No hash is stored there.
    #[error("there is no hash at level {}, index {}", .0.level, .0.index)]
    NoSuchNode(NodeId),
    /// A batch that does not go on where the log ends, or is too large.
    #[error("a batch from record {first} of {count} records is not what comes next, or too large")]
    WrongBatch {
        /// Its first record.
        first: u64,
        /// How many it has.
        count: usize,
    },
    /// The store behind says this.
    #[error("the store of the log fails: {0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StorageError {
    fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl Batch<'_> {
    /// Refuses what is not the next batch of a log of `len` records.
    fn check(&self, len: u64) -> Result<(), StorageError> {
        let small = self.records.len() <= MAX_BATCH
            && self.records.iter().all(|record| record.len() <= MAX_RECORD);
        let end = self.first.checked_add(self.records.len() as u64);
        if small && self.first == len && end == Some(self.head.head().tree_size) {
            Ok(())
        } else {
            Err(StorageError::WrongBatch {
                first: self.first,
                count: self.records.len(),
            })
        }
    }
}

/// Refuses ranges that are not within `len` records or too long.
fn check_range(range: &Range<u64>, len: u64) -> Result<(), StorageError> {
    if range.start <= range.end && range.end <= len && range.end - range.start <= MAX_BATCH as u64 {
        Ok(())
    } else {
        Err(StorageError::OutOfRange(range.clone()))
    }
}
