//! A log in a folder.
//!
//! | file | what |
//! | --- | --- |
//! | `entries` | a magic line, then records: length (4, big-endian) ‖ record ‖ checksum (8) |
//! | `checkpoints` | heads kept for good, one in JSON on each line |
//! | `state` | the newest head and how many bytes of the two files above it acknowledges, in JSON, on one line; SHA-256 of that line on the next |
//! | `cut-N` | what stood in `entries` behind byte N, unacknowledged, when the log was opened |
//! | `hashes` | the hashes of complete subtrees, 32 bytes each; made anew when the log is opened |
//!
//! `state` is replaced in one step after what it acknowledges is on the disk. So what stands
//! behind the acknowledged bytes was never acknowledged and is cut off when the log is opened, and
//! whatever is wrong within them is damage: never repaired, always an error.

mod records;
mod state;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use mse_crypto::Digest;

use self::records::{MAX_FRAME, Records};
use self::state::State;
use super::{Batch, Keep, MAX_BATCH, Storage, StorageError, check_range};
use crate::head::{MAX_HEAD, SignedHead};
use crate::tree::{HashStore, NodeId};

/// Keeps a log in a folder of its own. One process at a time: the folder is locked while it is
/// open.
#[derive(Debug)]
pub struct FileStorage {
    folder: PathBuf,
    records: Records,
    checkpoints: File,
    /// Where each checkpoint stands: its tree size, offset and length.
    checkpoint_index: Vec<(u64, u64, usize)>,
    hashes: File,
    state: Option<State>,
}

/// What opening cut off: it had been written, but never acknowledged. Worth an entry of its own:
/// [`Event::LogRepaired`](crate::entry::Event::LogRepaired).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Repaired {
    /// Bytes of entries and of a checkpoint.
    pub cut_bytes: u64,
}

impl FileStorage {
    /// Makes an empty store in `folder`, which is made (0700) if there is none.
    pub fn create(folder: &Path) -> Result<Self, StorageError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(StorageError::io("create", folder))?;
        // A creation that a crash stopped leaves files, but neither state nor entries.
        let nothing_in = |name, limit| match fs::metadata(folder.join(name)) {
            Ok(metadata) => Ok(metadata.len() <= limit),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(StorageError::io("look at", &folder.join(name))(error)),
        };
        let has_state = folder
            .join(STATE)
            .try_exists()
            .map_err(StorageError::io("look at", folder))?;
        if has_state
            || !nothing_in(ENTRIES, records::MAGIC.len() as u64)?
            || !nothing_in(CHECKPOINTS, 0)?
        {
            return Err(StorageError::Exists(folder.to_owned()));
        }
        let entries = open_file(folder, ENTRIES)?;
        lock(&entries, folder)?;
        let storage = Self {
            folder: folder.to_owned(),
            records: Records::create(entries, folder.join(ENTRIES))?,
            checkpoints: open_file(folder, CHECKPOINTS)?,
            checkpoint_index: Vec::new(),
            hashes: open_hashes(folder)?,
            state: None,
        };
        sync_folder(folder)?;
        Ok(storage)
    }

    /// Opens the log in `folder`, and cuts off what a crash left behind the acknowledged part.
    /// That the acknowledged part is what was signed, [`Log::open`](crate::log::Log::open) checks.
    pub fn open(folder: &Path) -> Result<(Self, Repaired), StorageError> {
        let state_path = folder.join(STATE);
        if !state_path
            .try_exists()
            .map_err(StorageError::io("look at", &state_path))?
        {
            return Err(StorageError::Missing(folder.to_owned()));
        }
        let entries = open_file(folder, ENTRIES)?;
        lock(&entries, folder)?;
        let state = State::read(&state_path)?;
        let checkpoints = open_file(folder, CHECKPOINTS)?;

        // Looked at first, cut then: nothing is cut from a log that is damaged.
        let entries_tail = tail_of(
            &entries,
            &folder.join(ENTRIES),
            state.entries_bytes,
            MAX_BATCH as u64 * MAX_FRAME,
        )?;
        let checkpoints_tail = tail_of(
            &checkpoints,
            &folder.join(CHECKPOINTS),
            state.checkpoints_bytes,
            MAX_HEAD as u64 + 1,
        )?;
        let records = Records::open(
            entries,
            folder.join(ENTRIES),
            state.entries_bytes,
            state.head.head().tree_size,
        )?;
        let checkpoint_index = index_checkpoints(&checkpoints, &folder.join(CHECKPOINTS), &state)?;
        if entries_tail > 0 {
            records.cut_tail(&folder.join(format!("cut-{}", state.entries_bytes)))?;
        }
        if checkpoints_tail > 0 {
            let path = folder.join(CHECKPOINTS);
            checkpoints
                .set_len(state.checkpoints_bytes)
                .and_then(|()| checkpoints.sync_all())
                .map_err(StorageError::io("cut", &path))?;
        }
        let storage = Self {
            records,
            checkpoints,
            checkpoint_index,
            hashes: open_hashes(folder)?,
            folder: folder.to_owned(),
            state: Some(state),
        };
        let cut_bytes = entries_tail + checkpoints_tail;
        Ok((storage, Repaired { cut_bytes }))
    }

    fn checkpoints_bytes(&self) -> u64 {
        self.state
            .as_ref()
            .map_or(0, |state| state.checkpoints_bytes)
    }
}

impl HashStore for FileStorage {
    type Error = StorageError;

