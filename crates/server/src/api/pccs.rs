//! Collateral in the form of Intel's caching service: the simulated platform's own, and that of
//! real platforms from an upstream service, if there is one.
//!
//! Two kinds of platforms share the paths under [`BASE`], and only some requests of Intel's API
//! name the machine type. So clients of MSE add `fmspc` to all of them; what names another machine
//! type than the simulated one, and what the simulated platform cannot have (TDX, the processor
//! CA), comes from upstream. Clients that know nothing of that use [`UPSTREAM`].

use std::time::SystemTime;

use axum::extract::OriginalUri;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use mse_api::{ApiError, ErrorCode};
use mse_collateral::pccs::PccsRequest;
use mse_collateral::{DcapTee, Document, Fmspc, Freshness, PckCa};
use mse_simtee::{FMSPC, pccs};

use super::State;
use super::refusal::Refusal;

/// Where the service lies under this API.
pub(super) const BASE: &str = "/pccs";
/// Where real platforms' collateral lies under [`BASE`], and no other.
const UPSTREAM: &str = "/upstream";

/// Collateral to appraise this platform's quotes with.
///
/// `tcb?fmspc=`, `qe/identity`, `pckcrl?ca=platform`, `rootcacrl`, as Intel's service of version 4
/// answers them. With the `fmspc` of a real platform (on any of them) the documents come from the
/// upstream service, if this server has one. Nothing of it needs to be trusted.
#[utoipa::path(
    get, path = "/pccs/sgx/certification/v4/{*document}", tag = "platform", security(()),
    params(("document" = String, Path, description = "path below `/sgx/certification/v4/`")),
    responses(
        (status = OK, description = "the document, its issuer chain in a header"),
        (status = NOT_FOUND, body = ApiError),
        (status = SERVICE_UNAVAILABLE, body = ApiError),
    )
)]
pub(super) async fn collateral(
    api: State,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Refusal> {
    let asked = uri.path_and_query().map_or("", |path| path.as_str());
    let asked = asked.strip_prefix(BASE).unwrap_or_default();
    match PccsRequest::parse(asked) {
        Some(request) if is_of_real_platforms(&request) => from_upstream(&api, &request).await,
        _ => own(&api, asked),
    }
}

/// Collateral of real TDX platforms, from the upstream service.
///
/// `tcb?fmspc=` and `qe/identity`, as Intel's service of version 4 answers them.
#[utoipa::path(
    get, path = "/pccs/tdx/certification/v4/{*document}", tag = "platform", security(()),
    params(("document" = String, Path, description = "path below `/tdx/certification/v4/`")),
    responses(
        (status = OK, description = "the document, its issuer chain in a header"),
        (status = NOT_FOUND, body = ApiError),
        (status = SERVICE_UNAVAILABLE, body = ApiError),
    )
)]
pub(super) async fn tdx_collateral(api: State, uri: OriginalUri) -> Result<Response, Refusal> {
    collateral(api, uri).await
}

/// Collateral of real platforms only, from the upstream service.
///
/// For clients that know nothing of simulated platforms: the whole API of a caching service,
/// version 4, lies below this path.
#[utoipa::path(
    get, path = "/pccs/upstream/{*document}", tag = "platform", security(()),
    params(("document" = String, Path, description = "for instance `tdx/certification/v4/qe/identity`")),
    responses(
        (status = OK, description = "the document, its issuer chain in a header"),
        (status = NOT_FOUND, body = ApiError),
        (status = SERVICE_UNAVAILABLE, body = ApiError),
    )
)]
pub(super) async fn upstream_collateral(
    api: State,
    OriginalUri(uri): OriginalUri,
) -> Result<Response, Refusal> {
    let asked = uri.path_and_query().map_or("", |path| path.as_str());
    let request = asked
        .strip_prefix(BASE)
        .and_then(|asked| asked.strip_prefix(UPSTREAM))
        .and_then(PccsRequest::parse)
        .ok_or_else(nothing)?;
    from_upstream(&api, &request).await
}

/// Whether the simulated platform cannot be meant.
fn is_of_real_platforms(request: &PccsRequest) -> bool {
    let names_another = request.about.is_some_and(|fmspc| fmspc != Fmspc(FMSPC));
    names_another
        || matches!(
            request.document,
            Document::TcbInfo {
                tee: DcapTee::Tdx,
                ..
            } | Document::QeIdentity {
                tee: DcapTee::Tdx,
                ..
            } | Document::PckCrl(PckCa::Processor)
        )
}

/// The simulated platform's.
fn own(api: &State, asked: &str) -> Result<Response, Refusal> {
    let collateral = api
        .platform
        .collateral(SystemTime::now())
        .map_err(Refusal::internal)?;
    let answer = pccs::respond(asked, &collateral).ok_or_else(nothing)?;
    response(answer.body, answer.headers)
}

async fn from_upstream(api: &State, request: &PccsRequest) -> Result<Response, Refusal> {
    let Some(upstream) = &api.upstream else {
        return Err(nothing());
    };
    let found = upstream
        .document(&request.document, None)
        .await
        .map_err(|error| {
            if error.is_not_found() {
                return nothing();
            }
            // The log has the address of the upstream service, which is not the callers' business.
            ApiError::new(
                ErrorCode::Unavailable,
                "the upstream collateral service gives no usable answer",
            )
            .with_hint("try again later")
            .into()
        })?;
    let answer = request.respond(&found.answer, &found.reading);
    let mut response = response(answer.body, answer.headers)?;
    if found.freshness == Freshness::Stale {
        let stale = HeaderValue::from_static("110 - \"Response is Stale\"");
        response.headers_mut().insert(header::WARNING, stale);
    }
    Ok(response)
}

fn response(
    body: Vec<u8>,
    headers: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Response, Refusal> {
    let mut response = body.into_response();
    for (name, value) in headers {
        response.headers_mut().insert(
            HeaderName::try_from(name).map_err(Refusal::internal)?,
            HeaderValue::try_from(value).map_err(Refusal::internal)?,
        );
    }
    Ok(response)
}

fn nothing() -> Refusal {
    Refusal::not_found("this platform has no such collateral")
}
