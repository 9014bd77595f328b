use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// Everything that is wrong with a manifest: at least one error, in the order of the file, with
/// the warnings among them.
///
/// `Display` renders each as [`Diagnostic`] does, and a closing line that counts the errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// The single diagnostics, errors and warnings.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many of them are errors: never zero.
    pub fn error_count(&self) -> usize {
        self.iter()
            .filter(|diagnostic| diagnostic.severity == Severity::Error)
            .count()
    }
}

impl std::error::Error for Diagnostics {}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in self {
            writeln!(f, "{diagnostic}\n")?;
        }
        match self.error_count() {
            1 => f.write_str("1 error in the manifest"),
            MOST_ERRORS => write!(
                f,
                "{MOST_ERRORS} errors in the manifest, further ones not shown"
            ),
            count => write!(f, "{count} errors in the manifest"),
        }
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

/// One thing that is wrong, where it is, and what to do about it.
///
/// `Display` gives several lines, without a final newline:
///
/// ```text
/// error: `cloud.hardware` must be 1 to 16 characters, but has 19
///   --> mse.toml:12:12
///    |
/// 12 | hardware = "a-very-large-machine"
///    |            ^^^^^^^^^^^^^^^^^^^^^^
///    = help: …
/// ```
///
/// Contents of secrets and private keys are in none of the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether it stops the command.
    pub severity: Severity,
    /// The manifest, as the caller named it.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// Line in `file`, from 1. None where a key is missing, or the file as a whole is meant.
    pub line: Option<usize>,
    /// Column in `line`, from 1, in characters.
    pub column: Option<usize>,
    /// Dotted path of the key (`cloud.ssl.certificate`); empty where the file as a whole is meant.
    pub key: String,
    /// The value as written in the file, cut where it is long; None where it may be secret.
    pub value: Option<String>,
    /// What is wrong, as what follows the key in a sentence.
    pub problem: String,
    /// What to do.
    pub help: Option<String>,
    #[serde(skip)]
    pub(crate) snippet: Option<Snippet>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity)?;
        if !self.key.is_empty() {
            write!(f, "`{}` ", self.key)?;
        }
        write!(f, "{}\n  --> {}", self.problem, self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }

        let number = self.line.map_or_else(String::new, |line| line.to_string());
        let width = number.len().max(2);
        if let Some(Snippet {
            text,
            indent,
            carets,
        }) = &self.snippet
        {
            let empty = "";
            write!(f, "\n{empty:width$} |")?;
            write!(f, "\n{number:>width$} | {text}")?;
            write!(
                f,
                "\n{empty:width$} | {empty:indent$}{}",
                "^".repeat(*carets)
            )?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:width$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// Whether a [`Diagnostic`] stops the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does: nothing was done.
    Error,
    /// It does not, but is not what was likely meant.
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

/// The line of the file that is at fault, made fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snippet {
    pub(crate) text: String,
    /// Characters of `text` before the first caret.
    pub(crate) indent: usize,
    pub(crate) carets: usize,
}

/// A hostile file could hold hundreds of thousands of faults: nobody reads more than these.
const MOST_ERRORS: usize = 100;

/// Collects diagnostics while a file is worked through.
#[derive(Default)]
pub(crate) struct Report {
    diagnostics: Vec<Diagnostic>,
    errors: usize,
}

impl Report {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            if self.errors == MOST_ERRORS {
                return;
            }
            self.errors += 1;
        }
        self.diagnostics.push(diagnostic);
    }

    /// The value with the warnings, unless there was an error.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Diagnostic>), Diagnostics> {
        match value {
            Some(value) if self.errors == 0 => Ok((value, self.diagnostics)),
            _ => Err(self.into_diagnostics()),
        }
    }

    fn into_diagnostics(mut self) -> Diagnostics {
        // Stable: what has no line (a missing key) comes first, in the order of its discovery.
        self.diagnostics
            .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        Diagnostics(self.diagnostics)
    }
}

/// A path in a message may lose what is not Unicode; refusing to print the message is worse.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic() -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: PathBuf::from("mse.toml"),
            line: Some(1234),
            column: Some(12),
            key: "cloud.hardware".to_owned(),
            value: Some("\"\"".to_owned()),
            problem: "must be 1 to 16 characters".to_owned(),
            help: Some("name a machine size, for instance `4g-eu-001`".to_owned()),
            snippet: Some(Snippet {
                text: "hardware = \"\"".to_owned(),
                indent: 11,
                carets: 2,
            }),
        }
    }

    #[test]
    fn renders_with_wide_line_numbers() {
        insta::assert_snapshot!(diagnostic(), @r#"
        error: `cloud.hardware` must be 1 to 16 characters
          --> mse.toml:1234:12
             |
        1234 | hardware = ""
             |            ^^
             = help: name a machine size, for instance `4g-eu-001`
        "#);
    }

    #[test]
    fn json_has_every_field_but_the_snippet() {
        insta::assert_snapshot!(serde_json::to_string(&Diagnostics::from(diagnostic())).unwrap(), @r#"[{"severity":"error","file":"mse.toml","line":1234,"column":12,"key":"cloud.hardware","value":"\"\"","problem":"must be 1 to 16 characters","help":"name a machine size, for instance `4g-eu-001`"}]"#);
    }

    #[test]
    fn a_flood_of_errors_is_cut() {
        let mut report = Report::default();
        for _ in 0..1000 {
            report.push(diagnostic());
        }

        let diagnostics = report.finish(Some(())).unwrap_err();

        assert_eq!(diagnostics.error_count(), MOST_ERRORS);
        assert!(
            diagnostics
                .to_string()
                .ends_with("100 errors in the manifest, further ones not shown")
        );
    }

    #[test]
    fn warnings_alone_are_no_failure() {
        let mut report = Report::default();
        let warning = Diagnostic {
            severity: Severity::Warning,
            ..diagnostic()
        };
        report.push(warning.clone());

        assert_eq!(report.finish(Some(7)), Ok((7, vec![warning])));
    }
}
