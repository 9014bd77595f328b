//! `mse collateral`

mod forecast;

use clap::{Args, Subcommand};

use crate::cli::Scene;
use crate::failure::Failure;

/// Work with what evidence is checked with: certificates, revocation lists, TCB information
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse collateral forecast quote.bin --collateral collateral.json")]
pub(crate) struct Collateral {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Forecast(forecast::Forecast),
}

impl Collateral {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Forecast(command) => command.run(scene),
        }
    }
}
