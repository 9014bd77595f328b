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

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mse_ratls::ChannelBinding;
use mse_tee::crowd::{self, Crowd, Seat};
use mse_tee::program::raise_open_files;
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub(crate) use app_proxy::AppProxy;
pub(crate) use certificates::{Certificates, owner_certificate};
pub(crate) use service::{Connection, Enclave};

/// Connections at once; for one more, who has been silent longest has to go.
const MAX_CONNECTIONS: usize = 4096;
/// Open files that are for something else than connections, each of which may take one of the app's.
const OTHER_FILES: u64 = 256;
/// A handshake that takes longer is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A request's headers that take longer, or a pause between requests, end the connection.
const HEADERS: Duration = Duration::from_secs(60);
/// An HTTP/2 client that is silent so long is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;

/// Accepts connections on `listener` until the process ends.
pub(crate) async fn serve(listener: TcpListener, enclave: Arc<Enclave>) {
    let acceptor = TlsAcceptor::from(Arc::new(server_config(&enclave)));
    let crowd = Crowd::new(seats(raise_open_files()));
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
        let (acceptor, enclave) = (acceptor.clone(), Arc::clone(&enclave));
        let (give_seat, seat) = oneshot::channel();
        let task = tokio::spawn(async move {
            if let Ok(seat) = seat.await {
                serve_connection(stream, &acceptor, enclave, Arc::new(seat)).await;
            }
        });
        let connection = crowd::Connection {
            task: task.abort_handle(),
            socket: None,
        };
        // A task that gets no seat ends.
        if let Some(seat) = crowd.enter(connection) {
            let _ = give_seat.send(seat);
        }
    }
}

/// How many connections fit into so many open files.
fn seats(open_files: u64) -> usize {
    let fit = open_files.saturating_sub(OTHER_FILES) / 2;
    usize::try_from(fit).map_or(MAX_CONNECTIONS, |fit| fit.min(MAX_CONNECTIONS))
}

async fn serve_connection(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    enclave: Arc<Enclave>,
    seat: Arc<Seat>,
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
    let owns_certificate = enclave.certificates().is_own(session.server_name());
    // By ALPN and not by the first bytes, for which a silent client could make us wait for ever.
    let http2 = session.alpn_protocol() == Some(b"h2");
    let connection = Connection::new(enclave, binding, owns_certificate, seat);
    let service = service_fn(move |request| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let io = TokioIo::new(stream);
    let served = if http2 {
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(HANDSHAKE)
            .max_concurrent_streams(MAX_STREAMS)
            .serve_connection(io, service)
            .await
    } else {
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(io, service)
            .with_upgrades()
            .await
    };
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
