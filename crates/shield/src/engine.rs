//! The running shield.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{self, Client};
use crate::layout::open_clients;
use crate::material::{ClientMaterial, Files, Material, MaterialError, ServerMaterial};
use crate::policy::{ClientRule, Guard, Policy, ServerRule};
use crate::server::{self, Server};
use crate::sessions::FORGET;

/// Connections of a rule at once. A program that opens more waits; a peer that does is refused.
pub(crate) const MAX_CONNECTIONS: usize = 4096;
/// Handshakes of a server rule at once; more wait to be accepted.
pub(crate) const MAX_HANDSHAKES: usize = 256;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// A handshake that takes longer is dropped.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long reaching the program may take.
pub(crate) const CONNECTING: Duration = Duration::from_secs(10);
/// How long reaching a server may take: one that is started again listens when it is well.
pub(crate) const REACHING: Duration = Duration::from_secs(20);
/// The pauses between attempts: this, twice as much, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A peer that is silent so long is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long the last bytes of connections may take when the shield ends.
const LAST_BYTES: Duration = Duration::from_secs(3);

/// How the shield reaches the program.
pub trait Inside: Send + Sync + 'static {
    /// Connects to `port` of the program's own 127.0.0.1.
    fn connect(&self, port: u16) -> impl Future<Output = io::Result<TcpStream>> + Send;
}

/// The listeners of a policy.
pub struct Listeners {
    /// On the network: one for each server rule that refuses nothing, in the policy's order. They
    /// are bound, and listen from [`Shield::open`] on.
    pub outside: Vec<TcpSocket>,
    /// In the program's network: one for each client rule that refuses nothing, in the policy's
    /// order, where [`crate::Layout`] says.
    pub inside: Vec<TcpListener>,
}

impl Listeners {
    /// Takes the ports of `policy` on the network, and the listeners of the program's network.
    pub fn bind(policy: &Policy, inside: Vec<TcpListener>) -> Result<Self, StartError> {
        let outside = open_servers(policy)
            .map(|rule| bind(rule.port).map_err(|source| StartError::port(rule, source)))
            .collect::<Result<_, _>>()?;
        Ok(Self { outside, inside })
    }
}

