//! The release endpoint: HTTP on connections that anyone may open.

use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};
use mse_ratls::ChannelBinding;
use mse_ratls::release::{
    CHALLENGE, MAX_REQUEST, RELEASE, RENEW, Recorded, RefusalCode, ReleaseChallenge,
    ReleaseRefusal, SealedRelease, VOLUME,
};
use serde::Serialize;

use super::asked::{Asked, ReportedState, read_renewal, read_report, refusal};
use crate::challenge::{Challenges, LIFETIME};
use crate::listen::{Channel, Service, json};

/// What decides on releases.
pub trait Releases: Send + Sync + 'static {
    /// Of evidence that answers a challenge of this CAS.
    fn release(
        &self,
        asked: Asked,
        channel: &ChannelBinding,
    ) -> impl Future<Output = Result<SealedRelease, ReleaseRefusal>> + Send;

    /// Of a ticket.
    fn renew(
        &self,
        ticket: &[u8],
        channel: &ChannelBinding,
    ) -> impl Future<Output = Result<SealedRelease, ReleaseRefusal>> + Send;

    /// Records a new state of a volume of the ticket's service ([`super::volumes`]). It is durable
    /// when this returns: the service gives up the state before.
    fn record_volume(
        &self,
        ticket: &[u8],
        state: ReportedState,
    ) -> impl Future<Output = Result<(), ReleaseRefusal>> + Send;
}

/// Answers services.
pub struct Endpoint<R> {
    challenges: Challenges,
    releases: Arc<R>,
}

impl<R: Releases> Endpoint<R> {
    /// With these challenges and releases.
    pub fn new(challenges: Challenges, releases: Arc<R>) -> Self {
        Self {
            challenges,
            releases,
        }
    }

    async fn release(
        &self,
        body: &[u8],
        channel: &ChannelBinding,
    ) -> Result<SealedRelease, ReleaseRefusal> {
        let asked = Asked::read(body)?;
        self.challenges
            .check(&asked.nonce, SystemTime::now())
            .map_err(|error| refusal(RefusalCode::Challenge, error.to_string()))?;
        self.releases.release(asked, channel).await
    }
}

impl<R: Releases> Service for Endpoint<R> {
    fn max_body(&self) -> usize {
        MAX_REQUEST
    }

    async fn answer(&self, request: Request<Bytes>, channel: &Channel) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, CHALLENGE) => {
                let nonce = self.challenges.issue(SystemTime::now());
                json(
                    StatusCode::OK,
                    &ReleaseChallenge {
                        nonce: hex::encode(nonce.0),
                        lifetime: LIFETIME.as_secs(),
                    },
                )
            }
            (&Method::POST, RELEASE) => {
                answered(self.release(request.body(), &channel.binding).await)
            }
            (&Method::POST, RENEW) => {
                let released = match read_renewal(request.body()) {
                    Ok(ticket) => self.releases.renew(&ticket, &channel.binding).await,
                    Err(refused) => Err(refused),
                };
                answered(released)
            }
            (&Method::POST, VOLUME) => {
                let recorded = match read_report(request.body()) {
                    Ok((ticket, state)) => self.releases.record_volume(&ticket, state).await,
                    Err(refused) => Err(refused),
                };
                answered(recorded.map(|()| Recorded {}))
            }
            (method, path) => answered::<Recorded>(Err(refusal(
                RefusalCode::Malformed,
                format!("`{method} {path}` is nothing that services ask for"),
            ))),
        }
    }
}

fn answered<T: Serialize>(answer: Result<T, ReleaseRefusal>) -> Response<Full<Bytes>> {
    match answer {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(refused) => {
            let status = StatusCode::from_u16(refused.code.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            json(status, &refused)
        }
    }
}
