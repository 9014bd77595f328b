//! `mse mesh update`

use std::time::Duration;

use clap::{Args, value_parser};
use tokio::time::{Instant, sleep};

use super::down::ask;
use super::up::Shown;
use super::{MAX_WAIT, Which};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::run::UPDATE;

const LOOK: Duration = Duration::from_millis(100);

/// Replace the services that `mse apply` has changed since, one at a time
///
/// The next follows when the one before is well; if one does not get well, the rest stay as they are.
///
/// In containers with a network of the mesh, a new version of a service with a health check starts
/// beside the old one, which ends when the new one is well. A service with a volume or with a port of
/// this machine is ended first and started anew, as all are without such a network: connections of
/// other services wait up to twenty seconds for it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse apply -f mesh.yaml && mse mesh update
  mse mesh update --wait 60")]
pub(super) struct Update {
    #[command(flatten)]
    which: Which,
    /// How many seconds to wait for the end of the update
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = value_parser!(u64).range(1..=MAX_WAIT))]
    wait: u64,
}

impl Update {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        // What it will read is sound.
        self.which.target().plan()?;
        let folder = self.which.folder()?;
        let Some(before) = folder.state()?.filter(|_| folder.is_running()) else {
            return Err(Failure::new(
                Exit::NotFound,
                format!("the mesh of `{}` does not run", self.which.target.display()),
            )
            .with_hint("`mse mesh up` runs it, as it was applied last"));
        };
        ask(before.pid, UPDATE)?;
        let step = scene.ui.step("Updating the services");
        let deadline = Instant::now() + Duration::from_secs(self.wait);
        loop {
            sleep(LOOK).await;
            let state = folder.state()?;
            if let Some(state) = state
                && state.updates > before.updates
                && !state.updating
            {
                if let Some(trouble) = state.trouble {
                    return Err(Failure::new(
                        Exit::Refused,
                        format!("the update was given up: {trouble}"),
                    )
                    .with_hint(
                        "the services that are listed after it are as they were; `mse mesh logs` shows more",
                    ));
                }
                step.done("All services are as they were applied");
                return scene.ui.report(&Shown(state));
            }
            if !folder.is_running() {
                return Err(Failure::other("the mesh ended meanwhile"));
            }
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!("the update is not done after {} seconds", self.wait),
                )
                .with_hint("it goes on: `mse mesh ps` shows how the services are"));
            }
        }
    }
}
