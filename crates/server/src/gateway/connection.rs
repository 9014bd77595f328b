//! One connection through the gateway.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::relay::{UserStream, relay};
use super::routes::{Route, TlsEnd};
use super::sni::{self, HelloError};
use super::{Shared, without_delay};

/// Where a connection came in.
#[derive(Clone)]
pub(super) enum Entrance {
    /// At the gateway's own port: the name decides.
    ByName,
    /// At an app's own port.
    Of(Arc<Route>),
}

/// Takes a connection to its enclave and serves it to its end.
pub(super) async fn serve(
    mut stream: TcpStream,
    entrance: Entrance,
    shared: Arc<Shared>,
) -> Result<(), ConnectionError> {
    without_delay(&stream);
    let hello = sni::read(&mut stream).await?;
    let name = hello.server_name.as_deref();
    let route = match entrance {
        Entrance::Of(route) => route,
        Entrance::ByName => {
            if let Some(route) = name.and_then(|name| shared.routes.find(name)) {
                route
            } else {
                sni::refuse_name(&mut stream).await?;
                return Err(ConnectionError::UnknownName(hello.server_name));
            }
        }
    };
    let _room = Arc::clone(&route.room)
        .try_acquire_owned()
        .map_err(|_| ConnectionError::Full)?;

    let began = Instant::now();
    let mut enclave = timeout(PATIENCE, TcpStream::connect(route.upstream))
        .await
        .map_err(|_| ConnectionError::too_slow("the enclave does not accept"))??;
    let _open = route.traffic.connected(began.elapsed());
    without_delay(&enclave);
    let mut user = UserStream::new(stream, hello.bytes, Arc::clone(&route.traffic));

    match route.end_for(hello.server_name.as_deref()) {
        TlsEnd::Enclave => relay(&mut user, &mut enclave, &route.closed).await?,
        TlsEnd::Here(towards) => {
            let accept = shared.operator.accept(user);
            let mut user = timeout(PATIENCE, accept)
                .await
                .map_err(|_| ConnectionError::too_slow("no TLS handshake with the user"))??;
            let mut enclave = timeout(PATIENCE, towards.connect(enclave))
                .await
                .map_err(|_| ConnectionError::too_slow("no TLS handshake with the enclave"))??;
            relay(&mut user, &mut enclave, &route.closed).await?;
        }
    }
    Ok(())
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// No TLS.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// Nothing is served there.
    #[error("nothing is served under the name {0:?}")]
    UnknownName(Option<String>),
    /// The app has all the connections it may have.
    #[error("the app has as many connections as it may have")]
    Full,
    /// A time limit.
    #[error("{what} within {} s", PATIENCE.as_secs())]
    TooSlow {
        /// What did not happen.
        what: &'static str,
    },
    /// One of the two streams.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
}

impl ConnectionError {
    fn too_slow(what: &'static str) -> Self {
        Self::TooSlow { what }
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
