//! `mse secret`

mod get;
mod list;
mod rotate;
mod set;

use clap::{Args, Subcommand};

use crate::cli::Scene;
use crate::failure::Failure;

/// The secrets of a session at a CAS: list them, renew them, give values
///
/// A value of a secret that is not for everybody never leaves the CAS but for attested services.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse secret list team/shop
  mse secret rotate team/shop password --grace 10m
  mse secret set team/shop token --key alice.pem --value-file token.txt
  mse secret get team/shop ca")]
pub(crate) struct Secret {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    List(list::List),
    Rotate(rotate::Rotate),
    Set(set::Set),
    Get(get::Get),
}

impl Secret {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::List(command) => command.run(scene).await,
            Action::Rotate(command) => command.run(scene).await,
            Action::Set(command) => command.run(scene).await,
            Action::Get(command) => command.run(scene).await,
        }
    }
}
