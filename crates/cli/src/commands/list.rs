//! `mse list`

use clap::Args;
use mse_api::{AppStatus, PartialApp};
use serde::Serialize;

use crate::api::{AppQuery, LIVE};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{Report, bad, good, local, table};

/// List the apps that live
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse list
  mse list default --all        also those of the project that have ended
  mse list --json | jq -r '.apps[].id'")]
pub(crate) struct List {
    /// Only the apps of this project
    #[arg(value_name = "PROJECT")]
    project: Option<String>,
    /// Also apps that have ended
    #[arg(long)]
    all: bool,
}

impl List {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let api = scene.api()?;
        let project = match &self.project {
            Some(name) => Some(api.project(name).await?.ok_or_else(|| {
                Failure::new(Exit::NotFound, format!("Project {name} does not exist"))
                    .with_hint("every account has the project `default`")
            })?),
            None => None,
        };
        let query = AppQuery {
            name: None,
            statuses: if self.all { &[] } else { &LIVE },
            project: project.map(|project| project.id),
            ..AppQuery::default()
        };
        let apps = api.apps(&query).await?;
        scene.ui.report(&Apps { apps })
    }
}

#[derive(Serialize)]
struct Apps {
    apps: Vec<PartialApp>,
}

impl Report for Apps {
    fn text(&self) -> String {
        if self.apps.is_empty() {
            return "No app is running; `mse deploy` starts one".to_owned();
        }
        let rows: Vec<[String; 5]> = self
            .apps
            .iter()
            .map(|app| {
                [
                    app.id.to_string(),
                    local(app.created_at),
                    coloured(app.status),
                    app.name.clone(),
                    if app.url.is_empty() {
                        app.domain_name.clone()
                    } else {
                        app.url.clone()
                    },
                ]
            })
            .collect();
        table(["ID", "CREATED", "STATUS", "NAME", "URL"], &rows)
    }
}

/// A status, in the colour of its meaning.
pub(super) fn coloured(status: AppStatus) -> String {
    match status {
        AppStatus::Running => good(status),
        AppStatus::OnError => bad(status),
        _ => status.to_string(),
    }
}
