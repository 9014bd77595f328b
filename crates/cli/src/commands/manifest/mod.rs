//! `mse manifest`

mod check;
mod convert;
mod schema;

use clap::{Args, Subcommand};

use crate::cli::Scene;
use crate::failure::Failure;

/// Check and convert service manifests and Meshfiles: what a service is made of, and which services
/// make an application
///
/// These commands need neither a login nor a network. `-` stands for standard input.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse manifest check service.yml
  mse manifest check mesh.yml.template -e APP_NAMESPACE=shop-1 --use-env
  mse manifest convert old-mesh.yml -o mesh.yml
  mse manifest schema mesh > mesh.schema.json")]
pub(crate) struct ManifestCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Check(check::Check),
    Convert(convert::Convert),
    Schema(schema::Schema),
}

impl ManifestCommand {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Check(command) => command.run(scene),
            Action::Convert(command) => command.run(scene),
            Action::Schema(command) => command.run(scene),
        }
    }
}
