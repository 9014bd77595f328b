//! What is wrong with a document, where, and what to do about it.

use std::fmt;

use serde::{Serialize, Serializer};

/// One thing that is wrong with a document, or that its author should know.
///
/// `Display` gives one line: `error[unknown-key] 3:1 acess_policy: …; did you mean …`.
/// Values of secrets are in none of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A stable word for programs.
    pub code: Code,
    /// Whether it stops the document.
    pub severity: Severity,
    /// Line in the text, from 1. None where the document as a whole is meant.
    pub line: Option<usize>,
    /// Column in the line, from 1, in characters.
    pub column: Option<usize>,
    /// The field: `services[0].environment.PATH`. Empty where the document as a whole is meant.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.severity, self.code.as_str())?;
        if let Some(line) = self.line {
            write!(f, " {line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

/// Everything that was found in something that has at least one error. `Display` gives one line
/// for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
#[error("{}", self.lines())]
pub struct Faults(pub Vec<Diagnostic>);

impl Faults {
    fn lines(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(Diagnostic::to_string).collect();
        lines.join("\n")
    }
}

/// Whether a [`Diagnostic`] stops the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but is not what was likely meant, or weakens what the document protects.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a [`Diagnostic`] is about. The words stay; new ones may come.
        ///
        /// The order is the order of checking, in which diagnostics are reported.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable word: `unknown-key`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// Larger, deeper or with more nodes than a document may be.
    TooLarge = "too-large",
    /// Not the part of YAML that is read.
    Syntax = "syntax",
    /// A key that occurs twice in one map.
    DuplicateKey = "duplicate-key",
    /// A `$NAME` for which the caller gave no value.
    UndefinedVariable = "undefined-variable",
    /// A `{{name}}` that the mesh builder should have replaced, or that is not well-formed.
    TemplateLeft = "template-left",
    /// A kind of document that is not known here.
    UnknownKind = "unknown-kind",
    /// A key that the language does not have.
    UnknownKey = "unknown-key",
    /// A key without which the section means nothing.
    MissingKey = "missing-key",
    /// A value of another type: a list for a text, and so on.
    WrongType = "wrong-type",
    /// A name with characters that names do not have, or too long.
    BadName = "bad-name",
    /// A value that is not of the form that the field has.
    BadValue = "bad-value",
    /// A `$$SCONE::…$$` or `@@N` that is not well-formed.
    BadReference = "bad-reference",
    /// The form of references from before version 0.3, without the closing `$$`.
    UnterminatedReference = "unterminated-reference",
    /// A name that two things of the document have.
    DuplicateName = "duplicate-name",
    /// A name that stands for nothing in this document.
    UnresolvedName = "unresolved-name",
    /// A secret of a kind that does not fit where it is used.
    WrongKind = "wrong-kind",
    /// A form that secrets of this kind do not have.
    UnknownFormat = "unknown-format",
    /// Certificates or keys that need each other in a circle.
    Circular = "circular",
    /// Two settings that cannot both be.
    Conflict = "conflict",
    /// A service that anything could claim to be.
    MissingAttestation = "missing-attestation",
    /// An access rule that cannot be met, or is not allowed for its operation.
    BadAccessRule = "bad-access-rule",
    /// A relaxation of attestation without a reason and an end.
    TermsMissing = "terms-missing",
    /// A construct that the session's language version does not have.
    NeedsVersion = "needs-version",
    /// A session without a language version.
    MissingVersion = "missing-version",
    /// A construct that is read but has no effect.
    NoEffect = "no-effect",
    /// An older spelling of something.
    Legacy = "legacy",
    /// An access rule that lets anybody in.
    OpenAccess = "open-access",
    /// A relaxation of attestation that lets debuggers, known holes or no attestation at all pass.
    WeakAttestation = "weak-attestation",
    /// Evidence of the simulated TEE is accepted: it proves nothing.
    SimulatedEvidence = "simulated-evidence",
    /// A secret that stands in the text, where everybody who handles it can read it.
    ExplicitSecret = "explicit-secret",
    /// A secret that travels over a connection that is not encrypted.
    PlainTransport = "plain-transport",
    /// Private material that anybody may fetch.
    PublicPrivateMaterial = "public-private-material",
    /// No salt: who guesses a low-entropy content can confirm it by the hash.
    MissingSalt = "missing-salt",
    /// A service without working directory.
    MissingPwd = "missing-pwd",
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A place in the text: line and column from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A field and where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// `services[0].pwd`; empty for the document as a whole.
    pub path: String,
    /// None for what did not come from a text.
    pub at: Option<Position>,
}

/// A hostile text could hold any number of faults: nobody reads more than these.
const MOST: usize = 200;

/// Collects diagnostics while a text is worked through.
#[derive(Default)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Report {
    /// Adds an error.
    pub fn error(&mut self, code: Code, spot: &Spot, message: impl Into<String>) {
        self.push(Severity::Error, code, spot, message.into(), None);
    }

    /// Adds an error, and what to do about it.
    pub fn error_with(
        &mut self,
        code: Code,
        spot: &Spot,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(
            Severity::Error,
            code,
            spot,
            message.into(),
            Some(help.into()),
        );
    }

    /// Adds a warning, and what to do about it.
    pub fn warn(
        &mut self,
        code: Code,
        spot: &Spot,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(
            Severity::Warning,
            code,
            spot,
            message.into(),
            Some(help.into()),
        );
    }

    /// Adds a diagnostic. Of each severity some hundred are kept.
    pub fn push(
        &mut self,
        severity: Severity,
        code: Code,
        spot: &Spot,
        message: String,
        help: Option<String>,
    ) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        if *count < MOST {
            *count += 1;
            self.diagnostics.push(Diagnostic {
                code,
                severity,
                line: spot.at.map(|at| at.line),
                column: spot.at.map(|at| at.column),
                path: spot.path.clone(),
                message,
                help,
            });
        }
    }

    /// Whether further errors are not kept: then none need be worded.
    pub fn is_full(&self) -> bool {
        self.errors >= MOST
    }

    /// Whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether a variable has no value, and is left in the text ([`Undefined::Left`]).
    ///
    /// [`Undefined::Left`]: crate::Undefined::Left
    pub fn has_open_variables(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|one| one.code == Code::UndefinedVariable && one.severity == Severity::Warning)
    }

    /// Nothing is refused without a word: a fault that nobody described is still one.
    pub fn ensure_error(&mut self) {
        if !self.has_errors() {
            let spot = Spot::default();
            self.error(
                Code::BadValue,
                &spot,
                "it cannot be read, for a reason unknown",
            );
        }
    }

    /// In the order of checking, then of the text.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.diagnostics
            .sort_by_key(|one| (one.severity, one.code, one.line, one.column));
        self.diagnostics
    }
}

