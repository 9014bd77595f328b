//! `mse manifest check`

use std::path::{Path, PathBuf};

use clap::Args;
use mse_mesh::{Kind, Outcome, Undefined, check_text};
use mse_session::MAX_BYTES;
use serde::Serialize;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::{Finding, Findings, Stream};
use crate::text_input::{VariableArgs, shown_path, text_of};
use crate::ui::{Report, bad, good};

/// Say all that is wrong with a service manifest or Meshfile, and what is dangerous about it
///
/// Each finding has its line and column, a stable code, the field, and what to do. A variable
/// `$NAME` without value is a warning here, and an error where the document is used. Ends with 1
/// if the document has errors or cannot be read.
///
/// With `--json`: an object with `ok`, `kind` (`genservice`, `mesh` or null), `errors` and
/// `warnings`, each of these with `code`, `line`, `column`, `field`, `message` and `hint`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse manifest check service.yml
  mse manifest check service.yml.template -e APP_IMAGE_REPO=registry.example/shop
  generate | mse manifest check - --json")]
pub(super) struct Check {
    /// The document; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    variables: VariableArgs,
}

impl Check {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let variables = self.variables.variables()?.with_undefined(Undefined::Left);
        let (kind, findings) = match text_of(&self.file, MAX_BYTES) {
            Ok(text) => {
                let Outcome {
                    kind, diagnostics, ..
                } = check_text(&text, &variables);
                (kind, Findings::of(diagnostics))
            }
            Err(failure) => (None, Findings::unreadable(&failure)),
        };
        let checked = Checked {
            file: &self.file,
            kind,
            findings,
        };
        scene.ui.report(&checked)?;
        if checked.is_ok() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Refused,
            format!(
                "`{}` did not pass: {}",
                shown_path(&self.file),
                checked.findings.counts()
            ),
        ))
    }
}

struct Checked<'a> {
    file: &'a Path,
    kind: Option<Kind>,
    findings: Findings,
}

impl Checked<'_> {
    fn is_ok(&self) -> bool {
        self.findings.errors.is_empty()
    }
}

/// [`Checked`], for programs.
#[derive(Serialize)]
struct Shape<'a> {
    ok: bool,
    kind: Option<&'static str>,
    errors: Vec<FindingShape<'a>>,
    warnings: Vec<FindingShape<'a>>,
}

#[derive(Serialize)]
struct FindingShape<'a> {
    code: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    field: &'a str,
    message: &'a str,
    hint: Option<&'a str>,
}

impl<'a> From<&'a Finding> for FindingShape<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            code: &finding.code,
            line: finding.line,
            column: finding.column,
            field: &finding.field,
            message: &finding.message,
            hint: finding.help.as_deref(),
        }
    }
}

impl Serialize for Checked<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shape = Shape {
            ok: self.is_ok(),
            kind: self.kind.map(Kind::as_str),
            errors: self.findings.errors.iter().map(Into::into).collect(),
            warnings: self.findings.warnings.iter().map(Into::into).collect(),
        };
        shape.serialize(serializer)
    }
}

impl Report for Checked<'_> {
    fn text(&self) -> String {
        let findings = self.findings.text(self.file, Stream::Stdout);
        let what = match self.kind {
            Some(Kind::Service) => "service manifest",
            Some(Kind::Mesh) => "Meshfile",
            None => "document",
        };
        let word = if self.is_ok() {
            good(format!("valid {what}"))
        } else {
            bad(format!("not a valid {what}"))
        };
        let last = format!(
            "{}: {word}: {}",
            shown_path(self.file),
            self.findings.counts()
        );
        if findings.is_empty() {
            last
        } else {
            format!("{findings}\n{last}")
        }
    }
}
