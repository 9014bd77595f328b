//! What is wrong with a document, for people and programs.

use std::borrow::Cow;
use std::path::Path;

use console::style;
use mse_session::{Diagnostic, Severity};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::text_input::shown_path;
use crate::ui::counted;

/// One thing that is wrong, or that the author should know.
#[derive(Serialize)]
pub(crate) struct Finding {
    pub(crate) code: Cow<'static, str>,
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
    /// Empty where the document as a whole is meant.
    pub(crate) field: String,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// All that was found in one document, by severity.
#[derive(Serialize)]
pub(crate) struct Findings {
    pub(crate) errors: Vec<Finding>,
    pub(crate) warnings: Vec<Finding>,
}

impl Findings {
    pub(crate) fn of(diagnostics: Vec<Diagnostic>) -> Self {
        let (errors, warnings): (Vec<_>, Vec<_>) = diagnostics
            .into_iter()
            .partition(|one| one.severity == Severity::Error);
        let findings = |list: Vec<Diagnostic>| list.into_iter().map(Finding::from).collect();
        Self {
            errors: findings(errors),
            warnings: findings(warnings),
        }
    }

    /// A document that could not even be read.
    pub(crate) fn unreadable(failure: &Failure) -> Self {
        Self {
            errors: vec![Finding {
                code: "unreadable".into(),
                line: None,
                column: None,
                field: String::new(),
                message: failure.message().to_owned(),
                help: failure.hint().map(str::to_owned),
            }],
            warnings: Vec::new(),
        }
    }

    /// A block for each finding, for people who watch `stream`.
    pub(crate) fn text(&self, file: &Path, stream: Stream) -> String {
        let lines = |findings: &[Finding], severity| -> Vec<String> {
            let label = stream.label(severity);
            findings.iter().map(|one| one.text(file, &label)).collect()
        };
        let errors = lines(&self.errors, Severity::Error);
        [errors, lines(&self.warnings, Severity::Warning)]
            .concat()
            .join("\n")
    }

    /// `1 error, 2 warnings`.
    pub(crate) fn counts(&self) -> String {
        format!(
            "{}, {}",
            counted(self.errors.len(), "error", "errors"),
            counted(self.warnings.len(), "warning", "warnings")
        )
    }

    /// The failure of a command that needs the document in `file`; `what` is also the command that
    /// checks such documents.
    pub(crate) fn into_failure(self, file: &Path, what: &str) -> Failure {
        let shown = shown_path(file);
        let message = format!("`{shown}` is no valid {what}: {}", self.counts());
        let rendered = format!(
            "{}\n{}: {message}",
            self.text(file, Stream::Stderr),
            Stream::Stderr.label(Severity::Error)
        );
        Failure::new(Exit::InvalidConfiguration, message)
            .with_hint(format!("`mse {what} check` says what is wrong"))
            .rendered_as(rendered)
            .details(serde_json::to_value(&self).unwrap_or_default())
    }
}

/// Where a text goes: each stream has colour if it is a terminal.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn label(self, severity: Severity) -> String {
        let label = match severity {
            Severity::Error => style(severity).red().bold(),
            Severity::Warning => style(severity).yellow().bold(),
        };
        match self {
            Self::Stdout => label.to_string(),
            Self::Stderr => label.for_stderr().to_string(),
        }
    }
}

impl From<Diagnostic> for Finding {
    fn from(diagnostic: Diagnostic) -> Self {
        let Diagnostic {
            code,
            severity: _,
            line,
            column,
            path,
            message,
            help,
        } = diagnostic;
        Self {
            code: code.as_str().into(),
            line,
            column,
            field: path,
            message,
            help,
        }
    }
}

impl Finding {
    fn text(&self, file: &Path, severity: &str) -> String {
        let mut place = vec![shown_path(file)];
        place.extend(
            [self.line, self.column]
                .into_iter()
                .flatten()
                .map(|number| number.to_string()),
        );
        let help = self.help.as_ref().map_or_else(String::new, |help| {
            format!("\n    help: {}", printable(help))
        });
        format!(
            "{}: {severity}[{}] {}{help}",
            place.join(":"),
            self.code,
            self.problem()
        )
    }

