//! The writer of a log.

mod receipt;
#[cfg(test)]
mod tests;

pub use receipt::{InvalidReceipt, Receipt};

use std::ops::Range;

use mse_crypto::Digest;
use mse_crypto::signing::SigningKey;

use crate::entry::{Entry, Event, InvalidEntry, KeyHash, Salt, SessionVersion, UnixMillis};
use crate::head::{Conflict, Head, LogId, SignedHead, UnverifiedHead};
use crate::storage::{Batch, Keep, MAX_BATCH, Storage, StorageError};
use crate::tree::{
    self, ConsistencyProof, Frontier, InclusionProof, InvalidProof, ProofError, empty_root,
    positions_before,
};

/// A head is kept for good when so many entries came after the last one that was.
pub const CHECKPOINT_EVERY: u64 = 256;

/// At most so many entries are appended together. With those that came since the last checkpoint
/// they are one batch of the store: who has the checkpoints and the newest head can store the log
/// again.
#[expect(clippy::cast_possible_truncation, reason = "it is 256")]
pub const MAX_APPEND: usize = MAX_BATCH - CHECKPOINT_EVERY as usize;

/// A log that is open for appending.
///
/// What [`Log::append`] has returned for is durable and covered by a signed head: do what the
/// entry tells of, or answer about it, only then. After a crash in between there is no entry, and
/// nothing that it would have told of.
pub struct Log<S> {
    storage: S,
    key: SigningKey,
    frontier: Frontier,
    head: SignedHead,
    last_checkpoint: u64,
    /// After a failed write nobody knows what is on the disk until it is read again.
    must_reopen: bool,
}

/// What to append: an [`Entry`] without what the log adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// What happened.
    pub event: Event,
    /// To which session.
    pub session: Option<SessionVersion>,
    /// Who asked.
    pub actor: Option<KeyHash>,
}

impl NewEntry {
    /// An event that is about no session, and that nobody asked for.
    pub fn of(event: Event) -> Self {
        Self {
            event,
            session: None,
            actor: None,
        }
    }
}

impl<S: Storage> Log<S> {
    /// Begins a log in an empty store, and signs its first head, of no entries.
    pub fn create(mut storage: S, key: SigningKey, now: UnixMillis) -> Result<Self, LogError> {
        if storage.head().is_some() {
            return Err(LogError::Exists);
        }
        let head = Head {
            log_id: LogId::of(&key.public()),
            previous: None,
            root: empty_root(),
            time: now,
            tree_size: 0,
        }
        .sign(&key);
        storage.commit(&Batch {
            first: 0,
            records: &[],
            head: &head,
            keep: Keep::UntilTheNext,
        })?;
        Ok(Self {
            storage,
            key,
            frontier: Frontier::new(),
            head,
            last_checkpoint: 0,
            must_reopen: false,
        })
    }

    /// Opens a log: reads all of it, and checks that the entries are those of the newest head and
    /// of every checkpoint, and that this key signed these. That the newest head *is* the newest
    /// only somebody else can tell: [`Log::check_extends`].
    pub fn open(mut storage: S, key: SigningKey) -> Result<Self, LogError> {
        let public = key.public();
        let head = storage.head().ok_or(LogError::Missing)?.clone();
        head.verify(&public)?;
        let size = head.head().tree_size;

        let mut frontier = Frontier::new();
        let mut checkpoints = Checkpoints::above(0);
        let mut next_checkpoint = checkpoints.next(&storage)?;
        let mut last_checkpoint = 0;
        while frontier.size() < size {
            let first = frontier.size();
            let end = size.min(first + MAX_BATCH as u64);
            let mut hashes = Vec::with_capacity(2 * MAX_BATCH);
            // Not parsed: what is under a root that this key signed was an entry then.
            for record in storage.read(first..end)? {
                frontier.append(tree::leaf_hash(&record), |hash| hashes.push(hash));
                if let Some(checkpoint) =
                    next_checkpoint.take_if(|next| next.head().tree_size <= frontier.size())
                {
                    checkpoint.verify(&public)?;
                    head.head().follows(checkpoint.head())?;
                    check_root(checkpoint.head(), &frontier)?;
                    last_checkpoint = frontier.size();
                    next_checkpoint = checkpoints.next(&storage)?;
                }
            }
            storage.write_hashes(position_of(first), &hashes)?;
        }
        check_root(head.head(), &frontier)?;
        Ok(Self {
            storage,
            key,
            frontier,
            head,
            last_checkpoint,
            must_reopen: false,
        })
    }

