//! Which requests go where.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode};
use mse_api::cas::{CasError, CasErrorCode, MAX_BODY};
use mse_crypto::mac::MacKey;
use mse_ratls::cas::join::REPLICA;
use mse_ratls::cas::recovery::SHARES;
use mse_ratls::cas::{ATTEST, AttestRequest, DESCRIBE};
use mse_ratls::release;
use mse_session::KeyHash;

use super::replicas::Replicas;
use super::{Attestation, Cas, Collaterals};
use crate::api::{ClientApi, error_response};
use crate::challenge::Challenges;
use crate::identity::session_encryption_key;
use crate::keys::Purpose;
use crate::listen::{Channel, Service, json};
use crate::release::desk::Desk;
use crate::release::endpoint::Endpoint;
use crate::release::ticket::Tickets;
use crate::sessions::Sessions;
use crate::sources::Sources;

/// Answers all that a CAS is asked, services and clients alike.
pub struct Routes {
    cas: Arc<Cas>,
    releases: Endpoint<Desk<Collaterals>>,
    clients: ClientApi,
    replicas: Replicas,
    sessions: Arc<Sessions>,
}

impl Routes {
    /// Answers for `cas`.
    pub fn new(cas: Arc<Cas>) -> Self {
        let encryption = session_encryption_key(&cas.root.derive(Purpose::SessionEncryption));
        let owner = KeyHash(cas.workload.owner.0);
        let sessions = Arc::new(
            Sessions::new(cas.store.clone(), encryption, owner)
                .with_sources(Sources::new(cas.sources.clone())),
        );
        let tokens = cas.root.derive(Purpose::TokenMac);
        let desk = Desk::new(
            Arc::clone(&sessions),
            Tickets::new(tokens.derive("mse-cas-tickets-v1", b"")),
            cas.collateral.clone(),
            cas.simulated.clone(),
        );
        let challenges =
            || Challenges::new(MacKey::new(&tokens.derive("mse-cas-challenges-v1", b"")));
        Self {
            releases: Endpoint::new(challenges(), Arc::new(desk)),
            replicas: Replicas::new(Arc::clone(&cas), challenges()),
            clients: ClientApi::new(Arc::clone(&sessions), cas.data.join("backups")),
            sessions,
            cas,
        }
    }

    /// What it answers about.
    pub fn sessions(&self) -> Arc<Sessions> {
        Arc::clone(&self.sessions)
    }
}

/// Evidence for whoever asks.
pub(super) async fn attest(
    attestation: &Attestation,
    body: &[u8],
    channel: &Channel,
) -> Response<Full<Bytes>> {
    let nonce = serde_json::from_slice::<AttestRequest>(body)
        .ok()
        .and_then(|request| request.nonce());
    let Some(nonce) = nonce else {
        return problem(
            CasErrorCode::Malformed,
            "a challenge is JSON with `nonce`, 32 bytes in hexadecimal",
        );
    };
    match attestation.answer(&nonce, &channel.binding).await {
        Ok(Some(answer)) => json(StatusCode::OK, &answer),
        Ok(None) => problem(
            CasErrorCode::Unavailable,
            "too many ask for evidence at once: ask again",
        ),
        Err(error) => {
            tracing::error!(%error, "there is no evidence for a client");
            problem(
                CasErrorCode::Unavailable,
                "the TEE gives no evidence now: ask again, or ask the operator for the log",
            )
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
            (&Method::POST, ATTEST) => attest(&self.cas.attestation, request.body(), channel).await,
            (&Method::POST, REPLICA) => {
                let body = request.body();
                match Box::pin(self.replicas.join(body, &channel.binding)).await {
                    Ok(answer) => json(StatusCode::OK, &answer),
                    Err(error) => error_response(&error),
                }
            }
            (&Method::GET, SHARES) => match &self.cas.shares {
                Some(shares) => json(StatusCode::OK, shares),
                None => problem(
                    CasErrorCode::NotFound,
                    "the workload of this CAS names no custodians: there are no shares",
                ),
            },
            (_, path) if path.starts_with(release::RELEASE) => {
                self.releases.answer(request, channel).await
            }
            _ => self.clients.answer(&request, channel).await,
        }
    }
}

pub(super) fn problem(code: CasErrorCode, message: &str) -> Response<Full<Bytes>> {
    error_response(&CasError::new(code, message))
}