/// `did you mean …` for a word that is none of `known`, of which a few hundred are looked at.
pub fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    known
        .iter()
        .take(256)
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= 8 && candidate.len() <= 64)
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// A value for a message: on one line, cut where it is long.
pub fn shown(value: &str) -> String {
    let mut text: String = value
        .chars()
        .take(60)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(60).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_stable_and_distinct() {
        let words: std::collections::BTreeSet<_> =
            Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(
            words
                .iter()
                .all(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        );
    }

    #[test]
    fn one_line_and_json() {
        let mut report = Report::default();
        let spot = Spot {
            path: "services[0].pwd".into(),
            at: Some(Position { line: 3, column: 5 }),
        };
        report.warn(
            Code::MissingPwd,
            &spot,
            "no\nnewline".replace('\n', " "),
            "say `/`",
        );
        let all = report.finish();
        assert_eq!(
            all[0].to_string(),
            "warning[missing-pwd] 3:5 services[0].pwd: no newline; say `/`"
        );
        let json = serde_json::to_value(&all[0]).unwrap();
        assert_eq!(json["code"], "missing-pwd");
        assert_eq!(json["severity"], "warning");
        assert_eq!(json["line"], 3);
    }

    #[test]
    fn suggestions_are_near() {
        let known = ["access_policy", "environment", "mrsigner"];
        for (typo, word) in [
            ("acess_policy", "access_policy"),
            ("enviroment", "environment"),
            ("mrsinger", "mrsigner"),
            ("MRSIGNER", "mrsigner"),
        ] {
            assert!(did_you_mean(typo, &known).unwrap().contains(word));
        }
        assert_eq!(did_you_mean("unrelated", &known), None);
        assert_eq!(did_you_mean(&"x".repeat(100_000), &known), None);
    }
}
