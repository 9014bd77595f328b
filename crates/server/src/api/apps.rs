//! Apps: listing, looking at, stopping and forgetting them.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use mse_api::{ApiError, App, AppStatus, ErrorCode, PartialApp};
use mse_workload::{AppId, TlsOrigin};
use serde::Deserialize;
use uuid::Uuid;

use super::caller::Caller;
use super::projects::clip;
use super::refusal::Refusal;
use super::{Api, State};
use crate::store::{AppFilter, AppRecord, ProjectId};

/// The caller's apps, latest first; at most 1000.
#[utoipa::path(
    get, path = "/apps", tag = "apps", params(AppQuery),
    responses(
        (status = OK, body = [PartialApp]),
        (status = BAD_REQUEST, body = ApiError),
        (status = UNAUTHORIZED, body = ApiError),
    )
)]
pub(super) async fn list(
    api: State,
    caller: Caller,
    query: Result<Query<AppQuery>, QueryRejection>,
) -> Result<Json<Vec<PartialApp>>, Refusal> {
    let Query(query) = query?;
    let filter = query.into_filter()?;
    let store = &api.fleet.platform().store;
    let apps = store.apps_of_owner(caller.account.id, &filter).await?;
    let partial = apps.into_iter().map(|app| {
        let app = api.shown(app);
        PartialApp {
            id: app.id,
            name: app.name,
            domain_name: app.domain_name,
            created_at: app.created_at,
            ready_at: app.ready_at,
            stopped_at: app.stopped_at,
            status: app.status,
            hardware_name: app.hardware_name,
            url: app.url,
        }
    });
    Ok(Json(partial.collect()))
}

/// One of the caller's apps.
#[utoipa::path(
    get, path = "/apps/{id}", tag = "apps", params(("id" = Uuid, Path)),
    responses((status = OK, body = App), (status = NOT_FOUND, body = ApiError))
)]
pub(super) async fn app(
    api: State,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<App>, Refusal> {
    let app = api.own_app(&caller, &id).await?;
    Ok(Json(api.shown(app)))
}

/// Stop an app, for good. Answers when it has ended, which may take some seconds; stopping an
/// app that has ended changes nothing.
#[utoipa::path(
    post, path = "/apps/{id}/stop", tag = "apps", params(("id" = Uuid, Path)),
    responses((status = OK, body = App), (status = NOT_FOUND, body = ApiError))
)]
pub(super) async fn stop(
    api: State,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<App>, Refusal> {
    let app = api.own_app(&caller, &id).await?;
    if !app.status.is_terminated() {
        api.fleet
            .stop(app.id(), "stopped by its owner", STOPPING)
            .await?;
    }
    let app = api.own_app(&caller, &id).await?;
    Ok(Json(api.shown(app)))
}

/// Forget an app that has ended, with its log.
#[utoipa::path(
    delete, path = "/apps/{id}", tag = "apps", params(("id" = Uuid, Path)),
    responses(
        (status = NO_CONTENT),
        (status = NOT_FOUND, body = ApiError),
        (status = CONFLICT, body = ApiError, description = "it has not ended"),
    )
)]
pub(super) async fn forget(
    api: State,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let app = api.own_app(&caller, &id).await?;
    let platform = api.fleet.platform();
    if !platform.store.forget_app(app.id()).await? {
        return Err(ApiError::new(
            ErrorCode::WrongState,
            format!("the app `{}` is {}", app.app.name, app.status),
        )
        .with_hint("stop it first")
        .into());
    }
    platform.logs.remove(app.id());
    Ok(StatusCode::NO_CONTENT)
}

/// Which apps.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AppQuery {
    /// Of this name.
    name: Option<String>,
    /// In one of these states, separated by commas.
    status: Option<String>,
    /// In the project of this id.
    project: Option<String>,
    /// Made by the request with this `Idempotency-Key`.
    idempotency_key: Option<String>,
}

impl AppQuery {
    fn into_filter(self) -> Result<AppFilter, ApiError> {
        let bad = |message: String| ApiError::new(ErrorCode::BadRequest, message);
        let statuses = self.status.unwrap_or_default();
        let statuses = statuses.split(',').filter(|status| !status.is_empty());
        let project = self.project.map(|id| {
            let parsed: Result<Uuid, _> = id.parse();
            parsed.map_err(|_| bad(format!("`{}` is not the id of a project", clip(&id))))
        });
        Ok(AppFilter {
            name: self.name,
            statuses: statuses
                .map(|status| {
                    AppStatus::parse(status).ok_or_else(|| {
                        bad(format!("`{}` is not a status", clip(status)))
                            .with_hint("use spawning, initializing, running, on_error or stopped")
                    })
                })
                .collect::<Result<_, _>>()?,
            project: project.transpose()?.map(ProjectId),
            idempotency_key: self.idempotency_key,
        })
    }
}

impl Api {
    /// The caller's app of this id. What is another's does not exist.
    pub(super) async fn own_app(&self, caller: &Caller, id: &str) -> Result<AppRecord, Refusal> {
        let missing = || Refusal::not_found(format!("you have no app `{}`", clip(id)));
        let id: AppId = id.parse().map_err(|_| missing())?;
        let store = &self.fleet.platform().store;
        let app = store.app_of_owner(caller.account.id, id).await?;
        app.ok_or_else(missing)
    }
}

impl AppRecord {
    /// A URL that any program on this machine can open; with a gateway for others, one for them. The
    /// owner's certificate is for the owner's domain, so such an app is reached through the gateway.
    pub(super) fn url(&self, gateway_port: u16, public_port: Option<u16>) -> String {
        let domain = &self.app.domain_name;
        let owners = self.app.workload.tls.origin == TlsOrigin::Owner;
        match (self.port, public_port.unwrap_or(gateway_port)) {
            (Some(port), _) if !owners && public_port.is_none() => {
                format!("https://localhost:{port}")
            }
            (_, 443) => format!("https://{domain}"),
            (_, port) => format!("https://{domain}:{port}"),
        }
    }
}

/// An enclave has ten seconds to end before it is killed.
const STOPPING: Duration = Duration::from_secs(20);
