//! What an operation needs to know, and what it changes: decided in memory, without the database.

use std::collections::{BTreeMap, HashMap};

use mse_crypto::{Digest, Zeroizing};

use super::cell::{CellId, Kind};
use super::error::StoreError;
use super::memory::Memory;
use super::records::{
    Approval, NewVersion, Proposal, Record, SecretId, SessionHead, SessionState, SessionVersion,
    VolumeRoot,
};
use super::write::{FORGET_AT_ONCE, Operation, Refused};

/// The cells that a batch read before it decided: opened, or why they cannot be.
pub(super) type Loaded = HashMap<CellId, Result<Zeroizing<Vec<u8>>, &'static str>>;

/// Cells as a batch leaves them. `None`: removed.
pub(super) type Pending = BTreeMap<CellId, Option<NewValue>>;

/// A cell's new value.
pub(super) struct NewValue {
    pub(super) expires: Option<i64>,
    pub(super) value: Zeroizing<Vec<u8>>,
}

/// The store as one write sees it: what was loaded, changed by the writes before it in the same
/// batch, changed by itself.
pub(super) struct View<'a> {
    memory: &'a Memory,
    loaded: &'a Loaded,
    batch: &'a Pending,
    mine: Pending,
}

impl<'a> View<'a> {
    pub(super) fn new(memory: &'a Memory, loaded: &'a Loaded, batch: &'a Pending) -> Self {
        Self {
            memory,
            loaded,
            batch,
            mine: Pending::new(),
        }
    }

    /// What the write changed.
    pub(super) fn into_changes(self) -> Pending {
        self.mine
    }

    fn exists(&self, id: &CellId) -> bool {
        match self.pending(id) {
            Some(pending) => pending.is_some(),
            None => self.memory.stamp(id).is_some(),
        }
    }

    pub(super) fn get<R: Record>(&self, id: &CellId) -> Result<Option<R>, StoreError> {
        let value = match self.pending(id) {
            Some(None) => return Ok(None),
            Some(Some(new)) => &new.value,
            None => match self.loaded.get(id) {
                None => return Ok(None),
                Some(Err(what)) => return Err(StoreError::tampered(id, what)),
                Some(Ok(value)) => value,
            },
        };
        R::decode(value)
            .map(Some)
            .map_err(|_| StoreError::tampered(id, MALFORMED))
    }

    pub(super) fn put(&mut self, id: CellId, value: &impl Record) {
        self.put_until(id, value, None);
    }

    fn put_until(&mut self, id: CellId, value: &impl Record, expires: Option<i64>) {
        let value = value.encode();
        self.mine.insert(id, Some(NewValue { expires, value }));
    }

    fn remove(&mut self, id: CellId) {
        self.mine.insert(id, None);
    }

    fn pending(&self, id: &CellId) -> Option<&Option<NewValue>> {
        self.mine.get(id).or_else(|| self.batch.get(id))
    }

    /// The cells under a prefix, with those of this batch.
    fn ids(&self, prefix: &CellId) -> Vec<CellId> {
        let under = |id: &&CellId| id.kind == prefix.kind && id.key.starts_with(&prefix.key);
        let mut ids: Vec<_> = self.memory.ids(prefix).cloned().collect();
        ids.extend(
            self.batch
                .keys()
                .chain(self.mine.keys())
                .filter(under)
                .cloned(),
        );
        ids.sort();
        ids.dedup();
        ids.retain(|id| self.exists(id));
        ids
    }
}

impl Operation {
    /// The cells whose values it looks at.
    pub(super) fn needs(&self) -> Vec<CellId> {
        match self {
            Self::CreateSession { name, .. }
            | Self::UpdateSession { name, .. }
            | Self::RevokeSession { name, .. } => vec![session(name)],
            Self::AdvanceVolume {
                session, volume, ..
            } => vec![volume_root(session, volume)],
            Self::RedeemToken { token, .. } => vec![self::token(token)],
            Self::Approve {
                name,
                proposal,
                signer,
                ..
            }
            | Self::WithdrawApproval {
                name,
                proposal,
                signer,
            } => vec![approval(name, proposal, signer)],
            Self::PutSecret { .. }
            | Self::RemoveSecret { .. }
            | Self::IssueToken { .. }
            | Self::UseOnce { .. }
            | Self::Propose { .. }
            | Self::SettleProposal { .. }
            | Self::PutSetting { .. }
            | Self::ForgetExpired { .. } => Vec::new(),
        }
    }

