//! `mse session list` and `mse session history`

use clap::Args;
use mse_api::cas::{SESSION_HISTORY, SESSIONS, SessionHistory, SessionList, SessionState};
use serde::Serialize;

use crate::cas::CasChoice;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::findings::printable;
use crate::ui::{Report, table};

/// List the sessions at a CAS that you may read, or list
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session list
  mse session list team --json")]
pub(super) struct List {
    /// Only this namespace, and what is in it
    #[arg(value_name = "NAMESPACE")]
    within: Option<String>,
    #[command(flatten)]
    cas: CasChoice,
}

impl List {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let within: Vec<_> = self
            .within
            .iter()
            .map(|one| ("within", one.as_str()))
            .collect();
        let list: SessionList = cas.get(SESSIONS, &within).await?;
        scene.ui.report(&Listed(list))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Listed(SessionList);

impl Report for Listed {
    fn text(&self) -> String {
        if self.0.sessions.is_empty() {
            return "There is no session that you may see".to_owned();
        }
        let rows: Vec<[String; 4]> = self
            .0
            .sessions
            .iter()
            .map(|line| {
                let state = match line.state {
                    SessionState::Active => "active",
                    SessionState::Revoked => "revoked",
                };
                [
                    printable(&line.name),
                    line.number.to_string(),
                    state.to_owned(),
                    printable(&line.hash),
                ]
            })
            .collect();
        table(["NAME", "VERSION", "STATE", "HASH"], &rows)
    }
}

/// List all versions of a session, the first one first
///
/// `mse session read NAME --hash HEX` shows any of them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session history team/shop
  mse session history team/shop --json | jq -r .hashes[-1]")]
pub(super) struct History {
    /// The session
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    cas: CasChoice,
}

impl History {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let history: SessionHistory = cas.get(SESSION_HISTORY, &[("name", &self.name)]).await?;
        scene.ui.report(&Versions(history))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Versions(SessionHistory);

impl Report for Versions {
    fn text(&self) -> String {
        let rows: Vec<[String; 2]> = (1..)
            .zip(&self.0.hashes)
            .map(|(number, hash): (u64, _)| [number.to_string(), printable(hash)])
            .collect();
        table(["VERSION", "HASH"], &rows)
    }
}
