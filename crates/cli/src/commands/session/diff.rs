//! `mse session diff`

mod changes;

use std::path::PathBuf;

use clap::Args;
use mse_session::{Session, SessionHash};
use serde::Serialize;
use serde_json::Value;

use self::changes::{Change, Side, What, changes};
use super::findings::{printable, printable_json};
use super::secrecy::Documents;
use super::source::{Reading, one_standard_input};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::{Report, bad, caution, counted, good, pairs};

/// Say what changes between two sessions, path by path, however they are written
///
/// Compared is what they mean: the canonical form, and the salt. Values of secrets are compared
/// and shown as `(secret value)`. Items of lists are matched by their names where they have some,
/// else by their places. Ends with 0 whether there are changes or not.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session diff old.yml session.yml
  mse session diff session.yml session.signed
  mse session diff old.yml session.yml --json | jq .identical")]
pub(super) struct Diff {
    /// The session before, plain or signed; `-` is standard input
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The session after
    #[arg(value_name = "NEW")]
    new: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

impl Diff {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        one_standard_input([self.old.as_path(), &self.new])?;
        let rules = self.reading.rules()?;
        let old = rules.load(&self.old)?.session;
        let new = rules.load(&self.new)?.session;
        let (before, after) = (Documents::of(&old)?, Documents::of(&new)?);
        let changes = changes(Side::of(&before), Side::of(&after));
        scene.ui.report(&Difference {
            identical: changes.is_empty(),
            old: Version::of(&old),
            new: Version::of(&new),
            changes,
        })
    }
}

#[derive(Serialize)]
struct Difference {
    identical: bool,
    old: Version,
    new: Version,
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct Version {
    name: String,
    hash: SessionHash,
}

impl Version {
    fn of(session: &Session) -> Self {
        Self {
            name: session.name.to_string(),
            hash: session.hash(),
        }
    }
}

impl Report for Difference {
    fn text(&self) -> String {
        if self.identical {
            return format!("{} {}", good("The sessions mean the same:"), self.new.hash);
        }
        let mut lines = vec![pairs(&[
            ("Old", format!("{} {}", self.old.name, self.old.hash)),
            ("New", format!("{} {}", self.new.name, self.new.hash)),
        ])];
        lines.extend(self.changes.iter().map(text));
        let count = |what| self.changes.iter().filter(|one| one.what == what).count();
        lines.push(format!(
            "{}: {} added, {} removed, {} changed",
            counted(self.changes.len(), "change", "changes"),
            count(What::Added),
            count(What::Removed),
            count(What::Changed)
        ));
        lines.join("\n")
    }
}

fn text(change: &Change) -> String {
    let path = printable(&change.path);
    let mut lines = vec![match change.what {
        What::Added => good(format!("+ {path}")),
        What::Removed => bad(format!("- {path}")),
        What::Changed => caution(format!("~ {path}")),
    }];
    for (mark, value) in [('-', &change.old), ('+', &change.new)] {
        if let Some(value) = value {
            lines.push(format!("    {mark} {}", shown(value)));
        }
    }
    lines.join("\n")
}

fn shown(value: &Value) -> String {
    printable_json(&value.to_string())
}