    /// Which log this is.
    pub fn id(&self) -> LogId {
        self.head.head().log_id
    }

    /// The newest head.
    pub fn head(&self) -> &SignedHead {
        &self.head
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Appends entries, at most [`MAX_APPEND`], all or none; returns their numbers once they are
    /// durable and signed for. Many at once cost little more than one. After an error of the store
    /// the log must be opened anew, which shows whether they are in it.
    pub fn append(
        &mut self,
        entries: Vec<NewEntry>,
        now: UnixMillis,
    ) -> Result<Range<u64>, LogError> {
        if self.must_reopen {
            return Err(LogError::MustReopen);
        }
        if entries.len() > MAX_APPEND {
            return Err(LogError::TooMany(entries.len()));
        }
        let first = self.size();
        if entries.is_empty() {
            return Ok(first..first);
        }
        let mut frontier = self.frontier.clone();
        let mut hashes = Vec::new();
        let mut records = Vec::with_capacity(entries.len());
        for (index, new) in (first..).zip(entries) {
            let entry = Entry {
                actor: new.actor,
                event: new.event,
                index,
                salt: Salt::generate(),
                session: new.session,
                time: now,
            };
            let record = entry
                .to_canonical()
                .map_err(|source| LogError::Entry { index, source })?;
            frontier.append(tree::leaf_hash(&record), |hash| hashes.push(hash));
            records.push(record);
        }
        let size = frontier.size();
        let head = Head {
            log_id: self.id(),
            previous: Some(self.head.head().digest()),
            root: frontier.root(),
            time: now,
            tree_size: size,
        }
        .sign(&self.key);
        let keep = if size - self.last_checkpoint >= CHECKPOINT_EVERY {
            Keep::ForGood
        } else {
            Keep::UntilTheNext
        };
        self.must_reopen = true;
        self.storage.commit(&Batch {
            first,
            records: &records,
            head: &head,
            keep,
        })?;
        self.storage.write_hashes(position_of(first), &hashes)?;
        self.must_reopen = false;
        if keep == Keep::ForGood {
            self.last_checkpoint = size;
        }
        self.frontier = frontier;
        self.head = head;
        Ok(first..size)
    }

    /// The entries of a range, at most [`MAX_BATCH`], as the store has them now: whoever must be
    /// sure of one takes its [`Log::receipt`], whoever must be sure of all audits an export.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Entry>, LogError> {
        let first = range.start;
        (first..)
            .zip(self.storage.read(range)?)
            .map(|(index, record)| read_entry(index, &record))
            .collect()
    }

    /// Proves to who trusts the newest head that entry `index` is in the log.
    pub fn prove_inclusion(&self, index: u64) -> Result<InclusionProof, LogError> {
        let proof = tree::prove_inclusion(&self.storage, index, self.size())?;
        // The store is not trusted: what does not verify here would not anywhere.
        let record = self.storage.read(index..index + 1)?.concat();
        proof
            .verify(&tree::leaf_hash(&record), &self.head.head().root)
            .map_err(LogError::Proof)?;
        Ok(proof)
    }

    /// Proves to who saw the log with `first` entries that it only grew since.
    pub fn prove_consistency(&self, first: u64) -> Result<ConsistencyProof, LogError> {
        let proof = tree::prove_consistency(&self.storage, first, self.size())?;
        proof
            .verify(&self.root_at(first)?, &self.head.head().root)
            .map_err(LogError::Proof)?;
        Ok(proof)
    }

    /// The root when the log had `size` entries.
    pub fn root_at(&self, size: u64) -> Result<Digest, LogError> {
        let root = tree::root_at(&self.storage, size)?;
        // The store could answer with the hashes of another history: only the newest root is ours.
        tree::prove_consistency(&self.storage, size, self.size())?
            .verify(&root, &self.head.head().root)
            .map_err(LogError::Proof)?;
        Ok(root)
    }

