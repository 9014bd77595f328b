//! What a store promises to its callers.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use mse_cas::store::{
    Appended, Approval, AuditError, AuditLog, LogNode, NewVersion, Refused, SecretId, SessionState,
    Store, StoreError, Tail, Write,
};
use mse_crypto::{Digest, Zeroizing};

use crate::places::{Place, Server, on_both};

on_both! {
    sessions_are_made_once_and_updated_in_turn;
    what_a_session_let_be_done_needs_it_as_it_was;
    revoked_sessions_stay_readable_and_unchangeable;
    secrets_are_written_once;
    volumes_only_move_forward;
    tokens_work_once_and_in_time;
    what_may_be_done_once_is_done_once;
    proposals_gather_approvals_and_are_settled;
    a_write_is_all_or_nothing;
    the_audit_log_grows_with_the_changes;
    no_change_is_stored_without_its_leaf;
    concurrent_updates_of_one_session_have_one_winner;
    opening_again_finds_everything;
    what_cannot_be_stored_is_refused_with_a_reason;
}

fn version(text: &str) -> NewVersion {
    NewVersion {
        hash: Digest::of(text.as_bytes()),
        text: secret(text),
        created_at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
    }
}

fn secret(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

fn refusal<T>(result: Result<T, StoreError>) -> Refused {
    match result {
        Err(StoreError::Refused(refused)) => refused,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was not refused"),
    }
}

async fn sessions_are_made_once_and_updated_in_turn(place: Place) {
    let store = place.create().await;
    assert_eq!(store.session("ns/s").await.unwrap(), None);
    let one = version("one");
    store
        .commit(Write::new().create_session("ns/s", one.clone()))
        .await
        .unwrap();
    let again = store.commit(Write::new().create_session("ns/s", version("x")));
    assert_eq!(
        refusal(again.await),
        Refused::SessionExists {
            name: "ns/s".into(),
            head: one.hash
        }
    );
    let two = version("two");
    store
        .commit(Write::new().update_session("ns/s", one.hash, two.clone()))
        .await
        .unwrap();
    let stale = store.commit(Write::new().update_session("ns/s", one.hash, version("three")));
    assert_eq!(
        refusal(stale.await),
        Refused::HeadMoved {
            name: "ns/s".into(),
            given: one.hash,
            head: two.hash
        }
    );
    let back = store.commit(Write::new().update_session("ns/s", two.hash, one.clone()));
    assert!(matches!(refusal(back.await), Refused::VersionExists { .. }));
    let nowhere = store.commit(Write::new().update_session("other", two.hash, one.clone()));
    assert!(matches!(refusal(nowhere.await), Refused::NoSession { .. }));

    let head = store.session("ns/s").await.unwrap().unwrap();
    assert_eq!((head.number, head.hash), (2, two.hash));
    assert_eq!(
        store.session_history("ns/s").await.unwrap(),
        [one.hash, two.hash]
    );
    let first = store
        .session_version("ns/s", one.hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((first.number, first.predecessor), (1, None));
    assert_eq!(
        (&*first.text, first.created_at),
        (&*one.text, one.created_at)
    );
    let second = store
        .session_version("ns/s", two.hash)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((second.number, second.predecessor), (2, Some(one.hash)));
    let other = store.session_version("ns", one.hash).await.unwrap();
    assert!(other.is_none(), "a version belongs to its session");

    for name in ["ns/t", "ns2", "ns/S"] {
        let write = Write::new().create_session(name, version("one"));
        store.commit(write).await.unwrap();
    }
    assert_eq!(
        store.session_names("ns/").await.unwrap(),
        ["ns/S", "ns/s", "ns/t"]
    );
    assert_eq!(store.session_names("").await.unwrap().len(), 4);
    let verified = store.verify().await.unwrap();
    assert_eq!((verified.position, verified.cells), (store.position(), 9));
}

/// What was decided by a session that is another by then is not done.
async fn what_a_session_let_be_done_needs_it_as_it_was(place: Place) {
    let store = place.create().await;
    let (one, two) = (version("one"), version("two"));
    let with = |head: Digest, name: &str| {
        Write::new()
            .expect_session("s", head)
            .create_session(name, version(name))
    };
    let absent = store.commit(with(one.hash, "s/a")).await;
    assert!(matches!(refusal(absent), Refused::NoSession { .. }));
    store
        .commit(Write::new().create_session("s", one.clone()))
        .await
        .unwrap();
    store.commit(with(one.hash, "s/a")).await.unwrap();
    store
        .commit(Write::new().update_session("s", one.hash, two.clone()))
        .await
        .unwrap();
    let moved = store.commit(with(one.hash, "s/b")).await;
    assert!(matches!(refusal(moved), Refused::HeadMoved { .. }));
    store.commit(with(two.hash, "s/b")).await.unwrap();
    store
        .commit(Write::new().revoke_session("s", two.hash))
        .await
        .unwrap();
    let revoked = store.commit(with(two.hash, "s/c")).await;
    assert!(matches!(refusal(revoked), Refused::Revoked { .. }));
    let left = store.session_names("s/").await.unwrap();
    assert_eq!(left, ["s/a", "s/b"]);
}

async fn revoked_sessions_stay_readable_and_unchangeable(place: Place) {
    let store = place.create().await;
    let one = version("one");
    store
        .commit(Write::new().create_session("s", one.clone()))
        .await
        .unwrap();
    let wrong = store.commit(Write::new().revoke_session("s", Digest::of(b"other")));
    assert!(matches!(refusal(wrong.await), Refused::HeadMoved { .. }));
    store
        .commit(Write::new().revoke_session("s", one.hash))
        .await
        .unwrap();
    for write in [
        Write::new().revoke_session("s", one.hash),
        Write::new().update_session("s", one.hash, version("two")),
    ] {
        assert!(matches!(
            refusal(store.commit(write).await),
            Refused::Revoked { .. }
        ));
    }
    let create = store.commit(Write::new().create_session("s", version("two")));
    assert!(matches!(
        refusal(create.await),
        Refused::SessionExists { .. }
    ));
    let head = store.session("s").await.unwrap().unwrap();
    assert_eq!(head.state, SessionState::Revoked);
    let text = store.session_version("s", one.hash).await.unwrap().unwrap();
    assert_eq!(&*text.text, b"one");
    store.verify().await.unwrap();
}

async fn secrets_are_written_once(place: Place) {
    let store = place.create().await;
    let id = |name: &str, version| SecretId {
        session: "s".into(),
        name: name.into(),
        version,
    };
    let put = |id, value| Write::new().put_secret(id, secret(value));
    store.commit(put(id("a", 1), "v1")).await.unwrap();
    let again = store.commit(put(id("a", 1), "other")).await;
    assert!(matches!(refusal(again), Refused::SecretExists { .. }));
    store.commit(put(id("a", 2), "v2")).await.unwrap();
    store.commit(put(id("ab", 1), "v3")).await.unwrap();
    let read = async |id| store.secret(&id).await.unwrap().map(|value| value.to_vec());
    assert_eq!(read(id("a", 1)).await.unwrap(), b"v1");
    assert_eq!(read(id("a", 2)).await.unwrap(), b"v2");
    assert_eq!(read(id("a", 3)).await, None);
    let all = [id("a", 1), id("a", 2), id("ab", 1)];
    assert_eq!(store.secret_ids("s").await.unwrap(), all);
    assert_eq!(store.secret_ids("other").await.unwrap(), []);
    store
        .commit(Write::new().remove_secret(id("a", 1)))
        .await
        .unwrap();
    assert_eq!(read(id("a", 1)).await, None);
    let gone = store.commit(Write::new().remove_secret(id("a", 1))).await;
    assert!(matches!(refusal(gone), Refused::NoSecret { .. }));
    store.verify().await.unwrap();
}

async fn volumes_only_move_forward(place: Place) {
    let store = place.create().await;
    let advance = |sequence, root| Write::new().advance_volume("s", "v", sequence, secret(root));
    store.commit(advance(3, "three")).await.unwrap();
    for (given, root) in [(3, "other"), (2, "two")] {
        assert_eq!(
            refusal(store.commit(advance(given, root)).await),
            Refused::VolumeBehind {
                session: "s".into(),
                volume: "v".into(),
                stored: 3,
                given
            }
        );
    }
    store.commit(advance(4, "four")).await.unwrap();
    let root = store.volume("s", "v").await.unwrap().unwrap();
    assert_eq!((root.sequence, &root.root[..]), (4, &b"four"[..]));
    assert!(store.volume("s", "w").await.unwrap().is_none());
}

async fn tokens_work_once_and_in_time(place: Place) {
    let store = place.create().await;
    let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
    let later = now + SignedDuration::from_mins(5);
    let token = Digest::of(b"token");
    let issue = || Write::new().issue_token(token, secret("who"), later);
    store.commit(issue()).await.unwrap();
    assert_eq!(refusal(store.commit(issue()).await), Refused::TokenExists);
    assert_eq!(&**store.token(token, now).await.unwrap().unwrap(), b"who");
    assert!(store.token(token, later).await.unwrap().is_none());
    let redeem = |at| Write::new().redeem_token(token, at);
    assert_eq!(refusal(store.commit(redeem(later)).await), Refused::NoToken);
    store.commit(redeem(now)).await.unwrap();
    assert_eq!(refusal(store.commit(redeem(now)).await), Refused::NoToken);
    assert!(store.token(token, now).await.unwrap().is_none());
}

async fn what_may_be_done_once_is_done_once(place: Place) {
    let store = place.create().await;
    let step = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
    let once = |what| Write::new().use_once(what, step);
    store.commit(once("otp s/svc 4711")).await.unwrap();
    assert_eq!(
        refusal(store.commit(once("otp s/svc 4711")).await),
        Refused::AlreadyUsed {
            what: "otp s/svc 4711".into()
        }
    );
    store.commit(once("otp s/svc 4712")).await.unwrap();
    let before = step - SignedDuration::from_millis(1);
    store
        .commit(Write::new().forget_expired(before))
        .await
        .unwrap();
    assert!(store.was_used("otp s/svc 4711").await.unwrap());
    store
        .commit(Write::new().forget_expired(step))
        .await
        .unwrap();
    assert!(!store.was_used("otp s/svc 4711").await.unwrap());
    store.verify().await.unwrap();
}

async fn proposals_gather_approvals_and_are_settled(place: Place) {
    let store = place.create().await;
    let expires = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
    let (id, alice, bob) = (Digest::of(b"p"), Digest::of(b"alice"), Digest::of(b"bob"));
    let approve = |signer| Write::new().approve("s", id, signer, b"signature".to_vec());
    let early = store.commit(approve(alice)).await;
    assert!(matches!(refusal(early), Refused::NoProposal { .. }));
    let propose = || Write::new().propose("s", id, secret("text"), expires);
    store.commit(propose()).await.unwrap();
    let again = store.commit(propose()).await;
    assert!(matches!(refusal(again), Refused::ProposalExists { .. }));
    store.commit(approve(alice)).await.unwrap();
    store.commit(approve(bob)).await.unwrap();
    assert_eq!(
        refusal(store.commit(approve(bob)).await),
        Refused::AlreadyApproved { signer: bob }
    );
    let withdraw = || Write::new().withdraw_approval("s", id, bob);
    store.commit(withdraw()).await.unwrap();
    assert_eq!(
        refusal(store.commit(withdraw()).await),
        Refused::NoApproval { signer: bob }
    );
    let mut expected = [(alice, false), (bob, true)].map(|(signer, withdrawn)| Approval {
        signer,
        signature: b"signature".to_vec(),
        withdrawn,
    });
    expected.sort_by_key(|approval| approval.signer);
    assert_eq!(store.approvals("s", id).await.unwrap(), expected);
    assert_eq!(store.approvals("t", id).await.unwrap(), []);
    let waiting = store.proposals("s").await.unwrap();
    assert_eq!((waiting.len(), waiting[0].expires_at), (1, expires));
    assert_eq!(&*waiting[0].text, b"text");

    // Settled together with the change that it brings about.
    let write = Write::new()
        .settle_proposal("s", id)
        .create_session("s", version("one"));
    store.commit(write).await.unwrap();
    assert_eq!(store.proposals("s").await.unwrap().len(), 0);
    assert_eq!(store.approvals("s", id).await.unwrap(), []);

    // And forgotten when its time is over.
    store.commit(propose()).await.unwrap();
    store.commit(approve(alice)).await.unwrap();
    store
        .commit(Write::new().forget_expired(expires))
        .await
        .unwrap();
    assert!(store.proposal("s", id).await.unwrap().is_none());
    assert_eq!(store.approvals("s", id).await.unwrap(), []);
    store.verify().await.unwrap();
}

async fn a_write_is_all_or_nothing(place: Place) {
    let store = place.create().await;
    let before = store.position();
    let write = Write::new()
        .create_session("a", version("one"))
        .put_setting("x", secret("y"))
        .audit(b"leaf".to_vec())
        .revoke_session("a", Digest::of(b"another"));
    assert!(matches!(
        refusal(store.commit(write).await),
        Refused::HeadMoved { .. }
    ));
    assert_eq!(store.position(), before);
    assert_eq!(store.session("a").await.unwrap(), None);
    assert!(store.setting("x").await.unwrap().is_none());
    assert_eq!(store.log_size().await.unwrap(), 0);
    // Later parts of a write see the earlier ones.
    let one = version("one");
    let write = Write::new()
        .create_session("a", one.clone())
        .update_session("a", one.hash, version("two"))
        .put_setting("x", secret("1"))
        .put_setting("x", secret("2"));
    store.commit(write).await.unwrap();
    assert_eq!(store.session("a").await.unwrap().unwrap().number, 2);
    assert_eq!(&**store.setting("x").await.unwrap().unwrap(), b"2");
    store.verify().await.unwrap();
}

async fn the_audit_log_grows_with_the_changes(place: Place) {
    let store = place.create().await;
    let writes = (0..20).map(|n: u32| {
        let mut write = Write::new().audit(format!("created {n}").into_bytes());
        // Every third is refused, and leaves no leaf.
        let name = if n.is_multiple_of(3) {
            "same".into()
        } else {
            format!("s{n}")
        };
        write = write.create_session(&name, version("one"));
        store.commit(write)
    });
    let results = futures_util::future::join_all(writes).await;
    let mut indices: Vec<_> = results
        .iter()
        .flatten()
        .map(|committed| committed.first_leaf.unwrap())
        .collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..14).collect::<Vec<_>>());
    assert_eq!(store.log_size().await.unwrap(), 14);
    let leaves = store.log_leaves(0..100).await.unwrap();
    for (n, result) in results.iter().enumerate() {
        if let Ok(committed) = result {
            let index = usize::try_from(committed.first_leaf.unwrap()).unwrap();
            assert_eq!(leaves[index], format!("created {n}").into_bytes());
        }
    }
    assert_eq!(store.log_leaves(12..13).await.unwrap(), leaves[12..13]);
    assert_eq!(store.verify().await.unwrap().leaves, 14);
}

