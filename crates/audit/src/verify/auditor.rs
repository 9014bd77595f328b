//! The audit, line by line.

use mse_crypto::signing::VerifyingKey;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Finding, Report, Verdict};
use crate::entry::Entry;
use crate::export::{FORMAT, HeadLine, Header, MAX_LINE};
use crate::head::{Conflict, Head, LogId, SignedHead, UnverifiedHead};
use crate::tree::{Frontier, leaf_hash};
use crate::witness::Witness;

/// Audits an export that arrives line by line, in memory for one line (and the witness's heads).
/// [`audit`](super::audit) is this over a reader.
pub struct Auditor<'a> {
    key: &'a VerifyingKey,
    witness: Option<&'a Witness>,
    stream: Option<Stream>,
    /// The heads of the witness that the entries have not reached yet, the smallest last.
    unreached: Vec<SignedHead>,
    witnessed: u64,
    /// Whether the witness knows the log as it was at the start of the export.
    start_is_witnessed: bool,
    checkpoints: u64,
    /// How many entries the last signed head has that they agree with.
    agreed: Option<u64>,
    disagreement: Option<Disagreement>,
}

/// What is known once the header is read.
struct Stream {
    head: SignedHead,
    start: u64,
    frontier: Frontier,
    /// The last checkpoint.
    last: Option<Head>,
}

/// A signed head that the entries do not lead to.
struct Disagreement {
    size: u64,
    whose: &'static str,
}

/// A line that was accepted, so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The header, with the newest head.
    Header(SignedHead),
    /// An entry.
    Entry(Box<Entry>),
    /// A checkpoint.
    Checkpoint(SignedHead),
}

impl<'a> Auditor<'a> {
    /// An audit of the log of `key`.
    pub fn new(key: &'a VerifyingKey, witness: Option<&'a Witness>) -> Self {
        Self {
            key,
            witness,
            stream: None,
            unreached: Vec::new(),
            witnessed: 0,
            start_is_witnessed: false,
            checkpoints: 0,
            agreed: None,
            disagreement: None,
        }
    }

    /// Takes in the next line, without its end. After a finding the audit is over:
    /// [`Auditor::stop`].
    pub fn line(&mut self, line: &[u8]) -> Result<Accepted, Finding> {
        if line.len() > MAX_LINE {
            return Err(malformed(format!(
                "a line is longer than {MAX_LINE} bytes, the most that an export has"
            )));
        }
        let Some(stream) = &mut self.stream else {
            return self.header(line);
        };
        if line.starts_with(HeadLine::PREFIX) {
            let accepted = stream.checkpoint(line, self.key)?;
            let agrees = accepted.head().root == stream.frontier.root();
            self.compare(accepted.head().tree_size, agrees, "a checkpoint");
            self.checkpoints += u64::from(agrees);
            return Ok(Accepted::Checkpoint(accepted));
        }
        let covered = stream.head.head().tree_size;
        let index = stream.frontier.size();
        let entry = Entry::from_canonical(line)
            .map_err(|error| malformed(format!("at entry {index}: {error}")))?;
        if entry.index != index {
            return Err(Finding::new(
                Verdict::Gap,
                format!(
                    "where entry {index} must stand, stands entry {}",
                    entry.index
                ),
            ));
        }
        if index >= covered {
            return Err(self.disagreement().unwrap_or_else(|| {
                Finding::new(
                    Verdict::CannotRuleOut,
                    format!(
                        "entry {index} stands behind the {covered} that the newest head covers"
                    ),
                )
            }));
        }
        stream.frontier.append(leaf_hash(line), |_| {});
        self.reached();
        Ok(Accepted::Entry(Box::new(entry)))
    }

    /// Ends the audit with the last line.
    pub fn finish(self) -> Report {
        match self.conclusion() {
            Ok(detail) => self.report(Verdict::Ok, detail),
            Err(finding) => self.stop(finding),
        }
    }

    /// Ends the audit with a finding of [`Auditor::line`].
    pub fn stop(self, finding: Finding) -> Report {
        self.report(finding.verdict, finding.detail)
    }

    /// Ends the audit in the middle of a line.
    pub(super) fn cut_off(self, malformed: Finding) -> Report {
        match self.conclusion() {
            // Short of entries, which explains the half line.
            Err(finding) if finding.verdict == Verdict::TruncatedRecent => self.stop(finding),
            _ => self.stop(malformed),
        }
    }

