//! Which app is meant: commands take an id, or the name of an app that lives.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use mse_workload::AppId;

use crate::api::{ApiClient, AppQuery, LIVE};
use crate::exit::Exit;
use crate::failure::Failure;

/// An app as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AppName {
    /// By its id.
    Id(AppId),
    /// By the name in its `mse.toml`.
    Name(String),
}

impl AppName {
    /// Finds the app on the platform: of those of a name the one that lives, or else the latest.
    pub(crate) async fn resolve_any(&self, api: &ApiClient) -> Result<AppId, Failure> {
        match (self, self.resolve(api).await) {
            (Self::Name(name), Err(failure)) if failure.exit() == Exit::NotFound => {
                self.latest(api, name).await
            }
            (_, found) => found,
        }
    }

    /// Finds the app on the platform: by its name only if it lives.
    pub(crate) async fn resolve(&self, api: &ApiClient) -> Result<AppId, Failure> {
        let name = match self {
            Self::Id(id) => return Ok(*id),
            Self::Name(name) => name,
        };
        let query = AppQuery {
            name: Some(name),
            statuses: &LIVE,
            project: None,
            ..AppQuery::default()
        };
        let apps = api.apps(&query).await?;
        let ids: Vec<AppId> = apps
            .iter()
            .filter(|app| app.name == *name)
            .map(|app| app.id)
            .collect();
        match ids[..] {
            [id] => Ok(id),
            [] => Err(self.not_found()),
            _ => Err(ambiguous(name, &ids)),
        }
    }

    /// The latest app of that name, which has ended: what it said last is what is wanted.
    async fn latest(&self, api: &ApiClient, name: &str) -> Result<AppId, Failure> {
        let query = AppQuery {
            name: Some(name),
            ..AppQuery::default()
        };
        let apps = api.apps(&query).await?;
        apps.iter()
            .filter(|app| app.name == name)
            .max_by_key(|app| app.created_at)
            .map(|app| app.id)
            .ok_or_else(|| self.not_found())
    }

    /// There is no such app.
    pub(crate) fn not_found(&self) -> Failure {
        let message = match self {
            Self::Id(id) => format!("Cannot find the app with id `{id}`"),
            Self::Name(name) => format!("no app named `{name}` is running"),
        };
        Failure::new(Exit::NotFound, message)
            .with_hint("`mse list --all` shows all apps, also those that have ended")
    }
}

/// A name that several apps have.
pub(crate) fn ambiguous(name: &str, ids: &[AppId]) -> Failure {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    Failure::new(
        Exit::Usage,
        format!("several apps are named `{name}`: {}", ids.join(", ")),
    )
    .with_hint("name one by its id")
}

impl FromStr for AppName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(id) => Self::Id(id),
            Err(_) => Self::Name(text.trim().to_owned()),
        })
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}
