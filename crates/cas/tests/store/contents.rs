//! A store with something of every kind in it, and a reader of all of it.

use std::sync::Arc;

use jiff::Timestamp;
use mse_cas::store::{
    Appended, AuditError, AuditLog, LogNode, NewVersion, SecretId, Store, StoreError, Tail, Write,
};
use mse_crypto::{Digest, Zeroizing};

use crate::places::Place;

pub(crate) fn version(text: &str) -> NewVersion {
    NewVersion {
        hash: Digest::of(text.as_bytes()),
        text: secret(text),
        created_at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
    }
}

pub(crate) fn secret(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

pub(crate) fn secret_id(name: &str, version: u64) -> SecretId {
    SecretId {
        session: "s".into(),
        name: name.into(),
        version,
    }
}

pub(crate) fn setting(value: &str) -> Write {
    Write::new().put_setting("n", secret(value))
}

/// A log whose nodes are the leaves' own hashes, and whose heads say how long it is.
pub(crate) struct Counting;

impl AuditLog for Counting {
    fn append(&self, tail: &Tail, leaves: &[&[u8]]) -> Result<Appended, AuditError> {
        let known = tail.state.first().map_or(0, |known| u64::from(*known));
        if known != tail.size {
            return Err(format!("the state is of size {known}, the tail of {}", tail.size).into());
        }
        let size = tail.size + leaves.len() as u64;
        let nodes = (tail.size..size).zip(leaves).map(|(index, leaf)| LogNode {
            level: 0,
            index,
            hash: Digest::of(leaf),
        });
        Ok(Appended {
            leaves: leaves.iter().map(|leaf| leaf.to_vec()).collect(),
            nodes: nodes.collect(),
            head: format!("head of {size}").into_bytes(),
            state: vec![u8::try_from(size)?],
        })
    }
}

pub(crate) async fn create_with_log(place: &Place) -> Store {
    Store::create(
        &place.location,
        &place.root,
        Arc::new(Counting),
        Some(place.witness()),
    )
    .await
    .unwrap()
}

/// Fills a store, one transaction after the other.
pub(crate) async fn fill(store: &Store) {
    let late = Timestamp::from_millisecond(4_000_000_000_000).unwrap();
    let p = Digest::of(b"p");
    for write in [
        Write::new().create_session("s", version("CANARY s1")),
        Write::new().create_session("t", version("CANARY t1")),
        Write::new().put_secret(secret_id("a", 1), secret("CANARY a1")),
        Write::new().put_secret(secret_id("b", 1), secret("CANARY b1")),
        Write::new().advance_volume("s", "v", 1, secret("CANARY v1")),
        Write::new().advance_volume("s", "w", 1, secret("CANARY w1")),
        Write::new().issue_token(Digest::of(b"1"), secret("CANARY token"), late),
        Write::new().issue_token(Digest::of(b"2"), secret("CANARY token"), late),
        Write::new().use_once("otp 1", late),
        Write::new().use_once("otp 2", late),
        Write::new().propose("s", p, secret("CANARY proposal"), late),
        Write::new().propose("t", p, secret("CANARY proposal"), late),
        Write::new().approve("s", p, Digest::of(b"alice"), b"CANARY signature".to_vec()),
        Write::new().approve("s", p, Digest::of(b"bob"), b"CANARY signature".to_vec()),
        Write::new().put_setting("m", secret("CANARY m")),
        setting("CANARY n1"),
        Write::new().audit(b"CANARY leaf 0".to_vec()),
        Write::new()
            .audit(b"CANARY leaf 1".to_vec())
            .audit(b"CANARY leaf 2".to_vec()),
    ] {
        store.commit(write).await.unwrap();
    }
}

/// Changes or removes most of what [`fill`] wrote.
pub(crate) async fn change(store: &Store) {
    let now = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
    let p = Digest::of(b"p");
    for write in [
        Write::new().update_session("s", version("CANARY s1").hash, version("CANARY s2")),
        Write::new().revoke_session("t", version("CANARY t1").hash),
        Write::new().remove_secret(secret_id("a", 1)),
        Write::new().advance_volume("s", "v", 2, secret("CANARY v2")),
        Write::new().redeem_token(Digest::of(b"1"), now),
        Write::new().withdraw_approval("s", p, Digest::of(b"bob")),
        Write::new().settle_proposal("t", p),
        setting("CANARY n2"),
        Write::new().audit(b"CANARY leaf 3".to_vec()),
    ] {
        store.commit(write).await.unwrap();
    }
}

/// Reads everything that [`fill`] and [`change`] ever wrote, each by itself: the first error.
pub(crate) async fn read_all(store: &Store) -> Result<(), StoreError> {
    let now = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
    for name in ["s", "t"] {
        store.session(name).await?;
        for hash in store.session_history(name).await? {
            store.session_version(name, hash).await?;
        }
        let p = Digest::of(b"p");
        store.proposals(name).await?;
        store.proposal(name, p).await?;
        store.approvals(name, p).await?;
    }
    for id in [secret_id("a", 1), secret_id("b", 1)] {
        store.secret(&id).await?;
    }
    for volume in ["v", "w"] {
        store.volume("s", volume).await?;
    }
    for token in [b"1", b"2"] {
        store.token(Digest::of(token), now).await?;
    }
    for what in ["otp 1", "otp 2"] {
        store.was_used(what).await?;
    }
    for name in ["m", "n"] {
        store.setting(name).await?;
    }
    let size = store.log_size().await?;
    store.log_leaves(0..size).await?;
    for index in 0..size {
        store.log_node(0, index).await?;
        store.log_head(index + 1).await?;
    }
    Ok(())
}
