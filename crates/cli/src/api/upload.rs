//! `POST /apps`: the encrypted bundle, streamed.

use std::path::Path;

use futures_util::TryStreamExt;
use mse_api::{App, CreateApp, IDEMPOTENCY_KEY, PART_CODE, PART_CONF};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::{ApiClient, ApiFailure};
use crate::failure::Failure;
use crate::ui::Counter;

const PIECE: usize = 256 * 1024;

/// What is uploaded.
pub(crate) struct Upload<'a> {
    /// Makes a repeated upload answer with the app that the first one made.
    pub(crate) key: Uuid,
    /// What is asked for.
    pub(crate) conf: &'a CreateApp,
    /// The encrypted bundle.
    pub(crate) archive: &'a Path,
}

impl ApiClient {
    /// Creates an app. It is not repeated blindly: only if the connection broke off is it sent
    /// once more, under the same key, which cannot make a second app.
    pub(crate) async fn create(
        &self,
        upload: &Upload<'_>,
        sent: &Counter,
    ) -> Result<App, CreateFailure> {
        match self.create_once(upload, sent).await {
            Err(CreateFailure::Api(failure)) if failure.leaves_doubt() => {
                tracing::info!(%failure, "the upload is repeated under the same key");
                self.create_once(upload, sent).await
            }
            outcome => outcome,
        }
    }

    async fn create_once(&self, upload: &Upload<'_>, sent: &Counter) -> Result<App, CreateFailure> {
        let unreadable = |error| Failure::file("read", upload.archive, &error);
        let file = File::open(upload.archive).await.map_err(unreadable)?;
        let length = file.metadata().await.map_err(unreadable)?.len();
        let sent = sent.clone();
        let pieces = ReaderStream::with_capacity(file, PIECE)
            .inspect_ok(move |piece| sent.add(piece.len() as u64));
        let code = Part::stream_with_length(Body::wrap_stream(pieces), length)
            .file_name("app.tar")
            .mime_str("application/tar")
            .map_err(|error| self.unreachable(&error))?;
        let conf = serde_json::to_string(upload.conf)
            .map_err(|error| Failure::other(format!("the request is no JSON: {error}")))?;
        let conf = Part::text(conf)
            .mime_str("application/json")
            .map_err(|error| self.unreachable(&error))?;
        let request = self
            .request(Method::POST, "/apps")
            .timeout(std::time::Duration::from_hours(24))
            .header(IDEMPOTENCY_KEY, upload.key.to_string())
            // The small part first: the platform can refuse before it takes the large one.
            .multipart(Form::new().part(PART_CONF, conf).part(PART_CODE, code));
        Ok(self.answer(self.send(request).await?).await?)
    }
}

/// Why no app was created, as far as is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateFailure {
    /// The call failed.
    #[error(transparent)]
    Api(#[from] ApiFailure),
    /// Nothing was sent.
    #[error("{0}")]
    Local(Failure),
}

impl CreateFailure {
    /// Whether there may be an app all the same.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Self::Api(failure) => failure.leaves_doubt(),
            Self::Local(_) => false,
        }
    }
}

impl From<Failure> for CreateFailure {
    fn from(failure: Failure) -> Self {
        Self::Local(failure)
    }
}

impl From<CreateFailure> for Failure {
    fn from(failure: CreateFailure) -> Self {
        match failure {
            CreateFailure::Api(failure) => failure.into(),
            CreateFailure::Local(failure) => failure,
        }
    }
}
