//! The simulated platform's collateral, in the form of Intel's caching service.

use std::time::SystemTime;

use axum::extract::OriginalUri;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use mse_api::ApiError;
use mse_simtee::pccs;

use super::State;
use super::refusal::Refusal;

/// Where the service lies under this API.
pub(super) const BASE: &str = "/pccs";

/// Collateral to appraise this platform's quotes with.
///
/// `tcb?fmspc=`, `qe/identity`, `pckcrl?ca=platform`, `rootcacrl`, as Intel's service of version 4
/// answers them.
#[utoipa::path(
    get, path = "/pccs/sgx/certification/v4/{*document}", tag = "platform", security(()),
    params(("document" = String, Path, description = "path below `/sgx/certification/v4/`")),
    responses(
        (status = OK, description = "the document, its issuer chain in a header"),
        (status = NOT_FOUND, body = ApiError),
    )
)]
pub(super) async fn collateral(
    api: State,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Refusal> {
    let collateral = api
        .platform
        .collateral(SystemTime::now())
        .map_err(Refusal::internal)?;
    let asked = uri.path_and_query().map_or("", |path| path.as_str());
    let asked = asked.strip_prefix(BASE).unwrap_or_default();
    let answer = pccs::respond(asked, &collateral)
        .ok_or_else(|| Refusal::not_found("this platform has no such collateral"))?;
    let mut response = answer.body.into_response();
    for (name, value) in answer.headers {
        response.headers_mut().insert(
            HeaderName::try_from(name).map_err(Refusal::internal)?,
            HeaderValue::try_from(value).map_err(Refusal::internal)?,
        );
    }
    Ok(response)
}
