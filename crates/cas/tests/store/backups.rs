//! Backups, and putting them back.

use std::os::unix::fs::PermissionsExt;

use mse_cas::store::{Freshness, Location, Store, StoreError};

use crate::contents::{change, fill, read_all, setting};
use crate::places::{Place, on_both};

on_both! {
    a_backup_is_the_store_of_one_moment;
    a_backup_that_was_changed_is_not_restored;
    a_backup_is_not_overwritten_and_no_store_is;
}

async fn a_backup_is_the_store_of_one_moment(place: Place) {
    let store = place.create().await;
    fill(&store).await;
    let backup = place.folder.path().join("backup.db");
    let copied = store.backup(&backup).await.unwrap();
    assert_eq!(copied, store.position());
    let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let stray = |suffix: &str| backup.with_file_name(format!("backup.db{suffix}")).exists();
    assert!(!stray("-wal") && !stray("-journal") && !stray("-shm"));

    // Writes that come meanwhile are in it wholly or not at all.
    let later = place.folder.path().join("later.db");
    let (copied_later, ()) = tokio::join!(store.backup(&later), async {
        change(&store).await;
    });
    let witness = || Freshness::Witness(place.witness());
    store.close().await.unwrap();

    // The witness knows of later writes, so the backup is refused, unless one says so.
    let moved = |name: &str| Location::Sqlite(place.folder.path().join(name));
    let refused = Store::restore(&backup, &moved("a.db"), &place.root, &witness()).await;
    assert!(
        matches!(refused, Err(StoreError::RolledBack { .. })),
        "{refused:?}"
    );
    for (name, from, position) in [
        ("b.db", &backup, copied),
        ("c.db", &later, copied_later.unwrap()),
    ] {
        let loudly = Freshness::AsFound(None);
        let restored = Store::restore(from, &moved(name), &place.root, &loudly).await;
        assert_eq!(restored.unwrap(), position);
        let audit = std::sync::Arc::new(mse_cas::store::LeavesOnly);
        let store = Store::open(&moved(name), &place.root, audit, loudly)
            .await
            .unwrap();
        assert_eq!(store.position(), position);
        store.verify().await.unwrap();
        read_all(&store).await.unwrap();
        store.commit(setting("more")).await.unwrap();
    }
    // The newest backup of all is not behind the witness: restored without a word.
    let store = place.open().await.unwrap();
    let newest = place.folder.path().join("newest.db");
    store.backup(&newest).await.unwrap();
    store.close().await.unwrap();
    Store::restore(&newest, &moved("d.db"), &place.root, &witness())
        .await
        .unwrap();
}

async fn a_backup_that_was_changed_is_not_restored(place: Place) {
    let store = place.create().await;
    fill(&store).await;
    let backup = place.folder.path().join("backup.db");
    store.backup(&backup).await.unwrap();
    let location = Location::Sqlite(backup.clone());
    let mut copy = Place::sqlite();
    copy.location = location;
    copy.root = place.root.clone();
    let raw = copy.raw().await;
    let cell = raw.cells().await.remove(3);
    raw.delete(&cell).await;
    let target = Location::Sqlite(copy.folder.path().join("target.db"));
    let restored = Store::restore(&backup, &target, &copy.root, &Freshness::AsFound(None)).await;
    assert!(
        matches!(restored, Err(StoreError::Tampered { .. })),
        "{restored:?}"
    );
    let Location::Sqlite(path) = target else {
        unreachable!()
    };
    assert!(!path.exists(), "nothing was begun");
}

async fn a_backup_is_not_overwritten_and_no_store_is(place: Place) {
    let store = place.create().await;
    fill(&store).await;
    let backup = place.folder.path().join("backup.db");
    store.backup(&backup).await.unwrap();
    let bytes = std::fs::read(&backup).unwrap();
    assert!(store.backup(&backup).await.is_err());
    assert_eq!(std::fs::read(&backup).unwrap(), bytes);
    let freshness = Freshness::Witness(place.witness());
    let onto = Store::restore(&backup, &place.location, &place.root, &freshness).await;
    assert!(
        matches!(onto, Err(StoreError::StoreExists { .. })),
        "{onto:?}"
    );
    store.verify().await.unwrap();
}
