//! Reading. Each answer is as of one moment, and is compared with what this process remembers:
//! what is older than a read or a write that this process has finished is never returned.

use std::ops::Range;

use jiff::Timestamp;
use mse_crypto::{Digest, Zeroizing};

use super::cell::{CellId, Kind, SealedCell};
use super::error::StoreError;
use super::ids::{
    approvals_of, proposal, secret, session, setting, token, used, version, volume_root,
};
use super::memory::Verdict;
use super::records::{
    Approval, LogTail, MALFORMED, Proposal, Record, SecretId, SessionHead, SessionVersion,
    VolumeRoot, time,
};
use super::{Shared, Store, audit};

impl Store {
    /// The current state of a session.
    pub async fn session(&self, name: &str) -> Result<Option<SessionHead>, StoreError> {
        self.shared.record(&session(name)).await
    }

    /// One version of a session, current or not.
    pub async fn session_version(
        &self,
        name: &str,
        hash: Digest,
    ) -> Result<Option<SessionVersion>, StoreError> {
        self.shared.record(&version(name, &hash)).await
    }

    /// The hashes of all versions of a session, oldest first. Empty: there is no such session.
    pub async fn session_history(&self, name: &str) -> Result<Vec<Digest>, StoreError> {
        let prefix = CellId::new(Kind::SessionVersion, &[name], &[]);
        let mut versions = self.shared.records::<SessionVersion>(&prefix).await?;
        versions.sort_by_key(|(_, version)| version.number);
        Ok(versions
            .into_iter()
            .map(|(_, version)| version.hash)
            .collect())
    }

    /// The names of all sessions that begin with `prefix`, in order of their bytes. They are in the
    /// store in clear: names are not secret.
    pub async fn session_names(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.refresh().await?;
        let mut id = CellId::new(Kind::SessionHead, &[prefix], &[]);
        id.key.pop();
        let memory = self.shared.memory();
        memory
            .ids(&id)
            .map(|id| {
                let name = id.key.strip_suffix(&[0]).unwrap_or_default();
                String::from_utf8(name.to_vec()).map_err(|_| StoreError::tampered(id, MALFORMED))
            })
            .collect()
    }

    /// A secret.
    pub async fn secret(&self, id: &SecretId) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.shared.record(&secret(id)).await
    }

    /// The names and versions of a session's secrets, without the values.
    pub async fn secret_ids(&self, session: &str) -> Result<Vec<SecretId>, StoreError> {
        self.refresh().await?;
        self.known_secret_ids(session)
    }

    /// As [`Store::secret_ids`], as far as this process knows: it reads nothing.
    pub fn known_secret_ids(&self, session: &str) -> Result<Vec<SecretId>, StoreError> {
        let prefix = CellId::new(Kind::Secret, &[session], &[]);
        let memory = self.shared.memory();
        memory
            .ids(&prefix)
            .map(|id| {
                let parsed = id.key[prefix.key.len()..].split_last_chunk::<8>();
                let (name, version) = parsed.ok_or_else(|| StoreError::tampered(id, MALFORMED))?;
                let name = name.strip_suffix(&[0]).unwrap_or_default();
                Ok(SecretId {
                    session: session.into(),
                    name: String::from_utf8(name.to_vec())
                        .map_err(|_| StoreError::tampered(id, MALFORMED))?,
                    version: u64::from_be_bytes(*version),
                })
            })
            .collect()
    }

    /// The newest reported state of a volume.
    pub async fn volume(
        &self,
        session: &str,
        volume: &str,
    ) -> Result<Option<VolumeRoot>, StoreError> {
        self.shared.record(&volume_root(session, volume)).await
    }

    /// What a token stands for, if it is known and not expired at `now`. It stays usable.
    pub async fn token(
        &self,
        digest: Digest,
        now: Timestamp,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let id = token(&digest);
        let Some((cell, value)) = self.shared.cell(&id).await? else {
            return Ok(None);
        };
        let expires = cell.stamp.expires.map(time).transpose();
        let expires = expires.map_err(|_| StoreError::tampered(&id, MALFORMED))?;
        Ok(expires
            .is_some_and(|expires| expires > now)
            .then_some(value))
    }

    /// Whether something that may be done once was done, and is not forgotten.
    pub async fn was_used(&self, what: &str) -> Result<bool, StoreError> {
        Ok(self.shared.cell(&used(what)).await?.is_some())
    }

    /// A proposal for a session.
    pub async fn proposal(&self, name: &str, id: Digest) -> Result<Option<Proposal>, StoreError> {
        self.shared.record(&proposal(name, &id)).await
    }

    /// All proposals that wait for a session, in order of their ids. Those that lapsed are among
    /// them until they are forgotten.
    pub async fn proposals(&self, name: &str) -> Result<Vec<Proposal>, StoreError> {
        let prefix = CellId::new(Kind::Proposal, &[name], &[]);
        let found = self.shared.records(&prefix).await?;
        Ok(found.into_iter().map(|(_, proposal)| proposal).collect())
    }

    /// What signers said to a proposal, in order of their key hashes.
    pub async fn approvals(&self, name: &str, id: Digest) -> Result<Vec<Approval>, StoreError> {
        let prefix = approvals_of(&proposal(name, &id));
        let found = self.shared.records(&prefix).await?;
        Ok(found.into_iter().map(|(_, approval)| approval).collect())
    }

    /// A setting of the CAS itself.
    pub async fn setting(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        self.shared.record(&setting(name)).await
    }

    /// How many leaves the audit log has.
    pub async fn log_size(&self) -> Result<u64, StoreError> {
        let tail = self.shared.record::<LogTail>(&audit::tail()).await?;
        Ok(tail.unwrap_or_default().size)
    }

    /// How many leaves the audit log has, and the last [`Appended::state`](super::Appended).
    pub async fn log_tail(&self) -> Result<(u64, Vec<u8>), StoreError> {
        let tail = self.shared.record::<LogTail>(&audit::tail()).await?;
        let tail = tail.unwrap_or_default();
        Ok((tail.size, tail.state))
    }

    /// Leaves of the audit log; fewer than asked for only at its end.
    pub async fn log_leaves(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StoreError> {
        let end = range.end.min(self.log_size().await?);
        let mut leaves = Vec::new();
        let mut next = range.start;
        while next < end {
            let to = end.min(next + LEAVES_AT_ONCE);
            let bounds = (&audit::leaf(next), &audit::leaf(to).key[..]);
            let floor = self.shared.position().sequence;
            let (chain, cells) = self.shared.database.read_cells(bounds.0, bounds.1).await?;
            self.shared.follow(&chain, floor).await?;
            let mut cells = cells.into_iter();
            for index in next..to {
                let id = audit::leaf(index);
                let cell = cells.next().filter(|cell| cell.id == id).ok_or_else(|| {
                    StoreError::tampered(&id, "it was removed behind the store's back")
                })?;
                leaves.push(self.shared.seals.open_cell(&cell)?.to_vec());
            }
            next = to;
        }
        Ok(leaves)
    }

    /// The hash of a complete subtree of the audit log.
    pub async fn log_node(&self, level: u8, index: u64) -> Result<Option<Digest>, StoreError> {
        let id = audit::node(level, index);
        let Some((_, hash)) = self.shared.cell(&id).await? else {
            return Ok(None);
        };
        let hash = <[u8; 32]>::try_from(hash.as_slice())
            .map_err(|_| StoreError::tampered(&id, MALFORMED))?;
        Ok(Some(Digest(hash)))
    }

    /// The signed head of the audit log at a size that a transaction ended with.
    pub async fn log_head(&self, size: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let head = self.shared.cell(&audit::head(size)).await?;
        Ok(head.map(|(_, head)| head.to_vec()))
    }
}