    fn header(&mut self, line: &[u8]) -> Result<Accepted, Finding> {
        let header: Header = canonical(line, "the header")?;
        if header.export != FORMAT {
            return Err(malformed(format!(
                "the format of the export is `{}`; `{FORMAT}` is expected",
                header.export.chars().take(80).collect::<String>()
            )));
        }
        let head = verified(&header.head, self.key, "the newest head")?;
        if header.start > head.tree_size {
            return Err(malformed(format!(
                "the export begins with entry {}, and the newest head covers {}",
                header.start, head.tree_size
            )));
        }
        let frontier = Frontier::from_peaks(header.start, header.frontier)
            .map_err(|error| malformed(error.to_string()))?;
        if let Some(witness) = self.witness {
            check_against_witness(head, witness, self.key)?;
            self.unreached = witness
                .heads()
                .iter()
                .rev()
                .filter(|seen| seen.head().tree_size >= header.start)
                .cloned()
                .collect();
            self.start_is_witnessed = self
                .unreached
                .last()
                .is_some_and(|seen| seen.head().tree_size == header.start);
        }
        self.stream = Some(Stream {
            head: header.head.clone(),
            start: header.start,
            frontier,
            last: None,
        });
        self.reached();
        Ok(Accepted::Header(header.head))
    }

    /// Compares the root with the heads of the witness that have this size, and with the newest.
    fn reached(&mut self) {
        let Some(stream) = &self.stream else {
            return;
        };
        let size = stream.frontier.size();
        let newest = stream.head.head();
        let is_newest = newest.tree_size == size;
        let is_witnessed = |head: &SignedHead| head.head().tree_size == size;
        if !is_newest && !self.unreached.last().is_some_and(is_witnessed) {
            return;
        }
        let root = stream.frontier.root();
        let newest_agrees = newest.root == root;
        while let Some(seen) = self.unreached.pop_if(|head| head.head().tree_size == size) {
            let agrees = seen.head().root == root;
            self.compare(size, agrees, "a head that the witness knows");
            self.witnessed += u64::from(agrees);
        }
        if is_newest {
            self.compare(size, newest_agrees, "the newest head");
        }
    }

    fn compare(&mut self, size: u64, agrees: bool, whose: &'static str) {
        if agrees {
            self.agreed = Some(size);
        } else if self.disagreement.is_none() {
            self.disagreement = Some(Disagreement { size, whose });
        }
    }

    /// What heads that the entries do not lead to mean: if the entries do lead to the newest one,
    /// the log signed both.
    fn disagreement(&self) -> Option<Finding> {
        let Disagreement { size, whose } = self.disagreement.as_ref()?;
        let newest = self.stream.as_ref()?.head.head().tree_size;
        Some(if self.agreed == Some(newest) {
            Finding::new(
                Verdict::Fork,
                format!(
                    "the entries are those of the newest head, over {newest}, but the first {size} \
                     are not those of {whose}, over {size}"
                ),
            )
        } else {
            let after = self.agreed.unwrap_or_default().min(*size);
            Finding::new(
                Verdict::Changed,
                format!(
                    "the first {size} entries are not those of {whose}, over {size}; up to {after} \
                     a signed head agrees"
                ),
            )
        })
    }

    /// What the audit says at the end of the export.
    fn conclusion(&self) -> Result<String, Finding> {
        let Some(stream) = &self.stream else {
            return Err(malformed("the export is empty"));
        };
        if let Some(finding) = self.disagreement() {
            return Err(finding);
        }
        let covered = stream.head.head().tree_size;
        let size = stream.frontier.size();
        if size < covered {
            return Err(Finding::new(
                Verdict::TruncatedRecent,
                format!(
                    "the newest head covers {covered} entries, and the export ends after {size}"
                ),
            ));
        }
        if stream.start > 0 && !self.start_is_witnessed {
            return Err(Finding::new(
                Verdict::TruncatedOld,
                format!(
                    "the export begins with entry {}, and no witness has seen the log with exactly \
                     {} entries",
                    stream.start, stream.start
                ),
            ));
        }
        Ok(match self.witness {
            None => format!(
                "the {covered} entries are those that were signed for; without a witness, a log \
                 that was set back as a whole would look the same"
            ),
            Some(_) => format!(
                "the {covered} entries are those that were signed for, and the log only grew since \
                 the witness saw it"
            ),
        })
    }

