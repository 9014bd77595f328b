//! The network shield of a service (`docs/network-shield.md`): the policy comes with the release,
//! the sandbox has a network of its own, and `mse-shield` stands in between.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mse_shield::policy::Mode;
use mse_shield::{Inside, Layout, Listeners, Policy, Shield};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::ServiceError;
use super::configuration::Program;
use super::health::Way;
use crate::sandbox::{InsideSockets, Network, OwnNetwork, SandboxHandle};

/// How long who was let in last may take to get to the program.
const DOORWAY: Duration = Duration::from_millis(100);

/// The network that the program gets.
pub(super) fn network(program: &Program) -> Network {
    match &program.shield {
        Some(policy) if policy.isolates() => {
            let Layout {
                listen,
                addresses,
                hosts,
            } = Layout::of(policy);
            Network::Own(OwnNetwork {
                listen,
                addresses,
                hosts,
            })
        }
        _ => Network::Host,
    }
}

/// The shield of a program, if its policy has one.
pub(super) struct Shielding {
    shield: Option<Shield>,
    /// To the program's own network.
    inside: Option<Arc<InsideSockets>>,
}

impl Shielding {
    /// Listens for the program, and for its peers unless there is a health check: then they are let
    /// in when the program is [well](Self::open). Call it before the program starts.
    pub(super) async fn start(
        program: &Program,
        handle: &SandboxHandle,
    ) -> Result<Self, ServiceError> {
        let Some(policy) = &program.shield else {
            return Ok(Self::none());
        };
        match policy.mode {
            Mode::Disabled => {
                tracing::warn!(
                    "UNPROTECTED: the session disables the network shield; connections are in the clear"
                );
                return Ok(Self::none());
            }
            Mode::Unprotected => {
                tracing::warn!(
                    "UNPROTECTED: the session's network shield protects nothing; connections are in the clear"
                );
                return Ok(Self::none());
            }
            Mode::Protected => {}
        }
        raise_open_files();
        let network = handle.network().await?;
        let listeners = Listeners::bind(policy, network.listeners)?;
        let inside = Arc::new(network.sockets);
        let shield = Shield::start(
            policy.clone(),
            &|path| program.files.content(path),
            listeners,
            OwnLoopback(Arc::clone(&inside)),
        )?;
        if program.health.is_none() {
            shield.open()?;
        }
        Ok(Self {
            shield: Some(shield),
            inside: Some(inside),
        })
    }

    fn none() -> Self {
        Self {
            shield: None,
            inside: None,
        }
    }

    /// How the enclave gets to the program.
    pub(super) fn way(&self) -> Way {
        self.inside
            .as_ref()
            .map_or(Way::Shared, |inside| Way::Own(Arc::clone(inside)))
    }

    /// Takes the keys and certificates of `next`, for new connections. Whatever goes wrong, those
    /// from before stay in force.
    pub(super) fn renew(&self, next: &Program) {
        match (&self.shield, &next.shield) {
            (Some(shield), Some(policy)) => {
                match shield.renew(policy, &|path| next.files.content(path)) {
                    Ok(renewed) if renewed.rules > 0 => tracing::info!(
                        rules = renewed.rules,
                        "network shield: new connections have the renewed keys and certificates"
                    ),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!("network shield: what it had stays in force: {error}");
                    }
                }
            }
            (None, next) if !next.as_ref().is_some_and(Policy::isolates) => {}
            (Some(_), None) | (None, _) => tracing::warn!(
                "the session changed whether there is a network shield: it takes effect at the next start"
            ),
        }
    }

    /// Lets peers in, if it does not yet.
    pub(super) fn open(&self) -> Result<(), ServiceError> {
        match &self.shield {
            Some(shield) => Ok(shield.open()?),
            None => Ok(()),
        }
    }

    /// Lets nobody in any more, before the program is asked to end: it takes no requests from then on.
    pub(super) async fn close(&self) {
        if let Some(shield) = &self.shield {
            shield.close();
            sleep(DOORWAY).await;
        }
    }

    /// Ends it, when the program has ended.
    pub(super) async fn finish(self) {
        if let Some(shield) = self.shield {
            shield.finish().await;
        }
    }
}

/// The shield needs two descriptors for every connection, more than the usual soft limit has.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// The program's own loopback interface.
struct OwnLoopback(Arc<InsideSockets>);

impl Inside for OwnLoopback {
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        self.0.connect(port).await
    }
}
