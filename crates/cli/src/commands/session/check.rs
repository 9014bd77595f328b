//! `mse session check`

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Serialize, Serializer};

use super::source::{Reading, one_standard_input};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::{Findings, Stream};
use crate::text_input::shown_path;
use crate::ui::{Report, bad, counted, good};

/// Say all that is wrong with sessions, and what is dangerous about them
///
/// Each finding has its line and column, a stable code, the field, and what to do. Ends with 1 if
/// a session has errors or cannot be read.
///
/// With `--json`: for one file an object with `ok`, `errors` and `warnings`, each of these with
/// `code`, `line`, `column`, `field`, `message` and `help`; for several files a list of such
/// objects, each with its `file`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session check session.yml
  mse session check template.yml -e IMAGE=api -e REGION=eu --fail-on-warning
  mse session check --import scone/*.yml
  generate | mse session check - --json")]
pub(super) struct Check {
    /// The sessions; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Also fail if there are warnings
    #[arg(long)]
    fail_on_warning: bool,
}

impl Check {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        one_standard_input(self.files.iter().map(PathBuf::as_path))?;
        let rules = self.reading.rules()?;
        let checked = self.files.into_iter().map(|file| {
            let findings = rules.check(&file);
            let is_warned = self.fail_on_warning && !findings.warnings.is_empty();
            Checked {
                ok: findings.errors.is_empty() && !is_warned,
                findings,
                file,
            }
        });
        let all = All(checked.collect());
        scene.ui.report(&all)?;
        all.outcome()
    }
}

/// One file.
#[derive(Serialize)]
struct Checked {
    #[serde(skip)]
    file: PathBuf,
    ok: bool,
    #[serde(flatten)]
    findings: Findings,
}

/// One of several files.
#[derive(Serialize)]
struct Named<'a> {
    file: &'a Path,
    #[serde(flatten)]
    checked: &'a Checked,
}

struct All(Vec<Checked>);

impl All {
    /// How the command ends.
    fn outcome(&self) -> Result<(), Failure> {
        let failed = self.0.iter().filter(|one| !one.ok).count();
        let message = match (self.0.as_slice(), failed) {
            (_, 0) => return Ok(()),
            ([one], _) => format!(
                "`{}` did not pass: {}",
                shown_path(&one.file),
                one.findings.counts()
            ),
            (all, _) => format!("{failed} of {} sessions did not pass", all.len()),
        };
        Err(Failure::new(Exit::Refused, message))
    }
}

impl Serialize for All {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            several => serializer.collect_seq(several.iter().map(|checked| Named {
                file: &checked.file,
                checked,
            })),
        }
    }
}

impl Report for All {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        for one in &self.0 {
            let findings = one.findings.text(&one.file, Stream::Stdout);
            if !findings.is_empty() {
                lines.push(findings);
            }
            let word = match (one.ok, one.findings.errors.is_empty()) {
                (true, _) => good("valid"),
                (false, true) => bad("valid, but has warnings"),
                (false, false) => bad("not valid"),
            };
            lines.push(format!(
                "{}: {word}: {}",
                shown_path(&one.file),
                one.findings.counts()
            ));
        }
        if self.0.len() > 1 {
            let passed = self.0.iter().filter(|one| one.ok).count();
            let sessions = counted(self.0.len(), "session", "sessions");
            lines.push(format!("{passed} of {sessions} passed"));
        }
        lines.join("\n")
    }
}