    fn report(self, verdict: Verdict, detail: String) -> Report {
        let start = self.stream.as_ref().map_or(0, |stream| stream.start);
        let size = self
            .stream
            .as_ref()
            .map_or(0, |stream| stream.frontier.size());
        let signed_head = self.stream.map(|stream| stream.head);
        Report {
            verdict,
            code: verdict.code(),
            sentence: verdict.sentence(),
            detail,
            start,
            entries: size - start,
            checkpoints: self.checkpoints,
            witnessed: self.witness.map(|_| self.witnessed),
            head: signed_head.as_ref().map(|head| head.head().clone()),
            signed_head,
            witness_newest: self.witness.and_then(Witness::newest).cloned(),
        }
    }
}

impl Stream {
    /// Reads a checkpoint, which must stand behind the last entry that it covers.
    fn checkpoint(&mut self, line: &[u8], key: &VerifyingKey) -> Result<SignedHead, Finding> {
        let HeadLine { head: signed } = canonical(line, "a checkpoint")?;
        let head = verified(&signed, key, "a checkpoint")?;
        if let Some(earlier) = &self.last {
            head.follows(earlier)?;
        }
        self.head.head().follows(head)?;
        let size = self.frontier.size();
        if head.tree_size > size {
            return Err(Finding::new(
                Verdict::Gap,
                format!(
                    "a checkpoint over {} entries stands behind entry {size}: those between are \
                     missing",
                    head.tree_size
                ),
            ));
        }
        if head.tree_size < size {
            return Err(malformed(format!(
                "a checkpoint over {} entries stands behind {size}",
                head.tree_size
            )));
        }
        self.last = Some(head.clone());
        Ok(signed)
    }
}

fn check_against_witness(
    head: &Head,
    witness: &Witness,
    key: &VerifyingKey,
) -> Result<(), Finding> {
    if witness.log_id() != LogId::of(key) {
        return Err(Finding::new(
            Verdict::WrongLog,
            format!(
                "the witness knows the log {}, and the key is that of {}",
                witness.log_id(),
                LogId::of(key)
            ),
        ));
    }
    if let Some(newest) = witness.newest()
        && newest.head().tree_size > head.tree_size
    {
        return Err(Finding::from(Conflict::Rollback {
            seen: newest.head().tree_size,
            now: head.tree_size,
        }));
    }
    for seen in witness.heads() {
        head.agrees_with(seen.head())?;
    }
    Ok(())
}

/// Reads a line that says what it says in one way only.
fn canonical<T: DeserializeOwned + Serialize>(line: &[u8], what: &str) -> Result<T, Finding> {
    let value = serde_json::from_slice(line)
        .map_err(|error| malformed(format!("{what} cannot be read: {error}")))?;
    match serde_json_canonicalizer::to_vec(&value) {
        Ok(json) if json == line => Ok(value),
        _ => Err(malformed(format!(
            "{what} is not in canonical form (RFC 8785)"
        ))),
    }
}

fn verified<'h>(
    signed: &'h SignedHead,
    key: &VerifyingKey,
    whose: &str,
) -> Result<&'h Head, Finding> {
    signed.verify(key).map_err(|error| {
        let verdict = match error {
            UnverifiedHead::WrongLog { .. } => Verdict::WrongLog,
            UnverifiedHead::Signature(_) => Verdict::BadSignature,
        };
        Finding::new(verdict, format!("{whose}: {error}"))
    })
}

impl From<Conflict> for Finding {
    fn from(conflict: Conflict) -> Self {
        let verdict = match conflict {
            Conflict::OtherLog { .. } => Verdict::WrongLog,
            Conflict::Fork { .. } | Conflict::SamePrevious { .. } => Verdict::Fork,
            Conflict::Rollback { .. } => Verdict::Rollback,
        };
        Self::new(verdict, conflict.to_string())
    }
}

fn malformed(detail: impl Into<String>) -> Finding {
    Finding::new(Verdict::Malformed, detail)
}
