//! What the platform must have before anything is changed there.

use mse_api::{Hardware, PartialApp, PlatformInfo, Project};

use super::plan::Plan;
use crate::api::{ApiClient, AppQuery, LIVE};
use crate::exit::Exit;
use crate::failure::Failure;

/// The platform, as far as a deployment needs it.
pub(crate) struct Reservation {
    pub(crate) platform: PlatformInfo,
    pub(crate) hardware: Hardware,
    /// A live app of the same name, which must be stopped first.
    pub(crate) replaces: Option<PartialApp>,
}

impl Reservation {
    /// Asks for everything that `plan` names.
    pub(crate) async fn of(plan: &Plan, api: &ApiClient) -> Result<Self, Failure> {
        let platform = api.platform().await?;
        let name = &plan.cloud.project;
        let project = api.project(name).await?.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("Project {name} does not exist")).with_hint(
                "correct `cloud.project` in `mse.toml`; every account has the project `default`",
            )
        })?;
        let hardware = api
            .hardware(&plan.cloud.hardware)
            .await
            .map_err(|failure| {
                if failure.is_not_found() {
                    Failure::new(
                        Exit::NotFound,
                        format!("the platform has no hardware `{}`", plan.cloud.hardware),
                    )
                    .with_hint("correct `cloud.hardware` in `mse.toml`")
                } else {
                    failure.into()
                }
            })?;
        let replaces = live_app(api, &plan.manifest.name, &project).await?;
        Ok(Self {
            platform,
            hardware,
            replaces,
        })
    }
}

/// The live app of this name in `project`: there is at most one.
pub(super) async fn live_app(
    api: &ApiClient,
    name: &str,
    project: &Project,
) -> Result<Option<PartialApp>, Failure> {
    let query = AppQuery {
        name: Some(name),
        statuses: &LIVE,
        project: Some(project.id),
        ..AppQuery::default()
    };
    let apps = api.apps(&query).await?;
    Ok(apps.into_iter().find(|app| app.name == name))
}
