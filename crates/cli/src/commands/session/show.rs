//! `mse session show`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::secrecy::{Documents, HIDDEN};
use super::source::Reading;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::findings::printable_json;
use crate::ui::{Report, counted, print};

/// Print the canonical form of a session (JSON): what it means, in one spelling
///
/// Values of secrets are shown as `(secret value)`. With `--with-secrets --json` it is the exact
/// form that is hashed (RFC 8785, and a line feed), else it is laid out for people.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session show session.yml
  mse session show session.yml --json | jq .services
  mse session show session.yml --with-secrets --json > canonical.json")]
pub(super) struct Show {
    /// The session, plain or signed; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the values of secrets too
    #[arg(long)]
    with_secrets: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Show {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let session = self.reading.rules()?.load(&self.file)?.session;
        if self.with_secrets && scene.ui.is_json() {
            return print(&session.canonical());
        }
        let Documents {
            real,
            shown,
            hidden,
        } = Documents::of(&session)?;
        let mut document = if self.with_secrets { real } else { shown };
        if let Value::Object(entries) = &mut document {
            // It is no part of the canonical form.
            entries.retain(|key, _| key != "salt");
        }
        if hidden > 0 && !self.with_secrets {
            let values = counted(hidden, "value", "values");
            scene.ui.advice(&format!(
                "{values} of secrets shown as `{HIDDEN}`; `--with-secrets` prints them"
            ));
        }
        scene.ui.report(&Canonical(document))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Canonical(Value);

impl Report for Canonical {
    fn text(&self) -> String {
        // Pretty and compact JSON have the same texts.
        printable_json(&format!("{:#}", self.0))
    }
}