    /// One line, for a warning of a command that has another result.
    pub(crate) fn line(&self) -> String {
        match &self.help {
            Some(help) => format!("{}; {}", self.problem(), printable(help)),
            None => self.problem(),
        }
    }

    fn problem(&self) -> String {
        let message = printable(&self.message);
        match self.field.as_str() {
            "" => message,
            field => format!("{}: {message}", printable(field)),
        }
    }
}

/// What a CAS found wrong with a session, as [`Findings::text`] shows it; `None` if that is nothing.
/// Places are in the text that was sent, which is in its canonical form.
pub(crate) fn text_of_faults(faults: &[Value]) -> Option<String> {
    let lines: Vec<_> = faults
        .iter()
        .filter_map(|fault| Fault::deserialize(fault).ok())
        .map(|fault| {
            let label = Stream::Stderr.label(match fault.severity.as_str() {
                "warning" => Severity::Warning,
                _ => Severity::Error,
            });
            Finding::from(fault).text(Path::new("the session"), &label)
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Warnings of a CAS, a line each.
pub(crate) fn lines_of_warnings(warnings: &[Value]) -> Vec<String> {
    warnings
        .iter()
        .filter_map(|warning| Fault::deserialize(warning).ok())
        .map(|fault| Finding::from(fault).line())
        .collect()
}

/// A [`Diagnostic`] that came over the wire.
#[derive(Deserialize)]
struct Fault {
    code: String,
    #[serde(default)]
    severity: String,
    line: Option<usize>,
    column: Option<usize>,
    #[serde(default)]
    path: String,
    message: String,
    help: Option<String>,
}

impl From<Fault> for Finding {
    fn from(fault: Fault) -> Self {
        Self {
            code: printable(&fault.code).into(),
            line: fault.line,
            column: fault.column,
            field: fault.path,
            message: fault.message,
            help: fault.help,
        }
    }
}

/// A text of somebody else's with what a terminal would obey, or not show, escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_debug());
        }
    }
    shown
}

/// The same for JSON, which stays JSON of the same meaning.
pub(crate) fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        // JSON has line feeds between its tokens only.
        if is_printable(character) || character == '\n' {
            shown.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                shown.extend(["\\u", &hex::encode(unit.to_be_bytes())]);
            }
        }
    }
    shown
}

fn is_printable(character: char) -> bool {
    matches!(character, '"' | '\'' | '\\') || character.escape_debug().count() == 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_that_a_cas_found_look_like_those_found_here() {
        let checked = mse_session::check_text(
            "name: a\nversion: '0.3.12'\nservices: []\nacess_policy: {}\n",
            &mse_session::Variables::replaced(),
            mse_session::Compatibility::Strict,
        );
        let faults = checked.into_result().unwrap_err();
        let sent: Vec<_> = faults.0.iter().map(|fault| json!(fault)).collect();
        let here = Findings::of(faults.0).text(Path::new("the session"), Stream::Stderr);
        assert_eq!(text_of_faults(&sent), Some(here));
        // Whatever else stands there is left out, and a terminal gets no orders.
        assert_eq!(text_of_faults(&[json!({"x": 1}), json!("y")]), None);
        let rude = json!({"code": "a\u{1b}[2J", "message": "\u{1b}[2J", "path": "p\u{9b}"});
        let shown = text_of_faults(&[rude]).unwrap();
        assert!(!shown.contains(['\u{1b}', '\u{9b}']), "{shown:?}");
    }

    #[test]
    fn terminals_get_no_orders() {
        let text = "a \"ä\" \u{1b}[2J\u{202e}\u{9b}\n";
        assert_eq!(printable(text), r#"a "ä" \u{1b}[2J\u{202e}\u{9b}\n"#);
        let json = serde_json::to_string(&[text, "\u{e0001}"]).unwrap();
        let shown = printable_json(&json);
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{9b}', '\u{e0001}']));
        let again: Vec<String> = serde_json::from_str(&shown).unwrap();
        assert_eq!(again, [text, "\u{e0001}"]);
    }
}
