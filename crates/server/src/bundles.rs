//! Encrypted bundles for pods of a cluster, over plain HTTP: `GET /bundles/<app id>/<digest>`.
//!
//! What is sent is ciphertext under the owner's key. Who fetches it knows the digest, checks it,
//! and so does the enclave: nobody on the way can change what runs. Only bundles of live apps are
//! sent, and only to who names app and digest.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mse_crypto::Digest;
use mse_workload::AppId;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::deploy::Fleet;

/// The routes, for an `ApiListener` of their own.
pub fn router(fleet: Fleet) -> Router {
    Router::new()
        .route("/bundles/{app}/{digest}", get(bundle))
        .route("/health", get(|| async { "ok" }))
        .with_state(Arc::new(fleet))
}

async fn bundle(
    State(fleet): State<Arc<Fleet>>,
    Path((app, digest)): Path<(String, String)>,
) -> Response {
    let (Ok(app), Ok(digest)) = (app.parse::<AppId>(), digest.parse::<Digest>()) else {
        return nothing();
    };
    let platform = fleet.platform();
    match platform.store.app(app).await {
        Ok(Some(found)) if !found.status.is_terminated() && found.app.workload.bundle == digest => {
        }
        Ok(_) => return nothing(),
        Err(error) => {
            tracing::error!(%app, %error, "a bundle cannot be looked up");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    }
    let opened = async {
        let file = File::open(platform.blobs.path(app)).await?;
        let length = file.metadata().await?.len();
        Ok::<_, std::io::Error>((file, length))
    };
    match opened.await {
        Ok((file, length)) => (
            [
                (header::CONTENT_LENGTH, length.to_string()),
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
            ],
            Body::from_stream(ReaderStream::with_capacity(file, PIECE)),
        )
            .into_response(),
        Err(error) => {
            tracing::error!(%app, %error, "a bundle cannot be read");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The same for all that is not there: nobody learns which apps there are.
fn nothing() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

const PIECE: usize = 64 * 1024;
