//! A pinned CAS behind a local port.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use http::header::ORIGIN;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use mse_api::cas::MAX_BODY;
use mse_ratls::cas::client::{CasAddress, CasClient, ClientIdentity, connect_pinned};

use super::seen::Seen;
use super::{CasChoice, CasPin, ClientKey};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::proxy::{AnswerBody, Forward, refusal};

/// Connections kept open.
const MAX_IDLE: usize = 8;

/// A CAS, and as whom to speak to it.
pub(crate) struct CasUpstream {
    name: String,
    pin: CasPin,
    address: CasAddress,
    host: HeaderValue,
    client: Option<ClientIdentity>,
    seen: Seen,
    idle: Mutex<Vec<CasClient>>,
}

impl CasUpstream {
    /// Connects once, and proves the position.
    pub(crate) async fn open(scene: &Scene<'_>, choice: &CasChoice) -> Result<Self, Failure> {
        let cas = choice.open(scene).await?;
        let host = HeaderValue::from_str(&cas.pin.address)
            .map_err(|_| Failure::other("the address cannot stand in a request"))?;
        Ok(Self {
            name: cas.name.to_string(),
            address: cas.pin.address()?,
            host,
            client: ClientKey::load(&scene.conf)?.map(|key| key.identity),
            seen: cas.seen.clone(),
            pin: cas.pin,
            idle: Mutex::default(),
        })
    }

    /// Its name among those that are pinned.
    pub(crate) fn name(&self) -> String {
        self.name.clone()
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.pin.address.clone()
    }

    /// A connection that was kept open, or a new one. What is sent on it is sent once only: the CAS
    /// may have done it, though no answer came.
    async fn connected(&self) -> Result<CasClient, Failure> {
        while let Some(client) = self.pop() {
            if !client.is_closed() {
                return Ok(client);
            }
        }
        Ok(connect_pinned(&self.address, self.pin.cas_key, self.client.as_ref()).await?)
    }

    fn pop(&self) -> Option<CasClient> {
        self.idle().pop()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<CasClient>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Forward for CasUpstream {
    fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Bodies are bounded, and not streamed.
    async fn send(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Failure> {
        if is_of_a_page(&request) {
            let failure = Failure::new(Exit::Usage, "requests of web pages are not forwarded");
            return Ok(refusal(StatusCode::FORBIDDEN, &failure));
        }
        let (parts, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
            let failure = Failure::new(
                Exit::Usage,
                format!("the body did not come, or is longer than {MAX_BODY} bytes"),
            );
            return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE, &failure));
        };
        let request = Request::from_parts(parts, body.to_bytes());
        let mut client = self.connected().await?;
        let response = client.forward(request).await?;
        if response.status().is_success() {
            self.seen.remember(client.position())?;
        }
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(client);
        }
        drop(idle);
        Ok(response.map(|body| {
            Full::new(body)
                .map_err(|never: Infallible| match never {})
                .boxed_unsync()
        }))
    }
}

/// Whether a browser made the request for some page, which would act as the user.
fn is_of_a_page(request: &Request<Incoming>) -> bool {
    let headers = request.headers();
    let is_cross = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "none");
    headers.contains_key(ORIGIN) || is_cross
}
