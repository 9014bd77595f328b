//! Connections from the program to the network.

use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::buffers::Ahead;
use crate::complaints::Complaints;
use crate::counters::Counters;
use crate::engine::{Ending, HANDSHAKE, MAX_CONNECTIONS, REACHING, accept, patiently, tune};
use crate::material::ClientMaterial;
use crate::policy::{ClientRule, Guard, Host, RuleName};
use crate::relay::relay;
use crate::sessions::InForce;

/// A client rule at work.
pub(crate) struct Client {
    rule: ClientRule,
    tls: Option<(InForce<ClientConfig>, ServerName<'static>)>,
    connections: Arc<Semaphore>,
    complaints: Complaints,
    pub(crate) counters: Counters,
}

impl Client {
    pub(crate) fn new(
        rule: &ClientRule,
        material: Option<&ClientMaterial>,
    ) -> Result<Self, rustls::Error> {
        let tls = match (&rule.guard, material) {
            (Guard::Protected(tls), Some(material)) => {
                Some((InForce::new(config(material)?), tls.server_name.clone()))
            }
            _ => None,
        };
        Ok(Self {
            rule: rule.clone(),
            tls,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            complaints: Complaints::new(RuleName::clone(&rule.name)),
            counters: Counters::default(),
        })
    }

    pub(crate) fn replace(&self, config: ClientConfig) {
        if let Some((tls, _)) = &self.tls {
            tls.replace(config);
        }
    }

    pub(crate) fn forget_sessions(&self) {
        if let Some((tls, _)) = &self.tls {
            tls.forget_sessions();
        }
    }

    /// Serves until the end. `listener` is inside.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, ending: Ending) {
        let (places, end) = (&self.connections, &ending.closed);
        while let Some((stream, _, slot)) = accept(&listener, places, end).await {
            let client = Arc::clone(&self);
            ending.spawn(async move { client.receive(stream, slot).await });
        }
    }

    async fn receive(&self, mut program: TcpStream, _slot: OwnedSemaphorePermit) {
        let _ = program.set_nodelay(true);
        if let Err(error) = self.carry(&mut program).await {
            // Not a quiet end, which would make what came so far look complete.
            let _ = program.set_zero_linger();
            let what = match &error {
                ClientError::Unreachable(_) | ClientError::Handshake(_) => {
                    self.counters.refused.add(1);
                    "no connection to a server"
                }
                ClientError::Broke(_) => {
                    self.counters.broken.add(1);
                    "a connection broke"
                }
            };
            self.complaints.warn(what, &self.rule.destination, error);
        }
    }

    async fn carry(&self, program: &mut TcpStream) -> Result<(), ClientError> {
        let reached = timeout(REACHING, patiently(|| self.reach())).await;
        let stream = in_time(reached).map_err(ClientError::Unreachable)?;
        tune(&stream);
        let Some((tls, name)) = &self.tls else {
            return self.pass_on(Ahead::new(stream), program).await;
        };
        let connector = TlsConnector::from(tls.current());
        let connected = timeout(
            HANDSHAKE,
            connector.connect(name.clone(), Ahead::new(stream)),
        )
        .await;
        let stream = in_time(connected).map_err(ClientError::Handshake)?;
        if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.counters.resumed.add(1);
        }
        self.pass_on(stream, program).await
    }

    /// The network is the host's: whoever answers has to prove who it is.
    async fn reach(&self) -> io::Result<TcpStream> {
        let port = self.rule.destination.port;
        match (self.rule.address, &self.rule.destination.host) {
            (Some(address), _) => TcpStream::connect((address, port)).await,
            (None, Host::Address(address)) => TcpStream::connect((*address, port)).await,
            (None, Host::Name(name)) => {
                let found = lookup_host((name.as_str(), port)).await;
                // The resolver's errors have no kind of their own.
                let found =
                    found.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
                TcpStream::connect(found.collect::<Vec<_>>().as_slice()).await
            }
        }
    }

    async fn pass_on<S>(&self, mut outer: S, program: &mut TcpStream) -> Result<(), ClientError>
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
    {
        self.counters.connections.add(1);
        relay(&mut outer, program, &self.counters)
            .await
            .map_err(ClientError::Broke)
    }
}

fn in_time<T>(outcome: Result<io::Result<T>, tokio::time::error::Elapsed>) -> io::Result<T> {
    outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("it cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("{0}")]
    Broke(io::Error),
}

/// TLS 1.3, with a certificate if there is one to show.
pub(crate) fn config(material: &ClientMaterial) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(
        material.authorities.roots(),
        Arc::clone(&provider),
    )
    .build()
    .map_err(|error| rustls::Error::General(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier);
    Ok(match &material.identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(
            rustls::sign::SingleCertAndKey::from(identity.certified()),
        )),
        None => builder.with_no_client_auth(),
    })
}
