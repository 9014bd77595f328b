//! Projects and hardware.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use mse_api::{ApiError, AppDefaults, Hardware, Project};
use mse_runtime::images::Catalogue;
use serde::Deserialize;

use super::State;
use super::caller::Caller;
use super::refusal::Refusal;
use crate::store::{HardwareRecord, ProjectRecord};

/// What a new app is proposed.
#[utoipa::path(
    get, path = "/apps/default", tag = "apps",
    responses((status = OK, body = AppDefaults), (status = UNAUTHORIZED, body = ApiError))
)]
pub(super) async fn defaults(api: State, caller: Caller) -> Result<Json<AppDefaults>, Refusal> {
    let store = &api.fleet.platform().store;
    let projects = store.projects(caller.account.id, None).await?;
    let project = projects
        .iter()
        .find(|project| project.is_default)
        .or(projects.first())
        .ok_or_else(|| Refusal::not_found("you have no project"))?;
    let hardware = store.hardware(project.id).await?;
    let docker = Catalogue::builtin()
        .resolve(DEFAULT_IMAGE)
        .map(|_| DEFAULT_IMAGE)
        .map_err(Refusal::internal)?;
    Ok(Json(AppDefaults {
        project: project.name.clone(),
        docker: docker.to_owned(),
        hardware: hardware
            .into_iter()
            .next()
            .map_or_else(String::new, |h| h.name),
    }))
}

/// The caller's projects.
#[utoipa::path(
    get, path = "/projects", tag = "projects", params(ProjectQuery),
    responses((status = OK, body = [Project]), (status = UNAUTHORIZED, body = ApiError))
)]
pub(super) async fn list(
    api: State,
    caller: Caller,
    query: Result<Query<ProjectQuery>, QueryRejection>,
) -> Result<Json<Vec<Project>>, Refusal> {
    let Query(query) = query?;
    let store = &api.fleet.platform().store;
    let projects = store
        .projects(caller.account.id, query.name.as_deref())
        .await?;
    Ok(Json(projects.into_iter().map(shown).collect()))
}

/// One of the caller's projects.
#[utoipa::path(
    get, path = "/projects/{id}", tag = "projects", params(("id" = Uuid, Path)),
    responses((status = OK, body = Project), (status = NOT_FOUND, body = ApiError))
)]
pub(super) async fn project(
    api: State,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Project>, Refusal> {
    let projects = api
        .fleet
        .platform()
        .store
        .projects(caller.account.id, None)
        .await?;
    let found = projects
        .into_iter()
        .find(|project| project.id.to_string() == id);
    found
        .map(|project| Json(shown(project)))
        .ok_or_else(|| Refusal::not_found(format!("you have no project `{}`", clip(&id))))
}

/// A hardware of the caller's projects.
#[utoipa::path(
    get, path = "/hardwares/{name}", tag = "projects", params(("name" = String, Path)),
    responses((status = OK, body = Hardware), (status = NOT_FOUND, body = ApiError))
)]
pub(super) async fn hardware(
    api: State,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Hardware>, Refusal> {
    let store = &api.fleet.platform().store;
    let found = store.hardware_of_owner(caller.account.id, &name).await?;
    found
        .map(|hardware| Json(hardware_shown(hardware)))
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "none of your projects has a hardware `{}`",
                clip(&name)
            ))
        })
}

/// Which projects.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ProjectQuery {
    /// The one of this name.
    name: Option<String>,
}

fn shown(project: ProjectRecord) -> Project {
    Project {
        id: project.id.0,
        name: project.name,
        description: project.description,
        owner_id: project.owner_id.to_string(),
        is_default: project.is_default,
        stripe_customer_id: None,
        stripe_payment_method_id: None,
        created_at: project.created_at,
        deleted_at: None,
    }
}

fn hardware_shown(hardware: HardwareRecord) -> Hardware {
    Hardware {
        name: hardware.name,
        memory: hardware.memory_gib,
        cores: f64::from(hardware.millicores) / 1000.0,
        enclave_size: hardware.enclave_size_mib,
    }
}

/// What a caller wrote, at a length that a message can hold.
pub(super) fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

const DEFAULT_IMAGE: &str = "mse-flask:20261123000000";
