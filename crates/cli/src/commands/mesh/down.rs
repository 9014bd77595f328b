//! `mse mesh down`

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Which;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{Report, good};

/// Longer than all programs have to end.
const PATIENCE: Duration = Duration::from_secs(40);

/// End a mesh that runs on this machine
///
/// Programs are asked to end, and killed after ten seconds. The policies stay at the CAS, and what
/// volumes hold stays in the target folder.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse mesh down
  mse mesh down --target shop/target")]
pub(super) struct Down {
    #[command(flatten)]
    which: Which,
}

impl Down {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let folder = self.which.folder()?;
        let state = folder.state()?.filter(|_| folder.is_running());
        let Some(state) = state else {
            return scene.ui.report(&Ended { was_running: false });
        };
        // The lock is held, so the process is the one that wrote the state.
        ask(state.pid, "TERM")?;
        let step = scene.ui.step("Ending the services");
        let deadline = Instant::now() + PATIENCE;
        while folder.is_running() {
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!("process {} has not ended the mesh yet", state.pid),
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
        step.done("All services have ended");
        scene.ui.report(&Ended { was_running: true })
    }
}

/// Sends a signal to the process that runs a mesh.
pub(super) fn ask(pid: u32, signal: &str) -> Result<(), Failure> {
    let status = std::process::Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()
        .map_err(|error| Failure::other(format!("`kill`: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::other(format!(
            "process {pid}, which runs the mesh, cannot be sent a signal"
        )))
    }
}

#[derive(Serialize)]
struct Ended {
    was_running: bool,
}

impl Report for Ended {
    fn text(&self) -> String {
        if self.was_running {
            good("The mesh has ended")
        } else {
            "The mesh does not run".to_owned()
        }
    }
}
