//! `mse cas position`

use clap::Args;
use mse_api::cas::PositionView;
use serde::Serialize;

use crate::cas::CasChoice;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::findings::printable;
use crate::ui::{Report, good, pairs};

/// Check that the store of a CAS follows from what you have seen of it
///
/// Every command about sessions and secrets does so first. It ends with 11 if the store was set
/// back, or another history was put in its place; what was seen before is then kept.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas position
  mse cas position --cas prod --json
  mse cas position --accept")]
pub(super) struct PositionCommand {
    /// Take the CAS as it is, after its owner has said why it was set back
    #[arg(long)]
    accept: bool,
    /// Do not ask
    #[arg(short, long, requires = "accept")]
    yes: bool,
    #[command(flatten)]
    cas: CasChoice,
}

impl PositionCommand {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.reach(scene).await?;
        let before = cas.seen.load();
        let position = if self.accept {
            let position = cas.position().await?;
            cas.seen.prove_store(&position)?;
            let seen = match &before {
                Ok(Some(seen)) => format!("transaction {}", seen.sequence),
                _ => "nothing that can be read".to_owned(),
            };
            let question = format!(
                "`{}` is at transaction {}, and you have seen {seen}. Take it as it is?",
                cas.name, position.sequence
            );
            scene.ui.agreed(self.yes, &question).await?;
            cas.seen.replace(&position)?;
            position
        } else {
            cas.prove_position().await?
        };
        scene.ui.report(&Shown {
            cas: cas.name.to_string(),
            seen_before: before.ok().flatten().map(|seen| seen.sequence),
            position,
        })
    }
}

#[derive(Serialize)]
struct Shown {
    cas: String,
    /// `null` the first time.
    seen_before: Option<u64>,
    position: PositionView,
}

impl Report for Shown {
    fn text(&self) -> String {
        let word = match self.seen_before {
            Some(seen) if seen <= self.position.sequence => {
                good(format!("follows from transaction {seen}"))
            }
            Some(seen) => format!("taken as it is; transaction {seen} was seen before"),
            None => "seen for the first time".to_owned(),
        };
        pairs(&[
            ("Store", printable(&self.position.store)),
            ("Transaction", format!("{}: {word}", self.position.sequence)),
            ("Head", printable(&self.position.head)),
        ])
    }
}