    /// Checks that the log is one of which `seen` is an earlier head: kept where the keeper of
    /// the log cannot set it back, it shows after [`Log::open`] that the log was not set back.
    pub fn check_extends(&self, seen: &SignedHead) -> Result<(), LogError> {
        let seen = seen.verify(&self.key.public())?;
        self.head.head().follows(seen)?;
        if self.root_at(seen.tree_size)? == seen.root {
            Ok(())
        } else {
            Err(LogError::Conflict(Conflict::Fork {
                size: seen.tree_size,
            }))
        }
    }

    /// An entry with all that proves it to who has the log's public key.
    pub fn receipt(&self, index: u64) -> Result<Receipt, LogError> {
        let proof = self.prove_inclusion(index)?;
        let record = self.storage.read(index..index + 1)?.concat();
        Ok(Receipt {
            entry: read_entry(index, &record)?,
            head: self.head.clone(),
            proof,
        })
    }

    /// The store.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Closes the log.
    pub fn into_storage(self) -> S {
        self.storage
    }
}

/// The checkpoints of a store, a page at a time.
pub(crate) struct Checkpoints {
    above: u64,
    page: std::vec::IntoIter<SignedHead>,
}

impl Checkpoints {
    /// Those of more than `above` entries.
    pub(crate) fn above(above: u64) -> Self {
        Self {
            above,
            page: Vec::new().into_iter(),
        }
    }

    pub(crate) fn next<S: Storage>(
        &mut self,
        storage: &S,
    ) -> Result<Option<SignedHead>, StorageError> {
        if self.page.len() == 0 {
            self.page = storage
                .checkpoints(self.above, CHECKPOINTS_AT_ONCE)?
                .into_iter();
        }
        let next = self.page.next();
        if let Some(head) = &next {
            self.above = head.head().tree_size;
        }
        Ok(next)
    }
}

const CHECKPOINTS_AT_ONCE: usize = 64;

fn position_of(leaf: u64) -> u64 {
    positions_before(leaf).expect("entries are fewer than 2^53")
}

fn read_entry(index: u64, record: &[u8]) -> Result<Entry, LogError> {
    let entry =
        Entry::from_canonical(record).map_err(|source| LogError::Entry { index, source })?;
    if entry.index == index {
        Ok(entry)
    } else {
        Err(LogError::Misplaced {
            place: index,
            index: entry.index,
        })
    }
}

fn check_root(head: &Head, frontier: &Frontier) -> Result<(), LogError> {
    if head.tree_size == frontier.size() && head.root == frontier.root() {
        Ok(())
    } else {
        Err(LogError::Root(head.tree_size))
    }
}

/// Why a log cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store holds a log already.
    #[error("the store holds a log already: open it")]
    Exists,
    /// The store holds no log.
    #[error("the store holds no log: create one, or restore the one that it once held")]
    Missing,
    /// A head is not one that this log signed.
    #[error(transparent)]
    Head(#[from] UnverifiedHead),
    /// Two heads are not of one history.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// An entry is not as it must be.
    #[error("entry {index}: {source}")]
    Entry {
        /// Its number.
        index: u64,
        /// What is wrong.
        source: InvalidEntry,
    },
    /// An entry has another's number.
    #[error("at {place} stands the entry {index}: the log was changed")]
    Misplaced {
        /// Where it stands.
        place: u64,
        /// Its number.
        index: u64,
    },
    /// The entries are not those that were signed for.
    #[error("the first {0} entries are not those that the head over them was signed for")]
    Root(u64),
    /// Over [`MAX_APPEND`].
    #[error("{0} entries at once are too many: at most {MAX_APPEND} are allowed")]
    TooMany(usize),
    /// An earlier write failed.
    #[error("an earlier write to the log failed: open the log anew before writing to it")]
    MustReopen,
    /// A proof cannot be given.
    #[error(transparent)]
    Proof(InvalidProof),
}

impl From<ProofError<StorageError>> for LogError {
    fn from(error: ProofError<StorageError>) -> Self {
        match error {
            ProofError::Invalid(invalid) => Self::Proof(invalid),
            ProofError::Store(storage) => Self::Storage(storage),
        }
    }
}