/// On every address of this machine.
fn bind(port: u16) -> io::Result<TcpSocket> {
    let bound = |socket: TcpSocket, any: IpAddr| {
        socket.set_reuseaddr(true)?;
        socket.bind((any, port).into())?;
        Ok(socket)
    };
    match TcpSocket::new_v6() {
        // IPv4 as well, unless the machine says otherwise.
        Ok(socket) => bound(socket, Ipv6Addr::UNSPECIFIED.into()),
        Err(_) => bound(TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
    }
}

/// A policy in force. Dropping it ends all connections.
pub struct Shield {
    policy: Policy,
    material: Mutex<Material>,
    /// In the policy's order, also those that refuse everything.
    servers: Vec<Arc<Server>>,
    clients: Vec<Arc<Client>>,
    /// What is to be served once the shield is open.
    shut: Mutex<Vec<(ServerRule, TcpSocket, Serve)>>,
    ending: Ending,
}

/// Serves what comes to a listener on the network.
type Serve = Box<dyn FnOnce(TcpListener) + Send>;

impl Shield {
    /// Puts `policy` into force for the program's connections; from the network it takes none until
    /// it is [open](Self::open). Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Keys or certificates cannot be used, or there is not a listener for each rule.
    pub fn start<I: Inside>(
        policy: Policy,
        files: &Files<'_>,
        listeners: Listeners,
        inside: I,
    ) -> Result<Self, StartError> {
        let material = Material::load(&policy, files)?;
        let servers = std::iter::zip(&policy.servers, &material.servers)
            .map(|(rule, material)| Server::new(rule, material.as_ref()).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let clients = std::iter::zip(&policy.clients, &material.clients)
            .map(|(rule, material)| Client::new(rule, material.as_ref()).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let wanted = (open_servers(&policy).count(), open_clients(&policy).count());
        if wanted != (listeners.outside.len(), listeners.inside.len()) {
            return Err(StartError::Listeners);
        }
        let shield = Self {
            policy,
            material: Mutex::new(material),
            servers,
            clients,
            shut: Mutex::default(),
            ending: Ending::new(),
        };
        shield.announce();
        shield.serve(listeners, &Arc::new(inside));
        Ok(shield)
    }

    /// Takes connections from the network from now on.
    ///
    /// # Errors
    ///
    /// Somebody else listens at a port meanwhile.
    pub fn open(&self) -> Result<(), StartError> {
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        for (rule, socket, serve) in shut.drain(..) {
            let listener = socket.listen(BACKLOG);
            serve(listener.map_err(|source| StartError::port(&rule, source))?);
        }
        Ok(())
    }

    fn serve<I: Inside>(&self, listeners: Listeners, inside: &Arc<I>) {
        let servers = std::iter::zip(&self.policy.servers, &self.servers)
            .filter(|(rule, _)| rule.guard != Guard::Refused);
        let shut = servers
            .zip(listeners.outside)
            .map(|((rule, server), socket)| {
                let (server, inside) = (Arc::clone(server), Arc::clone(inside));
                let ending = self.ending.clone();
                let serve = move |listener| {
                    ending.spawn(server.serve(listener, inside, ending.clone()));
                };
                (rule.clone(), socket, Box::new(serve) as Serve)
            });
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = shut.collect();
        let clients = std::iter::zip(&self.policy.clients, &self.clients)
            .filter(|(rule, _)| rule.guard != Guard::Refused);
        for ((_, client), listener) in clients.zip(listeners.inside) {
            let serving = Arc::clone(client).serve(listener, self.ending.clone());
            self.ending.spawn(serving);
        }
        let (servers, clients) = (self.servers.clone(), self.clients.clone());
        let closed = self.ending.closed.clone();
        self.ending.spawn(async move {
            while timeout(FORGET, closed.cancelled()).await.is_err() {
                for server in &servers {
                    server.forget_sessions();
                }
                for client in &clients {
                    client.forget_sessions();
                }
            }
        });
    }

    /// Takes keys and certificates of `policy` for new connections; those that are open go on.
    ///
    /// # Errors
    ///
    /// The rules are others, or keys or certificates cannot be used: those from before stay in
    /// force, all of them.
    pub fn renew(&self, policy: &Policy, files: &Files<'_>) -> Result<Renewed, RenewError> {
        if !self.policy.has_rules_of(policy) {
            return Err(RenewError::OtherRules);
        }
        let material = Material::load(policy, files)?;
        let mut in_force = self.material.lock().unwrap_or_else(PoisonError::into_inner);
        let mut servers = Vec::new();
        for (index, next) in material.servers.iter().enumerate() {
            if let Some(next) = next
                && in_force.servers[index].as_ref() != Some(next)
            {
                servers.push((index, server::config(next)?));
            }
        }
        let mut clients = Vec::new();
        for (index, next) in material.clients.iter().enumerate() {
            if let Some(next) = next
                && in_force.clients[index].as_ref() != Some(next)
            {
                clients.push((index, client::config(next)?));
            }
        }
        let renewed = Renewed {
            rules: servers.len() + clients.len(),
        };
        for (index, config) in servers {
            self.servers[index].replace(config);
            announce_server(&policy.servers[index], material.servers[index].as_ref());
        }
        for (index, config) in clients {
            self.clients[index].replace(config);
            announce_client(&policy.clients[index], material.clients[index].as_ref());
        }
        *in_force = material;
        Ok(renewed)
    }

    /// Accepts nothing more from the network: who would connect is refused, and can go elsewhere or
    /// try again. Open connections go on, and the program may open more.
    pub fn close(&self) {
        self.ending.outside_closed.cancel();
    }

    /// Accepts nothing more, lets what is on its way arrive, for a few seconds at most, and says
    /// what passed through.
    pub async fn finish(self) {
        self.ending.finish().await;
        for (rule, server) in std::iter::zip(&self.policy.servers, &self.servers) {
            tracing::info!(rule = %rule.name, port = rule.port, "network shield: {}", server.counters);
        }
        for (rule, client) in std::iter::zip(&self.policy.clients, &self.clients) {
            tracing::info!(rule = %rule.name, destination = %rule.destination, "network shield: {}", client.counters);
        }
    }

    /// Says what is protected and what is not, a line each.
    fn announce(&self) {
        let material = self.material.lock().unwrap_or_else(PoisonError::into_inner);
        for remark in &self.policy.remarks {
            tracing::warn!("network shield: {remark}");
        }
        for (rule, material) in std::iter::zip(&self.policy.servers, &material.servers) {
            announce_server(rule, material.as_ref());
        }
        for (rule, material) in std::iter::zip(&self.policy.clients, &material.clients) {
            announce_client(rule, material.as_ref());
        }
        tracing::info!(
            "network shield: the program has a network of its own; whatever no rule names has no way in or out"
        );
    }
}

fn announce_server(rule: &ServerRule, material: Option<&ServerMaterial>) {
    let (name, port) = (&rule.name, rule.port);
    let clients = material.and_then(|material| material.clients.as_ref());
    match (&rule.guard, clients) {
        (Guard::Refused, _) => tracing::info!("refused {port}: nothing listens ({name})"),
        (Guard::Protected(_), Some(clients)) => {
            tracing::info!("protected {port}: mutual TLS, clients {clients} ({name})");
        }
        (Guard::Protected(_), _) => tracing::warn!(
            "protected {port}: TLS, ANY CLIENT: certificates of clients are disabled ({name})"
        ),
        (Guard::Unprotected, _) => {
            tracing::warn!("UNPROTECTED {port}: connections are in the clear ({name})");
        }
    }
}

fn announce_client(rule: &ClientRule, material: Option<&ClientMaterial>) {
    let (name, to) = (&rule.name, &rule.destination);
    let tls = material.map(|tls| (&tls.authorities, tls.identity.is_some()));
    match (&rule.guard, tls) {
        (Guard::Refused, _) => tracing::info!("refused to {to}: no connection ({name})"),
        (Guard::Protected(_), Some((authorities, true))) => {
            tracing::info!("protected to {to}: mutual TLS, server of CA {authorities} ({name})");
        }
        (Guard::Protected(_), Some((authorities, false))) => tracing::info!(
            "protected to {to}: TLS, server of CA {authorities}, no certificate of our own ({name})"
        ),
        (Guard::Protected(_), None) | (Guard::Unprotected, _) => {
            tracing::warn!("UNPROTECTED to {to}: connections are in the clear ({name})");
        }
    }
}

impl Policy {
    /// Whether the same connections are treated the same way, if maybe with other keys.
    fn has_rules_of(&self, other: &Self) -> bool {
        let servers = |policy: &Self| -> Vec<_> {
            let rules = policy.servers.iter();
            rules
                .map(|rule| (rule.name.clone(), rule.port, kind(&rule.guard)))
                .collect()
        };
        let clients = |policy: &Self| -> Vec<_> {
            let rules = policy.clients.iter();
            rules
                .map(|rule| {
                    let server_name = match &rule.guard {
                        Guard::Protected(tls) => Some(tls.server_name.clone()),
                        Guard::Unprotected | Guard::Refused => None,
                    };
                    let to = (rule.destination.clone(), rule.address);
                    (rule.name.clone(), to, kind(&rule.guard), server_name)
                })
                .collect()
        };
        self.mode == other.mode
            && servers(self) == servers(other)
            && clients(self) == clients(other)
    }
}

fn kind<T>(guard: &Guard<T>) -> u8 {
    match guard {
        Guard::Unprotected => 0,
        Guard::Protected(_) => 1,
        Guard::Refused => 2,
    }
}

fn open_servers(policy: &Policy) -> impl Iterator<Item = &ServerRule> {
    let servers = policy.servers.iter();
    servers.filter(|rule| rule.guard != Guard::Refused)
}

/// What a renewal changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renewed {
    /// Rules that have other keys or certificates now.
    pub rules: usize,
}

/// Why a shield cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Keys or certificates cannot be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// TLS cannot be set up with them.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A port is taken, or not ours to take.
    #[error("cannot listen on port {port}, which `{rule}` names: {source}")]
    Port {
        /// The port.
        port: u16,
        /// The rule.
        rule: String,
        /// Why.
        source: io::Error,
    },
    /// The caller's fault.
    #[error("there is not one listener for each rule")]
    Listeners,
}

impl StartError {
    fn port(rule: &ServerRule, source: io::Error) -> Self {
        Self::Port {
            port: rule.port,
            rule: rule.name.to_string(),
            source,
        }
    }
}

/// Why new keys are not taken.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// Ports, destinations or modes.
    #[error("the rules of the network shield are others: they take effect at the next start")]
    OtherRules,
    /// Keys or certificates cannot be used.
    #[error(transparent)]
    Material(#[from] MaterialError),
    /// TLS cannot be set up with them.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The tasks of a shield, and their end.
#[derive(Clone)]
pub(crate) struct Ending {
    tasks: TaskTracker,
    /// Nothing is accepted any more.
    pub(crate) closed: CancellationToken,
    /// Nothing is accepted from the network any more: before `closed`, or with it.
    pub(crate) outside_closed: CancellationToken,
    /// Nothing goes on any more.
    over: CancellationToken,
}

impl Ending {
    fn new() -> Self {
        let closed = CancellationToken::new();
        Self {
            tasks: TaskTracker::new(),
            outside_closed: closed.child_token(),
            closed,
            over: CancellationToken::new(),
        }
    }

    /// Runs `task` until it is done, or everything is over.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let over = self.over.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = over.cancelled() => {}
            }
        });
    }

    async fn finish(&self) {
        self.closed.cancel();
        self.tasks.close();
        let _ = timeout(LAST_BYTES, self.tasks.wait()).await;
        self.over.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        self.ending.closed.cancel();
        self.ending.over.cancel();
    }
}

/// The next connection, once there is a place for it; `None` at the `end`.
pub(crate) async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    end: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let next = async {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((stream, peer, place)),
                Err(error) => {
                    // Out of descriptors, most likely: give others time to close theirs.
                    tracing::warn!(%error, "network shield: a connection cannot be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::select! {
        next = next => next,
        () = end.cancelled() => None,
    }
}

/// Connects again as long as nobody listens, or nobody has the name or the address: a service that
/// is started again is back soon, and may have another address. The caller says how long.
pub(crate) async fn patiently<F>(mut connect: impl FnMut() -> F) -> io::Result<TcpStream>
where
    F: Future<Output = io::Result<TcpStream>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match connect().await {
            Err(error) if is_absence(error.kind()) => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            done => return done,
        }
    }
}

fn is_absence(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NotFound};
    matches!(kind, ConnectionRefused | HostUnreachable | NotFound)
}

/// What every connection on the network has.
pub(crate) fn tune(stream: &TcpStream) {
    // Neither is needed to be right, only to be quick and to notice peers that are gone.
    let _ = stream.set_nodelay(true);
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE)
        .with_interval(KEEP_ALIVE);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keep_alive);
}
