//! Which name leads where.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::operator::Towards;
use super::relay::Traffic;

/// The way to one app.
pub(super) struct Route {
    pub(super) upstream: SocketAddr,
    pub(super) end: TlsEnd,
    pub(super) domain: String,
    pub(super) config_domain: String,
    pub(super) traffic: Arc<Traffic>,
    /// Its own bound on connections, so that one app does not take the gateway from others.
    pub(super) room: Arc<Semaphore>,
    /// Cancelled when the route is gone.
    pub(super) closed: CancellationToken,
}

/// Where the users' TLS ends.
pub(super) enum TlsEnd {
    /// In the enclave: bytes pass through.
    Enclave,
    /// In the gateway, which speaks TLS of its own to the enclave.
    Here(Box<Towards>),
}

impl Route {
    /// How a connection for this name goes on. The configuration domain always leads straight
    /// into the enclave.
    pub(super) fn end_for(&self, server_name: Option<&str>) -> &TlsEnd {
        if server_name == Some(self.config_domain.as_str()) {
            &TlsEnd::Enclave
        } else {
            &self.end
        }
    }
}

/// All routes by name.
#[derive(Default)]
pub(super) struct Routes(RwLock<HashMap<String, Arc<Route>>>);

impl Routes {
    pub(super) fn add(&self, route: &Arc<Route>) {
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for name in [&route.domain, &route.config_domain] {
            routes.insert(name.clone(), Arc::clone(route));
        }
    }

    /// Removes the names that still lead to this very route.
    pub(super) fn remove(&self, route: &Arc<Route>) {
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|_, other| !Arc::ptr_eq(other, route));
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Route>> {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        routes.get(name).cloned()
    }
}