    fn node(&self, node: NodeId) -> Result<Digest, StorageError> {
        let offset = node
            .position()
            .and_then(|position| position.checked_mul(32))
            .ok_or(StorageError::NoSuchNode(node))?;
        let mut bytes = [0; 32];
        match self.hashes.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(Digest(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(StorageError::NoSuchNode(node))
            }
            Err(error) => Err(StorageError::io("read", &self.folder.join(HASHES))(error)),
        }
    }
}

impl Storage for FileStorage {
    fn head(&self) -> Option<&SignedHead> {
        self.state.as_ref().map(|state| &state.head)
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StorageError> {
        batch.check(self.records.len())?;
        let written = self.records.write(batch.records)?;
        let mut checkpoints_bytes = self.checkpoints_bytes();
        let mut checkpoint = None;
        if batch.keep == Keep::ForGood {
            let path = self.folder.join(CHECKPOINTS);
            let mut line = batch.head.to_json();
            checkpoint = Some((batch.head.head().tree_size, checkpoints_bytes, line.len()));
            line.push(b'\n');
            self.checkpoints
                .write_all_at(&line, checkpoints_bytes)
                .and_then(|()| self.checkpoints.sync_data())
                .map_err(StorageError::io("write", &path))?;
            checkpoints_bytes += line.len() as u64;
        }
        let state = State {
            checkpoints_bytes,
            entries_bytes: written.end(),
            head: batch.head.clone(),
        };
        state.write(&self.folder.join(STATE))?;
        sync_folder(&self.folder)?;
        self.records.acknowledge(written);
        self.checkpoint_index.extend(checkpoint);
        self.state = Some(state);
        Ok(())
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StorageError> {
        check_range(&range, self.records.len())?;
        self.records.read(range)
    }

    fn checkpoints(&self, above: u64, limit: usize) -> Result<Vec<SignedHead>, StorageError> {
        let path = self.folder.join(CHECKPOINTS);
        let from = self
            .checkpoint_index
            .partition_point(|(size, ..)| *size <= above);
        self.checkpoint_index[from..]
            .iter()
            .take(limit)
            .map(|&(_, offset, length)| {
                let mut line = vec![0; length];
                self.checkpoints
                    .read_exact_at(&mut line, offset)
                    .map_err(StorageError::io("read", &path))?;
                parse_checkpoint(&line, &path)
            })
            .collect()
    }

    fn write_hashes(&mut self, position: u64, hashes: &[Digest]) -> Result<(), StorageError> {
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
        self.hashes
            .write_all_at(&bytes, position * 32)
            .map_err(StorageError::io("write", &self.folder.join(HASHES)))
    }
}

const ENTRIES: &str = "entries";
const CHECKPOINTS: &str = "checkpoints";
const STATE: &str = "state";
const HASHES: &str = "hashes";

fn open_file(folder: &Path, name: &str) -> Result<File, StorageError> {
    let path = folder.join(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(StorageError::io("open", &path))
}

fn open_hashes(folder: &Path) -> Result<File, StorageError> {
    let file = open_file(folder, HASHES)?;
    file.set_len(0)
        .map_err(StorageError::io("empty", &folder.join(HASHES)))?;
    Ok(file)
}

fn lock(entries: &File, folder: &Path) -> Result<(), StorageError> {
    match entries.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StorageError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(StorageError::io("lock", folder)(error)),
    }
}

fn sync_folder(folder: &Path) -> Result<(), StorageError> {
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(StorageError::io("write", folder))
}

/// How much stands behind the acknowledged bytes. One unfinished batch can: more means that
/// `state` is older than the files, and what it does not know may well have been acknowledged.
fn tail_of(file: &File, path: &Path, acknowledged: u64, most: u64) -> Result<u64, StorageError> {
    let length = file
        .metadata()
        .map_err(StorageError::io("look at", path))?
        .len();
    let damaged = |what| StorageError::Damaged {
        path: path.to_owned(),
        what,
    };
    match length.checked_sub(acknowledged) {
        None => Err(damaged(format!(
            "it has {length} bytes, and {acknowledged} were acknowledged"
        ))),
        Some(tail) if tail > most => Err(damaged(format!(
            "{tail} bytes stand behind the acknowledged ones, more than a crash leaves: `{STATE}` \
             may be an older one"
        ))),
        Some(tail) => Ok(tail),
    }
}

fn index_checkpoints(
    file: &File,
    path: &Path,
    state: &State,
) -> Result<Vec<(u64, u64, usize)>, StorageError> {
    let damaged = |what: &str| StorageError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let mut reader = records::Positioned::new(file, 0, state.checkpoints_bytes);
    let mut index: Vec<(u64, u64, usize)> = Vec::new();
    loop {
        let offset = reader.offset();
        let line = reader
            .line(MAX_HEAD)
            .map_err(StorageError::io("read", path))?;
        let Some(line) = line else {
            return Ok(index);
        };
        let line = line
            .strip_suffix(b"\n")
            .ok_or_else(|| damaged("a line is too long, or the last one is not whole"))?;
        let size = parse_checkpoint(line, path)?.head().tree_size;
        if index.last().is_some_and(|(last, ..)| *last >= size)
            || size > state.head.head().tree_size
        {
            return Err(damaged("the checkpoints are not in order"));
        }
        index.push((size, offset, line.len()));
    }
}

fn parse_checkpoint(line: &[u8], path: &Path) -> Result<SignedHead, StorageError> {
    SignedHead::from_json(line)
        .ok()
        .filter(|head| head.to_json() == line)
        .ok_or_else(|| StorageError::Damaged {
            path: path.to_owned(),
            what: "a line is not a signed head".to_owned(),
        })
}
