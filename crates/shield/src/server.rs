//! Connections from the network to the program.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::buffers::Ahead;
use crate::complaints::Complaints;
use crate::counters::Counters;
use crate::engine::{
    CONNECTING, Ending, HANDSHAKE, Inside, MAX_CONNECTIONS, MAX_HANDSHAKES, accept, patiently, tune,
};
use crate::material::ServerMaterial;
use crate::names::{NamedClients, other_client};
use crate::policy::{RuleName, ServerRule};
use crate::relay::relay;
use crate::sessions::InForce;

/// A server rule at work.
pub(crate) struct Server {
    port: u16,
    tls: Option<InForce<ServerConfig>>,
    /// Connections whose peers have proven nothing yet: they cannot take the places of others.
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    complaints: Complaints,
    pub(crate) counters: Counters,
}

impl Server {
    pub(crate) fn new(
        rule: &ServerRule,
        material: Option<&ServerMaterial>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            port: rule.port,
            tls: material.map(config).transpose()?.map(InForce::new),
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            complaints: Complaints::new(RuleName::clone(&rule.name)),
            counters: Counters::default(),
        })
    }

    pub(crate) fn replace(&self, config: ServerConfig) {
        if let Some(tls) = &self.tls {
            tls.replace(config);
        }
    }

    pub(crate) fn forget_sessions(&self) {
        if let Some(tls) = &self.tls {
            tls.forget_sessions();
        }
    }

    /// Serves until nothing is accepted from the network any more.
    pub(crate) async fn serve<I: Inside>(
        self: Arc<Self>,
        listener: TcpListener,
        inside: Arc<I>,
        ending: Ending,
    ) {
        let (places, end) = (&self.handshakes, &ending.outside_closed);
        while let Some((stream, peer, slot)) = accept(&listener, places, end).await {
            let (server, inside) = (Arc::clone(&self), Arc::clone(&inside));
            ending.spawn(async move { server.receive(stream, peer, slot, &*inside).await });
        }
    }

    async fn receive<I: Inside>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        handshake: OwnedSemaphorePermit,
        inside: &I,
    ) {
        tune(&stream);
        let Some(tls) = &self.tls else {
            drop(handshake);
            return self.pass_on(Ahead::new(stream), peer, inside).await;
        };
        let accepted = TlsAcceptor::from(tls.current()).accept(Ahead::new(stream));
        let stream = match timeout(HANDSHAKE, accepted).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return match other_client(&error) {
                    Some(who) => self.refuse(peer, &who),
                    None => self.refuse(peer, &error),
                };
            }
            Err(_) => return self.refuse(peer, &"it took too long"),
        };
        drop(handshake);
        if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            self.counters.resumed.add(1);
        }
        self.pass_on(stream, peer, inside).await;
    }

    fn refuse(&self, peer: SocketAddr, why: &dyn std::fmt::Display) {
        self.counters.refused.add(1);
        self.complaints.warn("a client was refused", peer, why);
    }

    async fn pass_on<S, I>(&self, mut outer: S, peer: SocketAddr, inside: &I)
    where
        S: AsyncBufRead + AsyncWrite + Unpin,
        I: Inside,
    {
        let Ok(_slot) = self.connections.try_acquire() else {
            return self.refuse(peer, &"too many connections are open");
        };
        let reached = patiently(|| inside.connect(self.port));
        let mut program = match timeout(CONNECTING, reached).await {
            Ok(Ok(program)) => program,
            Ok(Err(error)) => return self.broke("the program does not answer", peer, &error),
            Err(_) => return self.broke("the program does not answer", peer, &"it took too long"),
        };
        let _ = program.set_nodelay(true);
        self.counters.connections.add(1);
        if let Err(error) = relay(&mut outer, &mut program, &self.counters).await {
            // Not a quiet end, which would make what came so far look complete.
            let _ = program.set_zero_linger();
            self.broke("a connection broke", peer, &error);
        }
    }

    fn broke(&self, what: &'static str, peer: SocketAddr, why: &dyn std::fmt::Display) {
        self.counters.broken.add(1);
        self.complaints.warn(what, peer, why);
    }
}

/// TLS 1.3, with the client's certificate if anybody is to be known by one.
pub(crate) fn config(material: &ServerMaterial) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = match &material.clients {
        Some(clients) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(clients.issued_by.roots(), provider)
                    .build()
                    .map_err(|error| rustls::Error::General(error.to_string()))?;
            builder.with_client_cert_verifier(match &clients.names {
                None => verifier,
                Some(names) => Arc::new(NamedClients::new(verifier, names.clone())),
            })
        }
        None => builder.with_no_client_auth(),
    };
    Ok(
        builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
            material.identity.certified(),
        ))),
    )
}
