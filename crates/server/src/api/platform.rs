//! What the platform says of itself, to anyone.

use axum::Json;
use mse_api::PlatformInfo;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;

/// Whether the platform works.
#[utoipa::path(
    get, path = "/health", tag = "platform", security(()),
    responses((status = OK, body = Health))
)]
pub(super) async fn health() -> Json<Health> {
    Json(Health {
        status: "ok".into(),
    })
}

/// What this platform is.
#[utoipa::path(
    get, path = "/platform", tag = "platform", security(()),
    responses((status = OK, body = PlatformInfo))
)]
pub(super) async fn platform(api: State) -> Json<PlatformInfo> {
    Json(PlatformInfo {
        version: env!("CARGO_PKG_VERSION").into(),
        tee: api.fleet.platform().launcher.tee().to_string(),
        gateway: api.fleet.platform().gateway.public_address().to_owned(),
        pccs_path: super::pccs::BASE.into(),
    })
}

/// The answer of `GET /health`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    status: String,
}