/// A log that refuses some leaves, and for others wants to overwrite what it wrote before.
struct Choosy;

impl AuditLog for Choosy {
    fn append(&self, tail: &Tail, leaves: &[&[u8]]) -> Result<Appended, AuditError> {
        if leaves.contains(&&b"bad"[..]) {
            return Err("no such leaf".into());
        }
        let overwrites = leaves.contains(&&b"overwrite"[..]);
        let node = LogNode {
            level: 0,
            index: if overwrites { 0 } else { tail.size },
            hash: Digest::of(leaves[0]),
        };
        Ok(Appended {
            leaves: leaves.iter().map(|leaf| leaf.to_vec()).collect(),
            nodes: vec![node],
            ..Appended::default()
        })
    }
}

async fn no_change_is_stored_without_its_leaf(place: Place) {
    let store = Store::create(&place.location, &place.root, Arc::new(Choosy), None)
        .await
        .unwrap();
    let write = |name: &str, leaf: &str| {
        Write::new()
            .create_session(name, version("one"))
            .audit(leaf.as_bytes().to_vec())
    };
    store.commit(write("a", "good")).await.unwrap();
    let position = store.position();
    for leaf in ["bad", "overwrite"] {
        let error = store.commit(write("b", leaf)).await.unwrap_err();
        assert!(matches!(error, StoreError::Audit(_)), "{error}");
        assert_eq!(store.position(), position);
        assert_eq!(store.session("b").await.unwrap(), None);
    }
    store.commit(write("b", "good")).await.unwrap();
    assert_eq!(store.log_size().await.unwrap(), 2);
    assert_eq!(
        store.log_node(0, 0).await.unwrap(),
        Some(Digest::of(b"good"))
    );
    store.verify().await.unwrap();
}

