//! `mse stop`

use clap::Args;
use mse_workload::AppId;
use serde::Serialize;

use crate::app_name::AppName;
use crate::cli::Scene;
use crate::context::ContextStore;
use crate::deploy::stop_and_wait;
use crate::failure::Failure;
use crate::ui::Report;

/// Stop apps, for good
///
/// A stopped app cannot be started again: its key is gone with its enclave, and its context is
/// removed from this machine.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse stop hello
  mse stop hello shop")]
pub(crate) struct Stop {
    /// Ids of apps, or names of live ones
    #[arg(value_name = "APP", required = true)]
    apps: Vec<AppName>,
    /// Keep the contexts of the apps
    #[arg(long)]
    keep_context: bool,
}

impl Stop {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let api = scene.api()?;
        let contexts = ContextStore::of(&scene.conf);
        // All names first: a misspelt one must not leave half of them stopped.
        let mut ids = Vec::new();
        for app in &self.apps {
            let id = app.resolve(&api).await?;
            api.app(id).await.map_err(|failure| {
                if failure.is_not_found() {
                    AppName::Id(id).not_found()
                } else {
                    failure.into()
                }
            })?;
            ids.push(id);
        }
        for id in &ids {
            let step = scene.ui.step(format!("Stopping {id}"));
            stop_and_wait(&api, *id).await?;
            if !self.keep_context {
                contexts.dir(id.0).remove()?;
            }
            step.done(&format!("The app {id} has ended"));
        }
        scene.ui.report(&Stopped { stopped: ids })
    }
}

#[derive(Serialize)]
struct Stopped {
    stopped: Vec<AppId>,
}

impl Report for Stopped {
    fn text(&self) -> String {
        let lines: Vec<String> = self
            .stopped
            .iter()
            .map(|id| format!("App {id} has been successfully stopped"))
            .collect();
        lines.join("\n")
    }
}
