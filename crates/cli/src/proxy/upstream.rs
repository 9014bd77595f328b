//! Verified connections to one app, kept open between requests.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use mse_ratls::{Attestation, AttestedChannel, Endpoint};
use mse_workload::Measurement;

use super::Forward;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::verification::Verifier;

/// Connections kept open.
const MAX_IDLE: usize = 32;

/// The body of an answer.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// One app, and how to verify it: every new connection is, before anything is sent on it.
pub(crate) struct Upstream {
    verifier: Verifier,
    endpoint: Endpoint,
    measurement: Measurement,
    host: HeaderValue,
    idle: Idle,
}

type Idle = Arc<Mutex<Vec<AttestedChannel>>>;

impl Upstream {
    /// Verifies the app at `endpoint` once; from then on, requests can be sent to it. `host` is
    /// what requests name it by.
    pub(crate) async fn open(
        verifier: Verifier,
        endpoint: Endpoint,
        measurement: Measurement,
        host: &str,
    ) -> Result<(Self, Attestation), Failure> {
        let channel = verifier.connect(&endpoint, Some(measurement)).await?;
        let attestation = channel.attestation().clone();
        let host = HeaderValue::from_str(host)
            .map_err(|_| Failure::other(format!("`{host}` cannot stand in a request")))?;
        let upstream = Self {
            verifier,
            endpoint,
            measurement,
            host,
            idle: Arc::new(Mutex::new(vec![channel])),
        };
        Ok((upstream, attestation))
    }

    async fn send_on(
        &self,
        mut channel: AttestedChannel,
        request: Request<mse_ratls::Body>,
    ) -> Result<Response<AnswerBody>, Failure> {
        let response = channel.request(request).await.map_err(|error| {
            Failure::new(Exit::Platform, format!("the app did not answer: {error}"))
        })?;
        Ok(response.map(|body| {
            Lent {
                body,
                finished: false,
                channel: Some(channel),
                idle: Arc::clone(&self.idle),
            }
            .boxed_unsync()
        }))
    }

    /// A verified connection: one that was kept open, or a new one.
    async fn channel(&self) -> Result<(AttestedChannel, Kept), Failure> {
        if let Some(channel) = self.take() {
            return Ok((channel, Kept::FromBefore));
        }
        let channel = self
            .verifier
            .connect(&self.endpoint, Some(self.measurement))
            .await?;
        Ok((channel, Kept::No))
    }

    fn take(&self) -> Option<AttestedChannel> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(channel) = idle.pop() {
            if !channel.is_closed() {
                return Some(channel);
            }
        }
        None
    }
}

impl Forward for Upstream {
    fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The answer is streamed.
    async fn send(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Failure> {
        if !request.body().is_end_stream() {
            let (channel, _) = self.channel().await?;
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            return self.send_on(channel, request).await;
        }
        // Without a body a request can be made again, when a connection that was kept open turns
        // out to be gone.
        let (parts, _) = request.into_parts();
        loop {
            let (channel, kept) = self.channel().await?;
            match self.send_on(channel, without_body(parts.clone())).await {
                Err(_) if kept == Kept::FromBefore && parts.method.is_safe() => {}
                outcome => return outcome,
            }
        }
    }
}

/// Whether a connection is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    FromBefore,
    No,
}

/// The body of an answer, with the connection it comes on: that is free again when the body has
/// been read, and lost when it has not.
struct Lent {
    body: Incoming,
    finished: bool,
    channel: Option<AttestedChannel>,
    idle: Idle,
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(None) = frame {
            self.finished = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.finished && !self.body.is_end_stream() {
            return;
        }
        if let Some(channel) = self.channel.take() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MAX_IDLE {
                idle.push(channel);
            }
        }
    }
}

fn without_body(parts: Parts) -> Request<mse_ratls::Body> {
    let body = Empty::new().map_err(|never: std::convert::Infallible| match never {});
    Request::from_parts(parts, body.boxed_unsync())
}
