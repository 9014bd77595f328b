//! `mse session read`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::output::create;
use super::secrecy::{Documents, HIDDEN};
use super::stored::Current;
use crate::cas::CasChoice;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::findings::printable_json;
use crate::text_input::is_stdin;
use crate::ui::{Report, counted, good, pairs, print};

/// Read a session from a CAS: the current version, or any other by its hash
///
/// It is printed for people, with values of secrets as `(secret value)`. `--output FILE` writes the
/// text itself, which other commands read; `-` is standard output. Secrets that the CAS makes are
/// in no version.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session read team/shop
  mse session read team/shop --hash $(cat session.hash) --output before.json
  mse session read team/shop --json | jq .session.services")]
pub(super) struct Read {
    /// The session
    #[arg(value_name = "NAME")]
    name: String,
    /// The version
    #[arg(long, value_name = "HEX")]
    hash: Option<String>,
    /// Write the text, secrets and all, to this new file, which only you may read
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cas: CasChoice,
}

impl Read {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let read = Current::read(&mut cas, &self.name, self.hash.as_deref()).await?;
        if self.output.as_deref().is_some_and(is_stdin) {
            return print(&read.view.text);
        }
        if let Some(file) = &self.output {
            create(file, format!("{}\n", read.view.text).as_bytes())?;
        }
        let Documents { shown, hidden, .. } = Documents::of(&read.session)?;
        if hidden > 0 && self.output.is_none() {
            let values = counted(hidden, "value", "values");
            scene.ui.advice(&format!(
                "{values} of secrets shown as `{HIDDEN}`; `--output FILE` has them"
            ));
        }
        scene.ui.report(&Shown {
            name: read.session.name.to_string(),
            hash: read.hash.to_string(),
            number: read.view.number,
            created_at: read.view.created_at.to_string(),
            is_current: read.view.is_current,
            revoked: read.is_revoked(),
            file: self.output,
            session: shown,
        })
    }
}

#[derive(Serialize)]
struct Shown {
    name: String,
    hash: String,
    number: u64,
    created_at: String,
    is_current: bool,
    revoked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    session: Value,
}

impl Report for Shown {
    fn text(&self) -> String {
        let state = match (self.revoked, self.is_current) {
            (true, _) => "revoked",
            (false, true) => "current",
            (false, false) => "replaced since",
        };
        let head = pairs(&[
            ("Session", self.name.clone()),
            ("Hash", self.hash.clone()),
            (
                "Version",
                format!("{} of {}, {state}", self.number, self.created_at),
            ),
        ]);
        match &self.file {
            Some(file) => format!(
                "{} {}\n{head}",
                good("The session has been saved at:"),
                file.display()
            ),
            None => format!("{head}\n{}", printable_json(&format!("{:#}", self.session))),
        }
    }
}