impl Shared {
    async fn record<R: Record>(&self, id: &CellId) -> Result<Option<R>, StoreError> {
        let Some((_, value)) = self.cell(id).await? else {
            return Ok(None);
        };
        let record = R::decode(&value).map_err(|_| StoreError::tampered(id, MALFORMED))?;
        Ok(Some(record))
    }

    /// One cell, opened.
    async fn cell(
        &self,
        id: &CellId,
    ) -> Result<Option<(SealedCell, Zeroizing<Vec<u8>>)>, StoreError> {
        for _ in 0..ATTEMPTS {
            let floor = self.position().sequence;
            let (chain, cell) = self.database.read_cell(id).await?;
            self.follow(&chain, floor).await?;
            if id.kind.is_remembered() {
                match self
                    .memory()
                    .judge(id, cell.as_ref(), chain.position.sequence)
                {
                    Verdict::Current => {}
                    Verdict::ChangedSince => continue,
                    Verdict::Tampered(what) => return Err(StoreError::tampered(id, what)),
                }
            }
            let Some(cell) = cell else {
                return Ok(None);
            };
            let value = self.seals.open_cell(&cell)?;
            return Ok(Some((cell, value)));
        }
        Err(busy(id))
    }

    /// The cells under a prefix, opened.
    async fn records<R: Record>(&self, prefix: &CellId) -> Result<Vec<(CellId, R)>, StoreError> {
        for _ in 0..ATTEMPTS {
            let floor = self.position().sequence;
            let (chain, cells) = self
                .database
                .read_cells(prefix, &prefix.end_of_prefix())
                .await?;
            self.follow(&chain, floor).await?;
            let verdict = self
                .memory()
                .judge_all(prefix, &cells, chain.position.sequence)?;
            if verdict == Verdict::ChangedSince {
                continue;
            }
            return cells
                .into_iter()
                .map(|cell| {
                    let value = self.seals.open_cell(&cell)?;
                    let record =
                        R::decode(&value).map_err(|_| StoreError::tampered(&cell.id, MALFORMED))?;
                    Ok((cell.id, record))
                })
                .collect();
        }
        Err(busy(prefix))
    }
}

fn busy(id: &CellId) -> StoreError {
    StoreError::Busy {
        cell: id.to_string(),
        attempts: ATTEMPTS,
    }
}

/// Leaves of the audit log that are read with one statement.
const LEAVES_AT_ONCE: u64 = 500;

/// A cell has to change between reading it and looking at it for another attempt to be needed.
const ATTEMPTS: u32 = 32;