async fn concurrent_updates_of_one_session_have_one_winner(place: Place) {
    let store = place.create().await;
    let one = version("one");
    store
        .commit(Write::new().create_session("s", one.clone()))
        .await
        .unwrap();
    let updates = (0..50).map(|n| {
        let next = version(&format!("two {n}"));
        store.commit(Write::new().update_session("s", one.hash, next))
    });
    let results = futures_util::future::join_all(updates).await;
    assert_eq!(results.iter().flatten().count(), 1);
    for refused in results.into_iter().filter(Result::is_err) {
        assert!(matches!(refusal(refused), Refused::HeadMoved { .. }));
    }
    assert_eq!(store.session("s").await.unwrap().unwrap().number, 2);
    store.verify().await.unwrap();
}

async fn opening_again_finds_everything(place: Place) {
    let store = place.create().await;
    let id = store.id();
    for n in 0..5 {
        let write = Write::new()
            .create_session(&format!("s{n}"), version("one"))
            .put_setting("last", secret(&n.to_string()))
            .audit(vec![n]);
        store.commit(write).await.unwrap();
    }
    let (position, verified) = (store.position(), store.verify().await.unwrap());
    store.close().await.unwrap();
    let store = place.open().await.unwrap();
    assert_eq!((store.id(), store.position()), (id, position));
    assert_eq!(store.verify().await.unwrap(), verified);
    assert_eq!(&**store.setting("last").await.unwrap().unwrap(), b"4");
    assert_eq!(store.log_leaves(0..9).await.unwrap().len(), 5);
    store.confirm(position).await.unwrap();
    store
        .commit(Write::new().put_setting("last", secret("5")))
        .await
        .unwrap();
    store.confirm(position).await.unwrap();
}

