//! `mse logs`

use clap::Args;
use mse_api::{LogEntry, LogStream, Logs as Log};
use serde::Serialize;

use crate::app_name::AppName;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::ui::{Report, print};

/// Show what an app, its enclave and the platform wrote
///
/// The last 64 kB; with `-f` everything, and what comes, until the app ends. With `-f --json`
/// each line is a JSON document.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse logs hello
  mse logs -f hello")]
pub(crate) struct Logs {
    /// Id of the app, or name of a live one
    #[arg(value_name = "APP")]
    app: AppName,
    /// Go on until the app ends
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let (api, id) = scene.api_and_app(&self.app).await?;
        let missing = |failure: crate::api::ApiFailure| {
            if failure.is_not_found() {
                self.app.not_found()
            } else {
                failure.into()
            }
        };
        if !self.follow {
            let log = api.logs(id).await.map_err(missing)?;
            return scene.ui.report(&Written(log));
        }
        api.app(id).await.map_err(missing)?;
        let following = async {
            let mut last = 0;
            loop {
                let after = last;
                last = api
                    .follow_logs(id, after, |entry| print(&line(scene, &entry)?))
                    .await?;
                // The stream ends with the app; if it ended early, go on where it ended.
                if api.app(id).await?.status.is_terminated() && last == after {
                    return Ok(());
                }
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            }
        };
        tokio::select! {
            outcome = following => outcome,
            // How following is meant to end.
            _ = interrupted() => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Written(Log);

impl Report for Written {
    fn text(&self) -> String {
        self.0.stdout.trim_end().to_owned()
    }
}

fn line(scene: &Scene<'_>, entry: &LogEntry) -> Result<String, Failure> {
    if scene.ui.is_json() {
        return serde_json::to_string(entry)
            .map_err(|error| Failure::other(format!("a line is no JSON: {error}")));
    }
    Ok(match entry.stream {
        LogStream::App => entry.text.clone(),
        LogStream::Enclave => format!("[enclave] {}", entry.text),
        LogStream::Platform => format!("[platform] {}", entry.text),
    })
}
