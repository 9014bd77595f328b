//! A log as one stream of lines, to be audited elsewhere, kept, or imported again.
//!
//! | line | what |
//! | --- | --- |
//! | first | [`Header`]: the newest head, and where the export begins |
//! | `{"head":…}` | a checkpoint, right behind the last entry that it covers |
//! | any other | an entry, in its canonical form: the line without its end is the leaf's data |

mod import;

pub use import::{ImportError, import};

use std::io::{self, Write};

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

use crate::entry::MAX_ENTRY;
use crate::head::SignedHead;
use crate::log::{Checkpoints, Log};
use crate::storage::{MAX_BATCH, Storage, StorageError};
use crate::tree::Frontier;

/// The format that this code reads and writes.
pub const FORMAT: &str = "mse-audit-export-1";

/// No line is longer, its end not counted: 8 KiB.
pub const MAX_LINE: usize = MAX_ENTRY;

/// The first line of an export.
///
/// JSON: `{"export": "mse-audit-export-1", "frontier": [], "head": {…}, "start": 0}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub export: String,
    /// The [`Frontier::peaks`] of the entries before `start`: they stand for these.
    pub frontier: Vec<Digest>,
    /// The newest head. The export ends with the last entry that it covers.
    pub head: SignedHead,
    /// The number of the first entry in the export.
    pub start: u64,
}

/// A line with a checkpoint.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeadLine {
    pub(crate) head: SignedHead,
}

impl HeadLine {
    /// What no entry begins with: it has no field `head`.
    pub(crate) const PREFIX: &[u8] = b"{\"head\":";
}

/// Writes a log from entry `start` on. With 0 all of it; with another number only what came since,
/// for who knows a head of exactly that size. Memory stays within one batch.
pub fn export<S: Storage>(
    log: &Log<S>,
    start: u64,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    let size = log.size();
    if start > size {
        return Err(ExportError::Start { start, size });
    }
    let storage = log.storage();
    let header = Header {
        export: FORMAT.to_owned(),
        frontier: Frontier::load(storage, start)?.peaks().to_vec(),
        head: log.head().clone(),
        start,
    };
    write_line(out, &header)?;
    let mut checkpoints = Checkpoints::above(start);
    let mut checkpoint = checkpoints.next(storage)?;
    let mut first = start;
    while first < size {
        let end = size.min(first + MAX_BATCH as u64);
        // As they are stored: an auditor believes no line anyway.
        for (index, record) in (first..).zip(storage.read(first..end)?) {
            out.write_all(&record)?;
            out.write_all(b"\n")?;
            if let Some(head) = checkpoint.take_if(|next| next.head().tree_size <= index + 1) {
                write_line(out, &HeadLine { head })?;
                checkpoint = checkpoints.next(storage)?;
            }
        }
        first = end;
    }
    out.flush()?;
    Ok(())
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut json = serde_json_canonicalizer::to_vec(line).map_err(io::Error::other)?;
    json.push(b'\n');
    out.write_all(&json)
}

/// Why a log is not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It does not begin there.
    #[error("the export cannot begin with entry {start}: the log has {size} entries")]
    Start {
        /// Where it was to begin.
        start: u64,
        /// How many entries there are.
        size: u64,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The export cannot be written.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
}
