//! The gateway: TLS connections of users, taken to the enclaves they are meant for.
//!
//! One listener routes by the name in the ClientHello (SNI). Besides, every app has a loopback
//! port of its own, because a name like `x.mse.localhost` does not resolve everywhere and
//! `localhost` does.
//!
//! | origin | the app's domain and port | the configuration domain |
//! | --- | --- | --- |
//! | `self`, `owner` | bytes pass through | bytes pass through |
//! | `operator` | TLS ends here, and begins anew to the enclave | bytes pass through |
//!
//! So for `self` and `owner` no key is ever here, and an enclave is verified and provisioned
//! directly, whatever its origin.

mod authority;
mod connection;
mod operator;
mod ports;
mod relay;
mod routes;
mod sni;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mse_simtee::Platform;
use mse_workload::{Measurement, TlsOrigin};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::PortRange;
use connection::Entrance;
use operator::Towards;
use routes::{Route, Routes, TlsEnd};

pub use operator::{OperatorError, OperatorTls};
pub use relay::Traffic;

/// The gateway. Cloning it is cheap.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    public_address: String,
    public_port: Option<u16>,
    ports: PortRange,
    operator: OperatorTls,
    platform: Arc<Platform>,
    routes: Routes,
    /// Over this no more connections are accepted: the machine's memory is finite.
    room: Arc<Semaphore>,
    closed: CancellationToken,
}

/// Of `host:port`.
fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

/// What the gateway needs to know to let users reach an app.
#[derive(Debug)]
pub struct RouteSpec {
    /// Where the users' TLS ends.
    pub origin: TlsOrigin,
    /// The host its users open.
    pub domain: String,
    /// The host at which its enclave is verified and provisioned.
    pub config_domain: String,
    /// Where the enclave takes connections.
    pub upstream: SocketAddr,
    /// What was launched there, if that is known: origin `operator` needs it.
    pub measurement: Option<Measurement>,
    /// The loopback port it should have.
    pub port: Option<u16>,
    /// Where its traffic is counted.
    pub traffic: Arc<Traffic>,
}

impl Gateway {
    /// Listens on `address`, and serves until [`Gateway::close`].
    pub async fn start(
        address: SocketAddr,
        public_address: Option<String>,
        ports: PortRange,
        operator: OperatorTls,
        platform: Arc<Platform>,
    ) -> Result<Self, GatewayError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|why| GatewayError::Listen { address, why })?;
        let address = listener
            .local_addr()
            .map_err(|why| GatewayError::Listen { address, why })?;
        let gateway = Self {
            shared: Arc::new(Shared {
                address,
                public_port: public_address.as_deref().and_then(port_of),
                public_address: public_address.unwrap_or_else(|| address.to_string()),
                ports,
                operator,
                platform,
                routes: Routes::default(),
                room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
                closed: CancellationToken::new(),
            }),
        };
        let shared = Arc::clone(&gateway.shared);
        let closed = gateway.shared.closed.clone();
        tokio::spawn(accept(listener, Entrance::ByName, shared, closed));
        Ok(gateway)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// What clients are told to connect to: `host:port`.
    pub fn public_address(&self) -> &str {
        &self.shared.public_address
    }

    /// The port of that, if clients are somewhere else and loopback ports lead nowhere for them.
    pub fn public_port(&self) -> Option<u16> {
        self.shared.public_port
    }

    /// A loopback port for an app: the `last` it had if it is free, else one that is not `kept`
    /// for another, else any that is free. `None`: all are in use, which may change until the app
    /// is launched.
    pub async fn free_port(&self, last: Option<u16>, kept: &[u16]) -> Option<u16> {
        ports::bind(self.shared.ports, last, kept)
            .await
            .ok()
            .map(|(_, port)| port)
    }

    /// Lets users in to an app until the route is dropped.
    pub async fn open(&self, spec: RouteSpec) -> Result<OpenRoute, GatewayError> {
        let shared = &self.shared;
        let (listener, port) = ports::bind(shared.ports, spec.port, &[])
            .await
            .map_err(GatewayError::NoPort)?;
        let route = Arc::new(Route {
            upstream: spec.upstream,
            end: match spec.origin {
                TlsOrigin::Operator => TlsEnd::Here(Box::new(Towards::new(
                    Arc::clone(&shared.platform),
                    spec.measurement.ok_or(GatewayError::Unmeasured)?,
                    &spec.config_domain,
                )?)),
                TlsOrigin::Enclave | TlsOrigin::Owner => TlsEnd::Enclave,
            },
            domain: spec.domain,
            config_domain: spec.config_domain,
            traffic: spec.traffic,
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS_OF_AN_APP)),
            closed: shared.closed.child_token(),
        });
        shared.routes.add(&route);
        let withdrawn = route.closed.child_token();
        tokio::spawn(accept(
            listener,
            Entrance::Of(Arc::clone(&route)),
            Arc::clone(shared),
            withdrawn.clone(),
        ));
        Ok(OpenRoute {
            shared: Arc::clone(shared),
            route,
            port,
            withdrawn,
        })
    }

    /// Takes no more connections, and ends those there are.
    pub fn close(&self) {
        self.shared.closed.cancel();
    }
}

/// A way to an app. Dropping it closes it, and every connection that goes through it.
pub struct OpenRoute {
    shared: Arc<Shared>,
    route: Arc<Route>,
    port: u16,
    withdrawn: CancellationToken,
}

impl OpenRoute {
    /// The app's loopback port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets nobody in any more; who is in stays.
    pub fn withdraw(&self) {
        self.shared.routes.remove(&self.route);
        self.withdrawn.cancel();
    }
}

impl Drop for OpenRoute {
    fn drop(&mut self) {
        self.withdraw();
        self.route.closed.cancel();
    }
}

/// Why the gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Its own address.
    #[error("the gateway cannot listen on `{address}`: {why}; choose another with `--gateway`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why; said above, so not once more as a source.
        why: io::Error,
    },
    /// No port for an app.
    #[error("no loopback port is free for the app: {0}; give more with `--app-ports`")]
    NoPort(#[source] io::Error),
    /// The operator's TLS.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// Nothing to tell the enclave by.
    #[error("the gateway cannot end TLS for an enclave whose measurement it does not know")]
    Unmeasured,
}

/// Takes connections at one entrance until `closed`.
async fn accept(
    listener: TcpListener,
    entrance: Entrance,
    shared: Arc<Shared>,
    closed: CancellationToken,
) {
    loop {
        let room = Arc::clone(&shared.room).acquire_owned();
        let accepted = async {
            let Ok(room) = room.await else {
                return std::future::pending().await;
            };
            (listener.accept().await, room)
        };
        let (accepted, room) = tokio::select! {
            () = closed.cancelled() => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                let serve = connection::serve(stream, entrance.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    if let Err(error) = serve.await {
                        tracing::debug!(%from, %error, "a connection through the gateway ended");
                    }
                    drop(room);
                });
            }
            // Out of descriptors, most likely: others must end before the next can begin.
            Err(error) => {
                tracing::warn!(%error, "the gateway cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

fn without_delay(stream: &TcpStream) {
    // Only a hint to the kernel.
    let _ = stream.set_nodelay(true);
}

const MAX_CONNECTIONS: usize = 8192;
const MAX_CONNECTIONS_OF_AN_APP: usize = 2048;

#[cfg(test)]
mod tests;