async fn what_cannot_be_stored_is_refused_with_a_reason(place: Place) {
    let store = place.create().await;
    for name in ["", "a\0b", "a\nb", &"x".repeat(513)] {
        let write = Write::new().create_session(name, version("one"));
        let refused = refusal(store.commit(write).await);
        assert!(matches!(refused, Refused::BadName { .. }), "{name:?}");
        assert!(store.session(name).await.unwrap().is_none());
    }
    let write = Write::new().create_session(&"x".repeat(512), version("one"));
    store.commit(write).await.unwrap();
    let long = Zeroizing::new(vec![7; 8 << 20]);
    let refused = refusal(store.commit(Write::new().put_setting("a", long)).await);
    assert!(matches!(refused, Refused::TooLarge { .. }));
    let many = (0..10_001).fold(Write::new(), |write, _| write.audit(Vec::new()));
    assert!(matches!(
        refusal(store.commit(many).await),
        Refused::TooLarge { .. }
    ));
    store.commit(Write::new()).await.unwrap();
    assert_eq!(
        store.position().sequence,
        1,
        "nothing to store is stored as nothing"
    );
    store.verify().await.unwrap();
}

/// A store that is dropped, not closed, still finishes what it was given.
#[tokio::test]
async fn a_dropped_store_loses_nothing_that_was_acknowledged() {
    let place = Place::sqlite();
    let store: Store = place.create().await;
    store
        .commit(Write::new().create_session("s", version("one")))
        .await
        .unwrap();
    drop(store);
    let store = place.open().await.unwrap();
    assert!(store.session("s").await.unwrap().is_some());
}

#[tokio::test]
async fn a_database_that_loses_acknowledged_writes_is_refused() {
    // On a server of its own: the setting is for all databases of it.
    let place = Place::on(Arc::new(Server::start())).await;
    place.create().await.close().await.unwrap();
    let raw = place.raw().await;
    raw.run("ALTER ROLE ALL SET synchronous_commit = off").await;
    let error = place.open().await.err();
    raw.run("ALTER ROLE ALL RESET synchronous_commit").await;
    assert!(
        matches!(
            &error,
            Some(StoreError::NotDurable {
                setting: "synchronous_commit",
                ..
            })
        ),
        "{error:?}"
    );
    place.open().await.unwrap();
}
