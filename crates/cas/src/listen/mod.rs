//! Listening: TLS connections that are bounded in number and time, whoever opens them.

mod client;

use std::convert::Infallible;
use std::future::Future;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use mse_ratls::ChannelBinding;
use mse_tee::crowd::{Connection, Crowd, Seat};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use client::AnyClient;

/// A handshake that takes longer is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Headers or a body that take longer, or a pause between requests, end the connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// A body is no longer than this, unless its length is said beforehand.
const SMALL: usize = 128 * 1024;
/// So many longer bodies are read at once.
const LARGE_AT_ONCE: usize = 8;

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// The longest body that is read.
    fn max_body(&self) -> usize;

    /// Answers one request of the connection `channel`.
    fn answer(
        &self,
        request: Request<Bytes>,
        channel: &Channel,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

/// What is known of a connection.
#[derive(Clone)]
pub struct Channel {
    /// The value that only its two ends know.
    pub binding: ChannelBinding,
    /// DER of the certificate that the client showed, with proof of its key; nothing vouches for
    /// what else it says.
    pub client: Option<Vec<u8>>,
}

/// Accepts connections until the task is dropped; at most as many as `crowd` has seats.
pub async fn serve<S: Service>(
    listener: TcpListener,
    tls: impl Fn() -> Arc<ServerConfig> + Send + Sync + 'static,
    crowd: Arc<Crowd>,
    service: Arc<S>,
) {
    let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let socket = stream.as_fd().try_clone_to_owned().ok();
        let acceptor = TlsAcceptor::from(tls());
        let (service, large) = (Arc::clone(&service), Arc::clone(&large));
        let (give_seat, seat) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            if let Ok(seat) = seat.await {
                serve_connection(stream, acceptor, Arc::new(seat), service, large).await;
            }
        });
        // A task that has ended already has nobody to give a seat to; one that gets none ends.
        let task = task.abort_handle();
        if let Some(seat) = crowd.enter(Connection { task, socket }) {
            let _ = give_seat.send(seat);
        }
    }
}

async fn serve_connection<S: Service>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    seat: Arc<Seat>,
    service: Arc<S>,
    large: Arc<Semaphore>,
) {
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        tracing::debug!("a handshake failed or took too long");
        return;
    };
    let session = stream.get_ref().1;
    let Ok(binding) = ChannelBinding::of(session) else {
        return;
    };
    let client = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .map(|certificate| certificate.to_vec());
    let channel = Arc::new(Channel { binding, client });
    let answer = service_fn(move |request| {
        let (seat, service, channel, large) = (
            Arc::clone(&seat),
            Arc::clone(&service),
            Arc::clone(&channel),
            Arc::clone(&large),
        );
        async move {
            seat.spoke();
            // Places for large bodies are for who shows a key.
            let limit = if channel.client.is_some() {
                service.max_body()
            } else {
                service.max_body().min(SMALL)
            };
            let answer = match whole(request, limit, &large).await {
                Ok(request) => {
                    let _answering = seat.answering();
                    service.answer(request, &channel).await
                }
                Err(status) => plain(status),
            };
            seat.spoke();
            Ok::<_, Infallible>(answer)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The request with its whole body. One that is large says so beforehand, and waits for one of the
/// few places that there are: memory is for those who are served, not for who announces most.
async fn whole(
    request: Request<Incoming>,
    limit: usize,
    large: &Semaphore,
) -> Result<Request<Bytes>, StatusCode> {
    let (head, body) = request.into_parts();
    let announced = body.size_hint().exact().unwrap_or(0);
    if announced > limit as u64 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let is_large = announced > SMALL as u64;
    let _place = if is_large {
        let place = timeout(PATIENCE, large.acquire())
            .await
            .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        Some(place.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?)
    } else {
        None
    };
    let limit = if is_large { limit } else { limit.min(SMALL) };
    let body = timeout(PATIENCE, Limited::new(body, limit).collect())
        .await
        .map_err(|_| StatusCode::REQUEST_TIMEOUT)?
        .map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    Ok(Request::from_parts(head, body.to_bytes()))
}

/// An answer in JSON, which nobody on the way keeps.
pub fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(body) {
        Ok(body) => json_text(status, body.into()),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// As [`json`], of a text that is JSON already.
pub fn json_text(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// TLS 1.3, for clients without a certificate and for those with any ([`AnyClient`]).
pub fn server_config(
    credentials: crate::identity::TlsCredentials,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = AnyClient::new(&provider);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(credentials.chain, credentials.private_key)?;
    // Sessions are not resumed: each release is bound to a handshake of its own.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
