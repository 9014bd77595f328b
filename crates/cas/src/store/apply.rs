//! What an operation needs to know, and what it changes: decided in memory, without the database.

mod governance;
mod once;
mod sessions;

use std::collections::{BTreeMap, HashMap};

use mse_crypto::Zeroizing;

use super::cell::CellId;
use super::error::StoreError;
use super::ids;
use super::memory::Memory;
use super::records::{MALFORMED, Record};
use super::write::Operation;

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

    fn expires(&self, id: &CellId) -> Option<i64> {
        match self.pending(id) {
            Some(pending) => pending.as_ref()?.expires,
            None => self.memory.stamp(id)?.expires,
        }
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
            | Self::ExpectSession { name, .. }
            | Self::RevokeSession { name, .. } => vec![ids::session(name)],
            Self::AdvanceVolume {
                session, volume, ..
            } => vec![ids::volume_root(session, volume)],
            Self::RedeemToken { token, .. } => vec![ids::token(token)],
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
            } => vec![ids::approval(name, proposal, signer)],
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
            Self::CreateSession { name, first } => sessions::create_session(view, name, first),
            Self::UpdateSession {
                name,
                predecessor,
                next,
            } => sessions::update_session(view, name, *predecessor, next),
            Self::ExpectSession { name, head } => sessions::current(view, name, *head).map(|_| ()),
            Self::RevokeSession { name, head } => sessions::revoke_session(view, name, *head),
            Self::PutSecret { id, value } => sessions::put_secret(view, id, value),
            Self::RemoveSecret { id } => sessions::remove_secret(view, id),
            Self::AdvanceVolume {
                session,
                volume,
                sequence,
                root,
            } => sessions::advance_volume(view, session, volume, *sequence, root),
            Self::IssueToken {
                token,
                stands_for,
                expires_at,
            } => once::issue_token(view, token, stands_for, *expires_at),
            Self::RedeemToken { token, now } => once::redeem_token(view, token, *now),
            Self::UseOnce { what, expires_at } => once::use_once(view, what, *expires_at),
            Self::Propose {
                name,
                proposal,
                text,
                expires_at,
            } => governance::propose(view, name, *proposal, text, *expires_at),
            Self::SettleProposal { name, proposal } => {
                governance::settle_waiting(view, name, proposal)
            }
            Self::Approve {
                name,
                proposal,
                signer,
                signature,
            } => governance::approve(view, name, proposal, *signer, signature),
            Self::WithdrawApproval {
                name,
                proposal,
                signer,
            } => governance::withdraw(view, name, proposal, *signer),
            Self::PutSetting { name, value } => {
                view.put(ids::setting(name), value);
                Ok(())
            }
            Self::ForgetExpired { now } => {
                once::forget_expired(view, *now);
                Ok(())
            }
        }
    }
}
