//! Several stores on one database: the replicas of a CAS. (On SQLite: a second process, such as one
//! that makes a backup.)

use mse_cas::store::{Freshness, Refused, Store, StoreError, Witness, Write};

use crate::contents::{setting, version};
use crate::places::{Place, on_both};

on_both! {
    replicas_see_what_each_other_wrote;
    replicas_conflict_as_one_store_would;
    a_rollback_is_refused_by_every_replica;
    replicas_that_see_different_branches_say_so;
}

async fn second(place: &Place) -> Store {
    let witness = Witness::at(place.folder.path().join("second witness"));
    place
        .open_with(Freshness::AsFound(Some(witness)))
        .await
        .unwrap()
}

async fn replicas_see_what_each_other_wrote(place: Place) {
    let one = place.create().await;
    let two = second(&place).await;
    for n in 0..10 {
        let (writer, reader) = if n % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        let value = n.to_string();
        let committed = writer.commit(setting(&value)).await.unwrap();
        let read = reader.setting("n").await.unwrap().unwrap();
        assert_eq!(&**read, value.as_bytes());
        assert_eq!(reader.position(), committed.position);
        let name = format!("s{n}");
        let write = Write::new()
            .create_session(&name, version("x"))
            .audit(vec![n]);
        writer.commit(write).await.unwrap();
        assert!(reader.session_names("").await.unwrap().contains(&name));
        assert_eq!(reader.log_size().await.unwrap(), u64::from(n) + 1);
    }
    assert_eq!(one.verify().await.unwrap(), two.verify().await.unwrap());
}

async fn replicas_conflict_as_one_store_would(place: Place) {
    let one = place.create().await;
    let two = second(&place).await;
    let first = version("first");
    one.commit(Write::new().create_session("s", first.clone()))
        .await
        .unwrap();
    // Round after round, both update from the same version at the same time: one of them wins.
    let mut head = first.hash;
    for round in 0..15 {
        let next = |who| version(&format!("{who} {round}"));
        let update = |who| Write::new().update_session("s", head, next(who));
        let (left, right) = tokio::join!(one.commit(update("one")), two.commit(update("two")));
        let (winner, loser) = match (left, right) {
            (Ok(_), Err(loser)) => (next("one").hash, loser),
            (Err(loser), Ok(_)) => (next("two").hash, loser),
            other => panic!("round {round}: {other:?}"),
        };
        assert!(
            matches!(&loser, StoreError::Refused(Refused::HeadMoved { head, .. }) if *head == winner),
            "{loser}"
        );
        head = winner;
    }
    // Many at once, on both: each name and each one-time use is given once.
    let both = [&one, &two];
    let creates = (0..60).map(|n| {
        let write = Write::new()
            .create_session(&format!("n{}", n / 2), version("x"))
            .audit(vec![n]);
        both[usize::from(n % 2)].commit(write)
    });
    let created = futures_util::future::join_all(creates).await;
    assert_eq!(created.iter().flatten().count(), 30);
    assert_eq!(one.log_size().await.unwrap(), 30);
    for store in both {
        assert_eq!(store.session("s").await.unwrap().unwrap().number, 16);
        assert_eq!(store.session_names("n").await.unwrap().len(), 30);
        store.verify().await.unwrap();
    }
}

async fn a_rollback_is_refused_by_every_replica(place: Place) {
    let one = place.create().await;
    let two = second(&place).await;
    one.commit(setting("old")).await.unwrap();
    let raw = place.raw().await;
    let (cells, links) = (raw.cells().await, raw.links().await);
    one.commit(setting("new")).await.unwrap();
    two.setting("n").await.unwrap();
    raw.put_back(&cells, &links).await;
    for store in [&one, &two] {
        let read = store.setting("n").await.map(drop);
        assert!(
            matches!(read, Err(StoreError::RolledBack { .. })),
            "{read:?}"
        );
        assert!(store.commit(setting("more")).await.is_err());
    }
}

async fn replicas_that_see_different_branches_say_so(place: Place) {
    let one = place.create().await;
    let two = second(&place).await;
    one.commit(setting("old")).await.unwrap();
    two.refresh().await.unwrap();
    let raw = place.raw().await;
    let (cells, links) = (raw.cells().await, raw.links().await);
    one.commit(setting("new")).await.unwrap();
    // The second replica does not look until somebody has put back the old copy: for it, nothing
    // went back. It writes, further than the first one was.
    raw.put_back(&cells, &links).await;
    two.commit(setting("x")).await.unwrap();
    two.commit(setting("y")).await.unwrap();
    let read = one.setting("n").await.map(drop);
    assert!(matches!(read, Err(StoreError::Forked { .. })), "{read:?}");
    // They also find out by telling each other where they are.
    let (mine, other) = (one.position(), two.position());
    let told = two.confirm(mine).await;
    assert!(matches!(told, Err(StoreError::Forked { .. })), "{told:?}");
    let told = one.confirm(other).await;
    assert!(matches!(told, Err(StoreError::Forked { .. })), "{told:?}");
}
