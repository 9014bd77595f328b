//! The auditor: reads an export and says what it shows.

mod auditor;
mod lines;
mod verdict;

pub use auditor::{Accepted, Auditor};
pub use lines::{Line, Lines};
pub use verdict::{Finding, Report, Verdict};

use std::io::{self, BufRead};

use mse_crypto::signing::VerifyingKey;

use crate::witness::Witness;

/// Audits an export: whether it is the log of `key`, whole, unchanged, and no older than the heads
/// that `witness` knows. Reads it once, with memory for one line. An error is one of reading;
/// everything about the log is in the report.
pub fn audit(
    export: &mut impl BufRead,
    key: &VerifyingKey,
    witness: Option<&Witness>,
) -> io::Result<Report> {
    let mut auditor = Auditor::new(key, witness);
    let mut lines = Lines::new(export);
    while let Some(line) = lines.next()? {
        if let Err(finding) = auditor.line(&line.content) {
            // A line that does not even end is what a cut through the file leaves.
            return Ok(if finding.verdict == Verdict::Malformed && !line.ended {
                auditor.cut_off(finding)
            } else {
                auditor.stop(finding)
            });
        }
    }
    Ok(auditor.finish())
}
