//! The volumes of a service, with what the store has of them.

use std::sync::Arc;

use mse_ratls::release::VolumeGrant;
use mse_session::{Service, Session, SessionHash, SessionPin};

use super::volumes::{self, Exporters, Mount, VolumesError};
use crate::sessions::{Loaded, SessionError, Sessions};
use crate::store::{Store, StoreError};
use crate::values::Values;

/// What the volumes of `service` are, of the version `hash` of `session`.
pub async fn mounts(
    sessions: &Sessions,
    session: &Session,
    hash: SessionHash,
    service: &Service,
    values: &Values,
) -> Result<Vec<Mount>, MountingError> {
    let mut exporters = Loadeds(Vec::new());
    for (name, _) in volumes::imports(session, service) {
        match sessions.load(&name).await {
            Ok(loaded) if !loaded.is_revoked() => exporters.0.push(loaded),
            // It is missed where it is asked for.
            Ok(_) | Err(SessionError::NoSession(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(volumes::mounts(session, hash, service, values, &exporters)?)
}

/// What the service is told of them.
pub async fn grants(store: &Store, mounts: &[Mount]) -> Result<Vec<VolumeGrant>, MountingError> {
    let mut grants = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let key = match mount.stored_key() {
            Some(id) => store.secret(&id).await?,
            None => None,
        };
        let id = mount.id();
        let recorded = store.volume(&id.session, &id.volume).await?;
        grants.push(mount.grant(key.as_ref().map(|key| key.as_slice()), recorded.as_ref())?);
    }
    Ok(grants)
}

struct Loadeds(Vec<Arc<Loaded>>);

impl Exporters for Loadeds {
    fn exporter(&self, pin: &SessionPin) -> Option<(&Session, &Values)> {
        self.0
            .iter()
            .find(|loaded| {
                loaded.session.name == pin.session
                    && pin.hash.is_none_or(|hash| hash == loaded.hash())
            })
            .map(|loaded| (&loaded.session, &loaded.values))
    }
}

/// Why a service does not get its volumes.
#[derive(Debug, thiserror::Error)]
pub enum MountingError {
    /// The session asks for what it does not get.
    #[error(transparent)]
    Volumes(#[from] VolumesError),
    /// Another session cannot be read.
    #[error(transparent)]
    Session(#[from] Box<SessionError>),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SessionError> for MountingError {
    fn from(error: SessionError) -> Self {
        Self::Session(Box::new(error))
    }
}
