//! The TLS front: the app's TLS ends here, inside the enclave.
//!
//! Every connection is TLS 1.3 without resumption, so that each can be attested by itself. What
//! is asked under `/.well-known/mse/` the enclave answers; everything else goes to the app over
//! its private socket, once it runs.

mod app_proxy;
mod certificates;
mod service;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use mse_ratls::ChannelBinding;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub(crate) use app_proxy::AppProxy;
pub(crate) use certificates::{Certificates, owner_certificate};
pub(crate) use service::{Connection, Enclave};

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// Handshakes at once: they are what costs.
const MAX_HANDSHAKES: usize = 128;
/// A handshake that takes longer is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A request's headers that take longer end the connection.
const HEADERS: Duration = Duration::from_secs(30);

/// Accepts connections on `listener` until the process ends.
pub(crate) async fn serve(listener: TcpListener, enclave: Arc<Enclave>) {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&enclave)));
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let Ok(slot) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (acceptor, enclave) = (acceptor.clone(), Arc::clone(&enclave));
        let handshakes = Arc::clone(&handshakes);
        tokio::spawn(async move {
            let _slot = slot;
            serve_connection(stream, &acceptor, &handshakes, enclave).await;
        });
    }
}

async fn serve_connection(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    handshakes: &Semaphore,
    enclave: Arc<Enclave>,
) {
    let _ = stream.set_nodelay(true);
    let handshake = async {
        let _turn = handshakes.acquire().await.ok()?;
        acceptor.accept(stream).await.ok()
    };
    let Ok(Some(stream)) = timeout(HANDSHAKE, handshake).await else {
        tracing::debug!("a handshake failed or took too long");
        return;
    };
    let session = stream.get_ref().1;
    let Ok(binding) = ChannelBinding::of(session) else {
        return;
    };
    let owns_certificate = enclave.certificates().is_own(session.server_name());
    let connection = Connection::new(enclave, binding, owns_certificate);
    let service = service_fn(move |request| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256);
    let served = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn server_config(enclave: &Arc<Enclave>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3 cipher suites")
        .with_no_client_auth()
        .with_cert_resolver(enclave.certificates());
    // A resumed session would carry the trust of an older attestation.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}
