//! `mse mesh`

mod diff;
mod down;
mod logs;
mod ps;
mod up;
mod update;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::Scene;
use crate::failure::Failure;
use crate::mesh::TargetDir;
use crate::mesh::run::RunFolder;

/// The longest that a command waits for services, in seconds: a day.
const MAX_WAIT: u64 = 24 * 60 * 60;

/// Run an application of several services on this machine
///
/// `mse apply -f mesh.yaml` has made its policies and the folder `target`; here its services run,
/// through the same policies and the same CAS, on this machine's SIMULATED TEE.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse mesh diff -f mesh.yaml
  mse mesh up --detach
  mse mesh ps
  mse mesh logs web --follow
  mse mesh update
  mse mesh down")]
pub(crate) struct MeshCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Diff(Box<diff::Diff>),
    Up(up::Up),
    Update(update::Update),
    Down(down::Down),
    Ps(ps::Ps),
    Logs(logs::Logs),
}

impl MeshCommand {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.what {
            What::Diff(command) => Box::pin(command.run(scene)).await,
            What::Up(command) => Box::pin(command.run(scene)).await,
            What::Update(command) => command.run(scene).await,
            What::Down(command) => command.run(scene).await,
            What::Ps(command) => command.run(scene),
            What::Logs(command) => command.run(scene).await,
        }
    }
}

/// Which mesh.
#[derive(Args)]
struct Which {
    /// The folder that `mse apply` wrote
    #[arg(short, long, value_name = "DIR", default_value = "target")]
    target: PathBuf,
}

impl Which {
    fn target(&self) -> TargetDir {
        TargetDir(self.target.clone())
    }

    fn folder(&self) -> Result<RunFolder, Failure> {
        RunFolder::of(&self.target)
    }
}
