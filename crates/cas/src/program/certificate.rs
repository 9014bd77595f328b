//! The TLS certificate: short-lived, renewed at half its life without a restart.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::sleep;

use super::ProgramError;
use crate::identity::{Identity, TLS_LIFETIME};
use crate::listen::server_config;

/// The wall clock is looked at this often: a machine that slept is noticed.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// What TLS connections are served with.
pub(super) struct Certificate {
    names: Vec<String>,
    served: watch::Sender<Arc<ServerConfig>>,
    made: SystemTime,
}

impl Certificate {
    /// A new one for `names`.
    pub(super) fn new(identity: &Identity, names: Vec<String>) -> Result<Self, ProgramError> {
        let made = SystemTime::now();
        let config = server_config(identity.tls(&names, made)?)?;
        Ok(Self {
            names,
            served: watch::Sender::new(config),
            made,
        })
    }

    /// Gives the one of the moment.
    pub(super) fn current(&self) -> impl Fn() -> Arc<ServerConfig> + Send + Sync + 'static {
        let served = self.served.subscribe();
        move || Arc::clone(&served.borrow())
    }

    /// Renews it for as long as the CAS lives.
    pub(super) async fn renew(mut self, identity: &Identity) -> Infallible {
        loop {
            sleep(LOOK).await;
            self.renew_at(identity, SystemTime::now());
        }
    }

    /// Renews it if it is time. If that fails, the old one has half its life left to try again.
    fn renew_at(&mut self, identity: &Identity, now: SystemTime) {
        if now < self.made + TLS_LIFETIME / 2 {
            return;
        }
        let renewed = identity
            .tls(&self.names, now)
            .map_err(ProgramError::from)
            .and_then(|credentials| Ok(server_config(credentials)?));
        match renewed {
            Ok(config) => {
                self.served.send_replace(config);
                self.made = now;
                tracing::info!("the TLS certificate was renewed");
            }
            Err(error) => tracing::error!(%error, "the TLS certificate cannot be renewed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_renewed_at_half_its_life_and_not_before() {
        let identity = Identity::generate(SystemTime::now()).unwrap();
        let mut certificate = Certificate::new(&identity, vec!["cas.example".into()]).unwrap();
        let current = certificate.current();
        let first = current();
        let made = certificate.made;
        certificate.renew_at(&identity, made + TLS_LIFETIME / 2 - LOOK);
        assert!(Arc::ptr_eq(&first, &current()));
        certificate.renew_at(&identity, made + TLS_LIFETIME / 2);
        assert!(!Arc::ptr_eq(&first, &current()));
        let second = current();
        certificate.renew_at(&identity, made + TLS_LIFETIME / 2 + LOOK);
        assert!(Arc::ptr_eq(&second, &current()));
    }

    #[test]
    fn a_name_that_no_certificate_can_carry_is_refused() {
        let identity = Identity::generate(SystemTime::now()).unwrap();
        let refused = Certificate::new(&identity, vec!["späßig".into()]).err();
        assert!(matches!(refused, Some(ProgramError::Identity(_))));
    }
}
