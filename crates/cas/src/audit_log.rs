//! The audit log of this CAS: kept by the store, appended with each change and not without it.
//!
//! All replicas write one log: the store lets one transaction at a time append, and the key that
//! signs is derived from the root key.

use std::sync::Arc;

use mse_audit::entry::{Entry, Event, KeyHash, Name, Salt, SessionVersion, UnixMillis};
use mse_audit::head::{Head, LogId, SignedHead};
use mse_audit::log::CHECKPOINT_EVERY;
use mse_audit::tree::{self, Frontier};
use mse_crypto::Digest;
use mse_crypto::signing::{SigningKey, VerifyingKey};
use mse_session::{SessionHash, SessionName};
use serde::{Deserialize, Serialize};

use crate::store::{Appended, AuditError, AuditLog, LogNode, Store, StoreError, Tail, Write};

/// Makes what happens into entries of a Merkle tree (RFC 9162) with signed heads.
pub struct MerkleLog {
    key: SigningKey,
    id: LogId,
}

impl MerkleLog {
    /// Signs with `key`: [`crate::identity::audit_key`].
    pub fn new(key: SigningKey) -> Arc<Self> {
        let id = LogId::of(&key.public());
        Arc::new(Self { key, id })
    }
}

/// The leaf of an event, for [`crate::store::Write::audit`].
pub fn leaf(
    event: Event,
    session: Option<(&SessionName, Option<SessionHash>)>,
    actor: Option<[u8; 32]>,
) -> Vec<u8> {
    let session = session.and_then(|(name, hash)| {
        Some(SessionVersion {
            hash: hash.map(|hash| Digest(hash.0)),
            name: name.as_str().parse::<Name>().ok()?,
        })
    });
    let entry = Entry {
        actor: actor.map(|hash| KeyHash(Digest(hash))),
        event,
        // The log gives it its number when it is appended.
        index: 0,
        salt: Salt::generate(),
        session,
        time: UnixMillis::now(),
    };
    // What cannot be written is refused by the log, and the change with it.
    entry.to_canonical().unwrap_or_default()
}

impl AuditLog for MerkleLog {
    fn append(&self, tail: &Tail, leaves: &[&[u8]]) -> Result<Appended, AuditError> {
        let before = State::read(&tail.state)?;
        let peaks = before.as_ref().map_or_else(Vec::new, |s| s.peaks.clone());
        let mut frontier = Frontier::from_peaks(tail.size, peaks)?;
        let mut appended = Appended::default();
        for (index, given) in (tail.size..).zip(leaves) {
            let mut entry = Entry::from_canonical(given)?;
            entry.index = index;
            let leaf = entry.to_canonical()?;
            let mut level = 0;
            frontier.append(tree::leaf_hash(&leaf), |hash| {
                appended.nodes.push(LogNode {
                    level,
                    index: index >> level,
                    hash,
                });
                level += 1;
            });
            appended.leaves.push(leaf);
        }
        let head = Head {
            log_id: self.id,
            previous: before.as_ref().map(|state| state.head.head().digest()),
            root: frontier.root(),
            time: UnixMillis::now(),
            tree_size: frontier.size(),
        }
        .sign(&self.key);
        let mut last_checkpoint = before.map_or(0, |state| state.last_checkpoint);
        if frontier.size() - last_checkpoint >= CHECKPOINT_EVERY {
            last_checkpoint = frontier.size();
            appended.head = head.to_json();
        }
        appended.state = serde_json::to_vec(&State {
            head,
            peaks: frontier.peaks().to_vec(),
            last_checkpoint,
        })?;
        Ok(appended)
    }
}

/// Appends an entry by itself. If it cannot be, what it tells of has happened all the same: the
/// operator's log says so.
pub async fn note(store: &Store, leaf: Vec<u8>) {
    if let Err(error) = store.commit(Write::new().audit(leaf)).await {
        tracing::error!(%error, "an entry is missing in the audit log");
    }
}

/// The newest head; none before the first entry.
pub async fn newest_head(store: &Store) -> Result<Option<SignedHead>, StoreError> {
    let (_, state) = store.log_tail().await?;
    let state = State::read(&state).map_err(|error| StoreError::Audit(error.to_string()))?;
    Ok(state.map(|state| state.head))
}

