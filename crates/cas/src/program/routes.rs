//! Which requests go where.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use mse_ratls::cas::client::{Problem, ProblemBody};
use mse_ratls::cas::{ATTEST, AttestRequest, DESCRIBE};
use serde::Serialize;

use super::Cas;
use crate::listen::{Channel, Service};

/// The longest body of any request: 1 MiB.
const MAX_BODY: usize = 1024 * 1024;

/// Answers all that a CAS is asked, services and clients alike.
pub struct Routes {
    cas: Arc<Cas>,
}

impl Routes {
    /// Answers for `cas`.
    pub fn new(cas: Arc<Cas>) -> Self {
        Self { cas }
    }

    async fn attest(&self, body: &[u8], channel: &Channel) -> Response<Full<Bytes>> {
        let nonce = serde_json::from_slice::<AttestRequest>(body)
            .ok()
            .and_then(|request| request.nonce());
        let Some(nonce) = nonce else {
            return problem(
                StatusCode::BAD_REQUEST,
                "malformed",
                "a challenge is JSON with `nonce`, 32 bytes in hexadecimal",
            );
        };
        match self.cas.attestation.answer(&nonce, &channel.binding).await {
            Ok(Some(answer)) => json(StatusCode::OK, &answer),
            Ok(None) => problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many ask for evidence at once: ask again",
            ),
            Err(error) => {
                tracing::error!(%error, "there is no evidence for a client");
                problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "no-evidence",
                    "the TEE gives no evidence now: ask again, or ask the operator for the log",
                )
            }
        }
    }
}

impl Service for Routes {
    fn max_body(&self) -> usize {
        MAX_BODY
    }

    async fn answer(&self, request: Request<Bytes>, channel: &Channel) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, DESCRIBE) => json(StatusCode::OK, self.cas.attestation.description()),
            (&Method::POST, ATTEST) => self.attest(request.body(), channel).await,
            (method, path) => not_found(method, path),
        }
    }
}

/// The answer to what there is not.
pub fn not_found(method: &Method, path: &str) -> Response<Full<Bytes>> {
    let path: String = path.chars().take(200).collect();
    problem(
        StatusCode::NOT_FOUND,
        "not-found",
        &format!("there is no `{method} {path}` at a CAS"),
    )
}

/// An answer that says no.
pub fn problem(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    json(
        status,
        &Problem {
            error: ProblemBody {
                code: code.to_owned(),
                message: message.to_owned(),
                details: None,
            },
        },
    )
}

/// An answer in JSON, which nobody on the way keeps.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let Ok(body) = serde_json::to_vec(body) else {
        let mut failed = Response::new(Full::default());
        *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return failed;
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
