//! What an audit ends with.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::head::{Head, SignedHead};

/// The verdict of an audit. The numbers are exit codes and never change; where the auditor that we
/// replace has the same case, it has the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// The log is whole and unchanged, as far as what was given can show.
    Ok = 0,
    /// The newest entries are missing.
    TruncatedRecent = 14,
    /// The oldest entries are missing, and the witness does not stand for them.
    TruncatedOld = 15,
    /// There are entries that no signed head covers.
    CannotRuleOut = 16,
    /// The numbers of the entries do not follow each other.
    Gap = 17,
    /// The log was larger before.
    Rollback = 18,
    /// It is another log.
    WrongLog = 19,
    /// A head is not signed by the log's key.
    BadSignature = 20,
    /// The log signed two histories.
    Fork = 21,
    /// It is no export.
    Malformed = 22,
    /// The entries are not those that were signed for.
    Changed = 23,
}

impl Verdict {
    /// All of them, by number.
    pub const ALL: [Self; 11] = [
        Self::Ok,
        Self::TruncatedRecent,
        Self::TruncatedOld,
        Self::CannotRuleOut,
        Self::Gap,
        Self::Rollback,
        Self::WrongLog,
        Self::BadSignature,
        Self::Fork,
        Self::Malformed,
        Self::Changed,
    ];

    /// The exit code.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::TruncatedRecent => "truncated-recent",
            Self::TruncatedOld => "truncated-old",
            Self::CannotRuleOut => "cannot-rule-out",
            Self::Gap => "gap",
            Self::Rollback => "rollback",
            Self::WrongLog => "wrong-log",
            Self::BadSignature => "bad-signature",
            Self::Fork => "fork",
            Self::Malformed => "malformed",
            Self::Changed => "changed",
        }
    }

    /// What it means, in a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Ok => "The log is whole and unchanged.",
            Self::TruncatedRecent => {
                "The newest entries are missing: the newest signed head covers more than the \
                 export holds."
            }
            Self::TruncatedOld => {
                "The oldest entries are missing, and the witness has not seen the log when it had \
                 exactly these."
            }
            Self::CannotRuleOut => {
                "There are entries behind those that the newest signed head covers: nothing shows \
                 that they are real."
            }
            Self::Gap => {
                "The numbers of the entries do not follow each other: some are missing, repeated, \
                 or in another order."
            }
            Self::Rollback => {
                "The log was larger before: it was set back to an earlier state, or this is an old \
                 copy of it."
            }
            Self::WrongLog => "This is another log than the one whose key was given.",
            Self::BadSignature => "A head is not signed by the log's key.",
            Self::Fork => {
                "The log signed two histories that exclude each other: different readers were \
                 shown different logs, or it was set back and went on."
            }
            Self::Malformed => "This is not an export of a log, or it is damaged.",
            Self::Changed => "Entries were changed: they are not those that the log signed for.",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Finding {
    /// The kind.
    pub verdict: Verdict,
    /// Where, and what.
    pub detail: String,
}

impl Finding {
    pub(crate) fn new(verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            verdict,
            detail: detail.into(),
        }
    }
}

/// What an audit found.
///
/// JSON: `{"verdict": "ok", "code": 0, "sentence", "detail", "start", "entries", "checkpoints",
/// "witnessed", "head"}`; `head` is `null` if the first line was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// Its number.
    pub code: u8,
    /// What it means.
    pub sentence: &'static str,
    /// What exactly was found.
    pub detail: String,
    /// The number of the first entry.
    pub start: u64,
    /// How many entries were read.
    pub entries: u64,
    /// How many checkpoints the entries agree with.
    pub checkpoints: u64,
    /// How many heads of the witness the entries agree with; `None` without a witness, and then a
    /// log that was set back as a whole looks like any other.
    pub witnessed: Option<u64>,
    /// The newest head, if the first line was accepted, its signature with it.
    pub head: Option<Head>,
    /// The same with its signature, for the witness.
    #[serde(skip)]
    pub(crate) signed_head: Option<SignedHead>,
    /// The newest head that the witness knew.
    #[serde(skip)]
    pub(crate) witness_newest: Option<SignedHead>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes are an interface: scripts compare them.
    #[test]
    fn codes_are_stable() {
        let codes: Vec<_> = Verdict::ALL
            .iter()
            .map(|verdict| (verdict.code(), verdict.name()))
            .collect();
        assert_eq!(
            codes,
            [
                (0, "ok"),
                (14, "truncated-recent"),
                (15, "truncated-old"),
                (16, "cannot-rule-out"),
                (17, "gap"),
                (18, "rollback"),
                (19, "wrong-log"),
                (20, "bad-signature"),
                (21, "fork"),
                (22, "malformed"),
                (23, "changed"),
            ]
        );
        for verdict in Verdict::ALL {
            assert!(verdict.sentence().ends_with('.'), "{verdict}");
        }
    }
}
