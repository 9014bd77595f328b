//! Logs of apps.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use mse_api::{ApiError, LogEntry, Logs};
use mse_workload::AppId;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::State;
use super::caller::Caller;
use super::refusal::Refusal;
use crate::logbook::LogBook;

/// An app's log: the last 64 kB, or with `follow` a stream of `LogEntry` as JSON lines that goes
/// on until the app has ended.
#[utoipa::path(
    get, path = "/apps/{id}/logs", tag = "apps", params(("id" = Uuid, Path), LogQuery),
    responses(
        (status = OK, content((Logs = "application/json"), (LogEntry = "application/x-ndjson"))),
        (status = NOT_FOUND, body = ApiError),
    )
)]
pub(super) async fn logs(
    api: State,
    caller: Caller,
    Path(id): Path<String>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query?;
    let app = api.own_app(&caller, &id).await?.id();
    let book = api.fleet.platform().logs.clone();
    if !query.follow {
        let entries = tokio::task::spawn_blocking(move || book.tail(app, TAIL))
            .await
            .map_err(Refusal::internal)??;
        let stdout = entries.into_iter().map(|entry| entry.text + "\n").collect();
        return Ok(Json(Logs { stdout }).into_response());
    }
    let follower = Follower {
        // Subscribed before anything is read, so that no line falls between.
        live: book.follow(app),
        pending: book.after(app, query.after)?.into(),
        book,
        app,
        last: query.after,
        stopping: api.stopping.clone(),
    };
    let lines = stream::unfold(follower, async |mut follower| {
        let entry = follower.next().await?;
        let mut line = serde_json::to_vec(&entry).ok()?;
        line.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(line)), follower))
    });
    let body = Body::from_stream(lines);
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// How to read a log.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// Go on with new lines as they come.
    #[serde(default)]
    follow: bool,
    /// With `follow`: only lines with a number above this one.
    #[serde(default)]
    after: u64,
}

struct Follower {
    book: LogBook,
    app: AppId,
    pending: VecDeque<LogEntry>,
    live: Option<Receiver<LogEntry>>,
    last: u64,
    stopping: CancellationToken,
}

impl Follower {
    /// The next line, or `None` when the app has ended and everything was read.
    async fn next(&mut self) -> Option<LogEntry> {
        loop {
            let entry = if let Some(entry) = self.pending.pop_front() {
                entry
            } else {
                let next = tokio::select! {
                    () = self.stopping.cancelled() => return None,
                    next = self.live.as_mut()?.recv() => next,
                };
                match next {
                    Ok(entry) => entry,
                    // Too slow for the channel: the file has what was missed.
                    Err(RecvError::Lagged(_)) => {
                        self.pending = self.book.after(self.app, self.last).ok()?.into();
                        continue;
                    }
                    Err(RecvError::Closed) => return None,
                }
            };
            // The file and the channel may both have it.
            if entry.number > self.last {
                self.last = entry.number;
                return Some(entry);
            }
        }
    }
}

/// How much of a log is told at once: 64 kB.
const TAIL: usize = 64_000;
