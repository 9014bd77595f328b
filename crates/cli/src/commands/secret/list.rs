//! `mse secret list`

use clap::Args;
use jiff::Timestamp;
use mse_api::cas::{SECRETS, SecretList};
use serde::Serialize;

use crate::cas::CasChoice;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::findings::printable;
use crate::ui::{Report, local, table};

/// List the secrets of a session, without their values
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse secret list team/shop
  mse secret list team/shop --json | jq '.secrets[].version'")]
pub(super) struct List {
    /// The session
    #[arg(value_name = "SESSION")]
    session: String,
    #[command(flatten)]
    cas: CasChoice,
}

impl List {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let list: SecretList = cas.get(SECRETS, &[("session", &self.session)]).await?;
        scene.ui.report(&Secrets(list))
    }
}

/// Secrets, for people and programs.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Secrets(pub(super) SecretList);

impl Report for Secrets {
    fn text(&self) -> String {
        if self.0.secrets.is_empty() {
            return "The session has no secrets".to_owned();
        }
        let rows: Vec<[String; 6]> = self
            .0
            .secrets
            .iter()
            .map(|line| {
                [
                    printable(&line.name),
                    printable(&line.kind),
                    printable(&line.source),
                    line.version.to_string(),
                    when(line.grace_until),
                    when(line.renew_at),
                ]
            })
            .collect();
        table(
            [
                "NAME",
                "KIND",
                "SOURCE",
                "VERSION",
                "FORMER UNTIL",
                "RENEWED",
            ],
            &rows,
        )
    }
}

fn when(instant: Option<Timestamp>) -> String {
    instant.map_or_else(|| "-".to_owned(), local)
}
