//! An old copy of the whole store: every seal in it opens, and it is refused all the same.

use mse_cas::keys::RootKey;
use mse_cas::store::{Freshness, StoreError, Witness, Write};

use crate::contents::{secret, setting, version};
use crate::places::{Place, on_both};

on_both! {
    an_old_copy_is_refused_at_opening;
    an_old_copy_that_was_written_to_is_refused_as_a_fork;
    an_old_copy_under_a_running_store_is_refused;
    clients_find_rollback_and_fork_by_positions;
    a_witness_must_not_go_missing;
    a_store_is_not_made_twice_or_in_place_of_another;
    the_wrong_key_opens_nothing;
}

async fn an_old_copy_is_refused_at_opening(place: Place) {
    let store = place.create().await;
    store.commit(setting("old")).await.unwrap();
    let raw = place.raw().await;
    let (cells, links) = (raw.cells().await, raw.links().await);
    store.commit(setting("new")).await.unwrap();
    store.close().await.unwrap();
    place.open().await.unwrap().close().await.unwrap();

    raw.put_back(&cells, &links).await;
    let error = place.open().await.err().unwrap();
    assert!(
        matches!(error, StoreError::RolledBack { found: 1, seen: 2 }),
        "{error}"
    );
    assert!(error.to_string().contains("ROLLED BACK"), "{error}");

    // Told so, it goes on from there, and the witness goes with it.
    let loudly = Freshness::AsFound(Some(place.witness()));
    let store = place.open_with(loudly).await.unwrap();
    assert_eq!(&**store.setting("n").await.unwrap().unwrap(), b"old");
    store.verify().await.unwrap();
    store.close().await.unwrap();
    place.open().await.unwrap();
}

async fn an_old_copy_that_was_written_to_is_refused_as_a_fork(place: Place) {
    let store = place.create().await;
    store.commit(setting("old")).await.unwrap();
    let raw = place.raw().await;
    let (cells, links) = (raw.cells().await, raw.links().await);
    store.commit(setting("new")).await.unwrap();
    store.close().await.unwrap();
    raw.put_back(&cells, &links).await;

    // A CAS without a witness goes on with it, further than the other one was.
    let store = place.open_with(Freshness::AsFound(None)).await.unwrap();
    for value in ["other", "and another"] {
        store.commit(setting(value)).await.unwrap();
    }
    store.verify().await.unwrap();
    store.close().await.unwrap();
    let error = place.open().await.err().unwrap();
    assert!(
        matches!(error, StoreError::Forked { sequence: 2 }),
        "{error}"
    );
}

async fn an_old_copy_under_a_running_store_is_refused(place: Place) {
    let store = place.create().await;
    store.commit(setting("old")).await.unwrap();
    let raw = place.raw().await;
    let (cells, links) = (raw.cells().await, raw.links().await);
    store.commit(setting("new")).await.unwrap();
    raw.put_back(&cells, &links).await;
    let read = store.setting("n").await.map(drop);
    assert!(
        matches!(read, Err(StoreError::RolledBack { .. })),
        "{read:?}"
    );
    let listed = store.session_names("").await.map(drop);
    assert!(listed.is_err(), "lists are not answered from memory");
    let written = store.commit(setting("more")).await.map(drop);
    assert!(
        matches!(written, Err(StoreError::RolledBack { .. })),
        "{written:?}"
    );
    // Nothing is written to it, even when the copy is taken away again.
    let again = store.commit(setting("more")).await.map(drop);
    assert!(matches!(again, Err(StoreError::Stopped(_))), "{again:?}");
    assert_eq!(raw.cells().await, cells);
}

async fn clients_find_rollback_and_fork_by_positions(place: Place) {
    let store = place.create().await;
    let mut seen = vec![store.position()];
    let raw = place.raw().await;
    let mut copy = None;
    for value in ["1", "2", "3"] {
        seen.push(store.commit(setting(value)).await.unwrap().position);
        if value == "1" {
            copy = Some((raw.cells().await, raw.links().await));
        }
    }
    for position in &seen {
        store.confirm(*position).await.unwrap();
    }
    store.close().await.unwrap();
    let (cells, links) = copy.unwrap();
    raw.put_back(&cells, &links).await;
    let store = place.open_with(Freshness::AsFound(None)).await.unwrap();
    store.confirm(seen[1]).await.unwrap();
    let behind = store.confirm(seen[2]).await;
    assert!(
        matches!(behind, Err(StoreError::RolledBack { found: 1, seen: 2 })),
        "{behind:?}"
    );
    for value in ["x", "y"] {
        store.commit(setting(value)).await.unwrap();
    }
    store.confirm(seen[1]).await.unwrap();
    for position in &seen[2..] {
        let forked = store.confirm(*position).await;
        assert!(
            matches!(forked, Err(StoreError::Forked { .. })),
            "{forked:?}"
        );
    }
    store.close().await.unwrap();
    // Also by a process that did not write those transactions.
    let store = place.open_with(Freshness::AsFound(None)).await.unwrap();
    store.confirm(seen[1]).await.unwrap();
    for position in &seen[2..] {
        let forked = store.confirm(*position).await;
        assert!(
            matches!(forked, Err(StoreError::Forked { .. })),
            "{forked:?}"
        );
    }
}

async fn a_witness_must_not_go_missing(place: Place) {
    let store = place.create().await;
    store.commit(setting("1")).await.unwrap();
    store.close().await.unwrap();
    let nowhere = Witness::at(place.folder.path().join("nowhere"));
    let error = place.open_with(Freshness::Witness(nowhere)).await.err();
    assert!(matches!(
        error,
        Some(StoreError::WitnessMissing { sequence: 1, .. })
    ));
    std::fs::write(place.witness().path(), "not a witness").unwrap();
    let error = place.open().await.err();
    assert!(matches!(error, Some(StoreError::WitnessBroken { .. })));
}

async fn a_store_is_not_made_twice_or_in_place_of_another(place: Place) {
    let audit = || std::sync::Arc::new(mse_cas::store::LeavesOnly);
    let create = async |witness| {
        mse_cas::store::Store::create(&place.location, &place.root, audit(), witness)
            .await
            .map(drop)
    };
    let opened = place.open().await.map(drop);
    assert!(
        matches!(opened, Err(StoreError::NoStore { .. })),
        "{opened:?}"
    );
    place.create().await.close().await.unwrap();
    let again = create(None).await;
    assert!(
        matches!(again, Err(StoreError::StoreExists { .. })),
        "{again:?}"
    );
    // The store is gone, and the witness says that there was one.
    let witnessed = create(Some(place.witness())).await;
    assert!(matches!(witnessed, Err(StoreError::WitnessBroken { .. })));
}

async fn the_wrong_key_opens_nothing(mut place: Place) {
    let store = place.create().await;
    let write = Write::new()
        .create_session("s", version("one"))
        .put_setting("n", secret("x"));
    store.commit(write).await.unwrap();
    store.close().await.unwrap();
    let right = std::mem::replace(&mut place.root, RootKey::generate());
    let error = place.open().await.err().unwrap();
    assert!(
        matches!(error, StoreError::WrongKey { expected, .. } if expected == right.id()),
        "{error}"
    );
}