    /// Makes the change, or says why not.
    pub(super) fn apply(&self, view: &mut View<'_>) -> Result<(), StoreError> {
        match self {
            Self::CreateSession { name, first } => create_session(view, name, first),
            Self::UpdateSession {
                name,
                predecessor,
                next,
            } => update_session(view, name, *predecessor, next),
            Self::RevokeSession { name, head } => revoke_session(view, name, *head),
            Self::PutSecret { id, value } => put_secret(view, id, value),
            Self::RemoveSecret { id } => remove_secret(view, id),
            Self::AdvanceVolume {
                session,
                volume,
                sequence,
                root,
            } => advance_volume(view, session, volume, *sequence, root),
            Self::IssueToken {
                token,
                stands_for,
                expires_at,
            } => {
                let id = self::token(token);
                if view.exists(&id) {
                    return Err(Refused::TokenExists.into());
                }
                view.put_until(id, stands_for, Some(expires_at.as_millisecond()));
                Ok(())
            }
            Self::RedeemToken { token, now } => {
                let id = self::token(token);
                let expires = match view.pending(&id) {
                    Some(pending) => pending.as_ref().and_then(|new| new.expires),
                    None => view.memory.stamp(&id).and_then(|stamp| stamp.expires),
                };
                // Opened although its value does not matter: a changed row is no token.
                let known = view.get::<Zeroizing<Vec<u8>>>(&id)?.is_some();
                if !known || expires.is_none_or(|expires| expires <= now.as_millisecond()) {
                    return Err(Refused::NoToken.into());
                }
                view.remove(id);
                Ok(())
            }
            Self::UseOnce { what, expires_at } => {
                let id = used(what);
                if view.exists(&id) {
                    return Err(Refused::AlreadyUsed { what: what.clone() }.into());
                }
                let nothing = Zeroizing::new(Vec::new());
                view.put_until(id, &nothing, Some(expires_at.as_millisecond()));
                Ok(())
            }
            Self::Propose {
                name,
                proposal,
                text,
                expires_at,
            } => {
                let id = self::proposal(name, proposal);
                if view.exists(&id) {
                    return Err(Refused::ProposalExists {
                        name: name.clone(),
                        proposal: *proposal,
                    }
                    .into());
                }
                let record = Proposal {
                    id: *proposal,
                    text: text.clone(),
                    expires_at: *expires_at,
                };
                view.put_until(id, &record, Some(expires_at.as_millisecond()));
                Ok(())
            }
            Self::SettleProposal { name, proposal } => {
                let id = waiting(view, name, proposal)?;
                settle(view, id);
                Ok(())
            }
            Self::Approve {
                name,
                proposal,
                signer,
                signature,
            } => {
                waiting(view, name, proposal)?;
                let id = approval(name, proposal, signer);
                let before = view.get::<Approval>(&id)?;
                if before.is_some_and(|before| !before.withdrawn) {
                    return Err(Refused::AlreadyApproved { signer: *signer }.into());
                }
                view.put(
                    id,
                    &Approval {
                        signer: *signer,
                        signature: signature.clone(),
                        withdrawn: false,
                    },
                );
                Ok(())
            }
            Self::WithdrawApproval {
                name,
                proposal,
                signer,
            } => {
                waiting(view, name, proposal)?;
                let id = approval(name, proposal, signer);
                match view.get::<Approval>(&id)? {
                    Some(before) if !before.withdrawn => {
                        let withdrawn = Approval {
                            withdrawn: true,
                            ..before
                        };
                        view.put(id, &withdrawn);
                        Ok(())
                    }
                    _ => Err(Refused::NoApproval { signer: *signer }.into()),
                }
            }
            Self::PutSetting { name, value } => {
                view.put(setting(name), value);
                Ok(())
            }
            Self::ForgetExpired { now } => {
                let now = now.as_millisecond();
                for kind in [Kind::Token, Kind::Used, Kind::Proposal] {
                    for id in view.memory.expired(kind, now, FORGET_AT_ONCE) {
                        // What this batch touched is not the cell that expired.
                        if view.pending(&id).is_some() {
                            continue;
                        }
                        match kind {
                            Kind::Proposal => settle(view, id),
                            _ => view.remove(id),
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

fn create_session(view: &mut View<'_>, name: &str, first: &NewVersion) -> Result<(), StoreError> {
    let id = session(name);
    if let Some(head) = view.get::<SessionHead>(&id)? {
        return Err(Refused::SessionExists {
            name: name.into(),
            head: head.hash,
        }
        .into());
    }
    put_version(view, name, 1, None, first)
}

fn update_session(
    view: &mut View<'_>,
    name: &str,
    predecessor: Digest,
    next: &NewVersion,
) -> Result<(), StoreError> {
    let head = current(view, name, predecessor)?;
    put_version(view, name, head.number + 1, Some(predecessor), next)
}

fn revoke_session(view: &mut View<'_>, name: &str, head: Digest) -> Result<(), StoreError> {
    let head = current(view, name, head)?;
    view.put(
        session(name),
        &SessionHead {
            state: SessionState::Revoked,
            ..head
        },
    );
    Ok(())
}

/// The head of an active session, if its version is the one that the caller knows.
fn current(view: &View<'_>, name: &str, given: Digest) -> Result<SessionHead, StoreError> {
    let head = view
        .get::<SessionHead>(&session(name))?
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
    let id = version(name, &new.hash);
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
        session(name),
        &SessionHead {
            number,
            hash: new.hash,
            state: SessionState::Active,
        },
    );
    Ok(())
}

fn put_secret(
    view: &mut View<'_>,
    secret: &SecretId,
    value: &Zeroizing<Vec<u8>>,
) -> Result<(), StoreError> {
    let id = self::secret(secret);
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

fn remove_secret(view: &mut View<'_>, secret: &SecretId) -> Result<(), StoreError> {
    let id = self::secret(secret);
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

fn advance_volume(
    view: &mut View<'_>,
    session: &str,
    volume: &str,
    sequence: u64,
    root: &Zeroizing<Vec<u8>>,
) -> Result<(), StoreError> {
    let id = volume_root(session, volume);
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

/// The id of a proposal that is waiting.
fn waiting(view: &View<'_>, name: &str, proposal: &Digest) -> Result<CellId, StoreError> {
    let id = self::proposal(name, proposal);
    if view.exists(&id) {
        Ok(id)
    } else {
        Err(Refused::NoProposal {
            name: name.into(),
            proposal: *proposal,
        }
        .into())
    }
}

/// Removes a proposal and what was said to it.
fn settle(view: &mut View<'_>, id: CellId) {
    for said in view.ids(&approvals_of(&id)) {
        view.remove(said);
    }
    view.remove(id);
}

pub(super) fn session(name: &str) -> CellId {
    CellId::new(Kind::SessionHead, &[name], &[])
}

pub(super) fn version(name: &str, hash: &Digest) -> CellId {
    CellId::new(Kind::SessionVersion, &[name], hash.as_ref())
}

pub(super) fn secret(id: &SecretId) -> CellId {
    let names = [id.session.as_str(), id.name.as_str()];
    CellId::new(Kind::Secret, &names, &id.version.to_be_bytes())
}

pub(super) fn volume_root(session: &str, volume: &str) -> CellId {
    CellId::new(Kind::VolumeRoot, &[session, volume], &[])
}

pub(super) fn token(token: &Digest) -> CellId {
    CellId::new(Kind::Token, &[], token.as_ref())
}

pub(super) fn used(what: &str) -> CellId {
    CellId::new(Kind::Used, &[what], &[])
}

pub(super) fn proposal(name: &str, proposal: &Digest) -> CellId {
    CellId::new(Kind::Proposal, &[name], proposal.as_ref())
}

/// The prefix of all that was said to a proposal: its own key.
pub(super) fn approvals_of(proposal: &CellId) -> CellId {
    CellId {
        kind: Kind::Approval,
        key: proposal.key.clone(),
    }
}

pub(super) fn approval(name: &str, proposal: &Digest, signer: &Digest) -> CellId {
    let mut id = approvals_of(&self::proposal(name, proposal));
    id.key.extend(signer.as_ref());
    id
}

pub(super) fn setting(name: &str) -> CellId {
    CellId::new(Kind::Setting, &[name], &[])
}

pub(super) const MALFORMED: &str = "its value is not as this version writes it";