/// Lines of an export ([`mse_audit::export`]) behind its header: the entries from `start` on, at
/// most `limit`, each checkpoint behind the last entry that it covers.
pub async fn lines(store: &Store, start: u64, limit: u64) -> Result<Vec<String>, StoreError> {
    let end = store.log_size().await?.min(start.saturating_add(limit));
    let leaves = store.log_leaves(start..end).await?;
    let mut lines = Vec::with_capacity(leaves.len());
    for (size, leaf) in (start + 1..).zip(leaves) {
        lines.push(String::from_utf8_lossy(&leaf).into_owned());
        if let Some(head) = store.log_head(size).await? {
            let head = String::from_utf8_lossy(&head).into_owned();
            lines.push(format!("{{\"head\":{head}}}"));
        }
    }
    Ok(lines)
}

/// Whether a head that somebody keeps is of this log, as it is now or was once.
pub async fn extends(
    store: &Store,
    seen: &SignedHead,
    key: &VerifyingKey,
) -> Result<bool, StoreError> {
    let Ok(seen) = seen.verify(key) else {
        return Ok(false);
    };
    let size = store.log_size().await?;
    if seen.tree_size > size {
        return Ok(false);
    }
    // The right edge at that size: its peaks are complete subtrees, so they are stored.
    let mut peaks = Vec::new();
    let mut covered = 0;
    for level in (0..u64::BITS)
        .rev()
        .filter(|l| seen.tree_size >> l & 1 == 1)
    {
        let level_u8 = u8::try_from(level).unwrap_or(u8::MAX);
        match store.log_node(level_u8, covered >> level).await? {
            Some(hash) => peaks.push(hash),
            None => return Ok(false),
        }
        covered += 1 << level;
    }
    let root = Frontier::from_peaks(seen.tree_size, peaks).map(|frontier| frontier.root());
    Ok(root.is_ok_and(|root| root == seen.root))
}

/// What the log wants to be given back at the next append.
#[derive(Serialize, Deserialize)]
struct State {
    head: SignedHead,
    /// Roots of the complete subtrees, the largest first.
    peaks: Vec<Digest>,
    last_checkpoint: u64,
}

impl State {
    fn read(bytes: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        if bytes.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(bytes).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use mse_audit::export::Header;
    use mse_audit::verify::{Verdict, audit};
    use mse_crypto::signing::Algorithm;

    use super::*;
    use crate::keys::RootKey;
    use crate::store::Location;

    fn name(text: &str) -> SessionName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn what_is_written_with_changes_is_a_log_that_an_auditor_accepts() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519);
        let public = key.public();
        let location = Location::Sqlite(folder.path().join("store"));
        let store = Store::create(&location, &RootKey::generate(), MerkleLog::new(key), None)
            .await
            .unwrap();
        let mut heads = Vec::new();
        for n in 0..600_u64 {
            let mut write = Write::new();
            for _ in 0..=n % 3 {
                write = write.audit(leaf(
                    Event::SessionCreated {},
                    Some((&name("a/b"), None)),
                    Some([7; 32]),
                ));
            }
            store.commit(write).await.unwrap();
            heads.push(newest_head(&store).await.unwrap().unwrap());
        }
        let head = heads.last().unwrap().clone();
        assert_eq!(head.head().tree_size, 1200);
        for seen in &heads {
            assert!(extends(&store, seen, &public).await.unwrap());
        }
        let export = |lines: Vec<String>| {
            let mut export = serde_json_canonicalizer::to_vec(&Header {
                export: mse_audit::export::FORMAT.to_owned(),
                frontier: Vec::new(),
                head: head.clone(),
                start: 0,
            })
            .unwrap();
            for line in lines {
                write!(export, "\n{line}").unwrap();
            }
            export.push(b'\n');
            export
        };
        let mut all = lines(&store, 0, 700).await.unwrap();
        all.extend(lines(&store, 700, 700).await.unwrap());
        assert!(
            all.iter()
                .filter(|line| line.starts_with("{\"head\""))
                .count()
                >= 4
        );
        let report = audit(&mut export(all.clone()).as_slice(), &public, None).unwrap();
        assert_eq!(report.verdict, Verdict::Ok, "{report:?}");
        all.remove(5);
        let report = audit(&mut export(all).as_slice(), &public, None).unwrap();
        assert_ne!(report.verdict, Verdict::Ok);
    }

    #[tokio::test]
    async fn what_is_no_entry_is_refused_with_its_change() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::generate(Algorithm::Ed25519);
        let location = Location::Sqlite(folder.path().join("store"));
        let store = Store::create(&location, &RootKey::generate(), MerkleLog::new(key), None)
            .await
            .unwrap();
        let write = Write::new().put_setting("x", vec![1].into());
        let refused = store.commit(write.audit(b"{}".to_vec())).await;
        assert!(matches!(refused, Err(StoreError::Audit(_))));
        assert!(store.setting("x").await.unwrap().is_none());
        assert!(newest_head(&store).await.unwrap().is_none());
    }
}
