//! Reading an export back into a store.

use std::io::{self, BufRead, Seek};
use std::mem;

use mse_crypto::signing::VerifyingKey;

use crate::head::SignedHead;
use crate::storage::{Batch, Keep, MAX_BATCH, Storage, StorageError};
use crate::verify::{Accepted, Auditor, Finding, Lines, Report, Verdict, audit};
use crate::witness::Witness;

/// Fills an empty store with a whole log from its export. The export is audited first, and
/// nothing is written unless the verdict is [`Verdict::Ok`]; and again while it is written. After
/// an error that is not [`ImportError::Refused`] the store may hold a part of the log, which looks
/// like the log set back: delete it. The signing key is not needed, only to append later.
pub fn import<S: Storage>(
    source: &mut (impl BufRead + Seek),
    key: &VerifyingKey,
    witness: Option<&Witness>,
    storage: &mut S,
) -> Result<Report, ImportError> {
    if storage.head().is_some() {
        return Err(ImportError::NotEmpty);
    }
    let begin = source.stream_position()?;
    let report = audit(source, key, witness)?;
    if report.verdict != Verdict::Ok {
        return Err(ImportError::Refused(Box::new(report)));
    }
    if report.start != 0 {
        return Err(ImportError::Partial(report.start));
    }
    source.seek(io::SeekFrom::Start(begin))?;

    let mut auditor = Auditor::new(key, witness);
    let mut writer = Writer {
        storage,
        first: 0,
        pending: Vec::new(),
    };
    let mut newest = None;
    let mut lines = Lines::new(source);
    while let Some(line) = lines.next()? {
        match auditor.line(&line.content).map_err(ImportError::Changed)? {
            Accepted::Header(head) => newest = Some(head),
            Accepted::Entry(_) => writer.push(line.content)?,
            Accepted::Checkpoint(head) => writer.commit(&head, Keep::ForGood)?,
        }
    }
    let again = auditor.finish();
    if again != report {
        return Err(ImportError::Changed(Finding::new(
            again.verdict,
            again.detail,
        )));
    }
    if let Some(head) = newest
        && writer.storage.head() != Some(&head)
    {
        writer.commit(&head, Keep::UntilTheNext)?;
    }
    Ok(report)
}

struct Writer<'a, S> {
    storage: &'a mut S,
    first: u64,
    pending: Vec<Vec<u8>>,
}

impl<S: Storage> Writer<'_, S> {
    fn push(&mut self, record: Vec<u8>) -> Result<(), ImportError> {
        if self.pending.len() == MAX_BATCH {
            return Err(ImportError::NoCheckpoint(self.first));
        }
        self.pending.push(record);
        Ok(())
    }

    fn commit(&mut self, head: &SignedHead, keep: Keep) -> Result<(), ImportError> {
        let records = mem::take(&mut self.pending);
        self.storage.commit(&Batch {
            first: self.first,
            records: &records,
            head,
            keep,
        })?;
        self.first += records.len() as u64;
        Ok(())
    }
}

/// Why an export is not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store holds a log.
    #[error("the store holds a log already: import into an empty one")]
    NotEmpty,
    /// The audit does not end well.
    #[error("the export is refused: {}", .0.detail)]
    Refused(Box<Report>),
    /// The export is not of the whole log.
    #[error("the export begins with entry {0}: only one that begins with entry 0 can be imported")]
    Partial(u64),
    /// The checkpoints were taken out.
    #[error(
        "more than {MAX_BATCH} entries follow entry {0} without a checkpoint: export the log \
         anew"
    )]
    NoCheckpoint(u64),
    /// The export was another when it was read again.
    #[error("the export was changed while it was read: {0}")]
    Changed(Finding),
    /// The store fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The export cannot be read.
    #[error("cannot read the export: {0}")]
    Read(#[from] io::Error),
}
