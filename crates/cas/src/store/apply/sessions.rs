//! Sessions, their secrets and their volumes.

use mse_crypto::{Digest, Zeroizing};

use super::View;
use crate::store::error::StoreError;
use crate::store::ids;
use crate::store::records::{
    NewVersion, SecretId, SessionHead, SessionState, SessionVersion, VolumeRoot,
};
use crate::store::refused::Refused;

pub(super) fn create_session(
    view: &mut View<'_>,
    name: &str,
    first: &NewVersion,
) -> Result<(), StoreError> {
    let id = ids::session(name);
    if let Some(head) = view.get::<SessionHead>(&id)? {
        return Err(Refused::SessionExists {
            name: name.into(),
            head: head.hash,
        }
        .into());
    }
    put_version(view, name, 1, None, first)
}

pub(super) fn update_session(
    view: &mut View<'_>,
    name: &str,
    predecessor: Digest,
    next: &NewVersion,
) -> Result<(), StoreError> {
    let head = current(view, name, predecessor)?;
    put_version(view, name, head.number + 1, Some(predecessor), next)
}

pub(super) fn revoke_session(
    view: &mut View<'_>,
    name: &str,
    head: Digest,
) -> Result<(), StoreError> {
    let head = current(view, name, head)?;
    view.put(
        ids::session(name),
        &SessionHead {
            state: SessionState::Revoked,
            ..head
        },
    );
    Ok(())
}

/// The head of an active session, if its version is the one that the caller knows.
pub(super) fn current(
    view: &View<'_>,
    name: &str,
    given: Digest,
) -> Result<SessionHead, StoreError> {
    let head = view
        .get::<SessionHead>(&ids::session(name))?
        .ok_or_else(|| Refused::NoSession { name: name.into() })?;
    if head.state == SessionState::Revoked {
        return Err(Refused::Revoked { name: name.into() }.into());
    }
    if head.hash != given {
        return Err(Refused::HeadMoved {
            name: name.into(),
            given,
            head: head.hash,
        }
        .into());
    }
    Ok(head)
}

fn put_version(
    view: &mut View<'_>,
    name: &str,
    number: u64,
    predecessor: Option<Digest>,
    new: &NewVersion,
) -> Result<(), StoreError> {
    let id = ids::version(name, &new.hash);
    if view.exists(&id) {
        return Err(Refused::VersionExists {
            name: name.into(),
            hash: new.hash,
        }
        .into());
    }
    view.put(
        id,
        &SessionVersion {
            number,
            hash: new.hash,
            predecessor,
            text: new.text.clone(),
            created_at: new.created_at,
        },
    );
    view.put(
        ids::session(name),
        &SessionHead {
            number,
            hash: new.hash,
            state: SessionState::Active,
        },
    );
    Ok(())
}

pub(super) fn put_secret(
    view: &mut View<'_>,
    secret: &SecretId,
    value: &Zeroizing<Vec<u8>>,
) -> Result<(), StoreError> {
    let id = ids::secret(secret);
    if view.exists(&id) {
        return Err(Refused::SecretExists {
            session: secret.session.clone(),
            name: secret.name.clone(),
            version: secret.version,
        }
        .into());
    }
    view.put(id, value);
    Ok(())
}

pub(super) fn remove_secret(view: &mut View<'_>, secret: &SecretId) -> Result<(), StoreError> {
    let id = ids::secret(secret);
    if !view.exists(&id) {
        return Err(Refused::NoSecret {
            session: secret.session.clone(),
            name: secret.name.clone(),
            version: secret.version,
        }
        .into());
    }
    view.remove(id);
    Ok(())
}

pub(super) fn advance_volume(
    view: &mut View<'_>,
    session: &str,
    volume: &str,
    sequence: u64,
    root: &Zeroizing<Vec<u8>>,
) -> Result<(), StoreError> {
    let id = ids::volume_root(session, volume);
    if let Some(stored) = view.get::<VolumeRoot>(&id)?
        && stored.sequence >= sequence
    {
        return Err(Refused::VolumeBehind {
            session: session.into(),
            volume: volume.into(),
            stored: stored.sequence,
            given: sequence,
        }
        .into());
    }
    let root = root.clone();
    view.put(id, &VolumeRoot { sequence, root });
    Ok(())
}
