//! TLS configurations in force, and how long a peer may go on with an earlier handshake.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::server::ServerSessionMemoryCache;
use rustls::{ClientConfig, ServerConfig};

/// Sessions are forgotten so often. A resumed handshake does not look at the peer's certificate
/// again, so this is how long one may be used after its end.
pub(crate) const FORGET: Duration = Duration::from_secs(10 * 60);
/// Sessions that a server keeps.
const SERVER_SESSIONS: usize = 4096;
/// Servers of which a client keeps sessions: a rule has one.
const CLIENT_SESSIONS: usize = 8;

/// A configuration that can be replaced for new connections.
pub(crate) struct InForce<C>(RwLock<Arc<C>>);

impl<C: Resumes> InForce<C> {
    pub(crate) fn new(config: C) -> Self {
        Self(RwLock::new(Arc::new(config.without_sessions())))
    }

    pub(crate) fn current(&self) -> Arc<C> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, config: C) {
        let config = Arc::new(config.without_sessions());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Every connection from here on makes a whole handshake.
    pub(crate) fn forget_sessions(&self) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(C::clone(&held).without_sessions());
    }
}

/// A configuration that remembers handshakes.
pub(crate) trait Resumes: Clone {
    fn without_sessions(self) -> Self;
}

impl Resumes for ServerConfig {
    fn without_sessions(mut self) -> Self {
        self.session_storage = ServerSessionMemoryCache::new(SERVER_SESSIONS);
        self
    }
}

impl Resumes for ClientConfig {
    fn without_sessions(mut self) -> Self {
        self.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS);
        self
    }
}
