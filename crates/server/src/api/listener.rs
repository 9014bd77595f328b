//! The API's socket: plain on loopback, TLS elsewhere.

mod seats;
mod unread;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::config::KeyFiles;

pub use seats::Room;
use seats::Seats;
use unread::Unread;

/// Where the API listens.
pub struct ApiListener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    room: Room,
}

impl ApiListener {
    /// Listens, with TLS if there are files for it.
    pub async fn bind(address: SocketAddr, files: Option<&KeyFiles>) -> Result<Self, ListenError> {
        let failed = |why| ListenError::Bind { address, why };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self {
            address: listener.local_addr().map_err(failed)?,
            listener,
            tls: files.map(acceptor).transpose()?,
            room: ROOM,
        })
    }

    /// With another room than that of the API.
    pub fn with_room(self, room: Room) -> Self {
        Self { room, ..self }
    }

    /// The address and port that it has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients call it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until `stopping`, then lets requests that are under way finish, for a while.
    pub async fn serve(self, router: Router, stopping: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let handshakes = TaskTracker::new();
        let seats = Seats::of(self.room);
        loop {
            let accepted = async {
                let free = seats.free().await;
                (self.listener.accept().await, free)
            };
            let (accepted, free) = tokio::select! {
                () = stopping.cancelled() => break,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let Some(seat) = seats.give(free, from.ip()) else {
                        tracing::debug!(peer = %from.ip(), "a peer has as many connections as it may have");
                        continue;
                    };
                    let _ = stream.set_nodelay(true);
                    let serve = connection(
                        Unread::new(stream, self.room.unread),
                        Peer(from.ip()),
                        self.tls.clone(),
                        router.clone(),
                        graceful.watcher(),
                    );
                    handshakes.spawn(async move {
                        serve.await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the API cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(self.listener);
        handshakes.close();
        let finished = async {
            graceful.shutdown().await;
            handshakes.wait().await;
        };
        if tokio::time::timeout(FINISHING, finished).await.is_err() {
            tracing::warn!("requests that were under way are cut off");
        }
    }
}

/// Where a request comes from, among its extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address.
    #[error("the API cannot listen on `{address}`: {why}; choose another with `--listen`")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why; said above, so not once more as a source.
        why: io::Error,
    },
    /// A file.
    #[error("`{path}` cannot be used for TLS: {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not go together.
    #[error("the API's certificate and key cannot be used: {0}")]
    Tls(#[source] rustls::Error),
}

async fn connection(
    stream: Unread<TcpStream>,
    peer: Peer,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    match tls {
        None => http(stream, peer, router, watcher).await,
        Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, peer, router, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake with the API failed"),
            Err(_) => tracing::debug!("a TLS handshake with the API took too long"),
        },
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // HTTP/1.1 only: to tell the versions apart, a silent client would be waited for without end.
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS);
    let told = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request
    });
    let service = TowerToHyperService::new(told);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(%error, "a connection to the API ended");
    }
}

fn acceptor(files: &KeyFiles) -> Result<TlsAcceptor, ListenError> {
    let failed = |path: &Path, reason: String| ListenError::File {
        path: path.to_owned(),
        reason,
    };
    let read = |path: &Path| std::fs::read(path).map_err(|error| failed(path, error.to_string()));
    let chain = CertificateDer::pem_slice_iter(&read(&files.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(&files.certificate, error.to_string()))?;
    let key = mse_crypto::Zeroizing::new(read(&files.key)?);
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| failed(&files.key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ListenError::Tls)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(ListenError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// One crowd: behind a proxy, all clients have one address.
const ROOM: Room = Room {
    connections: 4096,
    of_one_peer: 4096,
    unread: Duration::from_mins(2),
};
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);
const FINISHING: Duration = Duration::from_secs(5);
