//! Whoever can write to the database can do no more than stop the store.

use std::sync::Arc;

use mse_cas::store::{Freshness, Kind, Store, StoreError};

use crate::contents::{Counting, change, create_with_log, fill, read_all, setting};
use crate::places::{Place, Raw, RawCell, on_both};

on_both! {
    a_flipped_bit_anywhere_is_noticed;
    swapped_values_are_noticed;
    a_cell_put_back_to_an_older_value_is_noticed;
    a_removed_cell_is_noticed;
    a_cell_that_was_added_is_noticed;
    a_changed_history_is_noticed;
    an_old_row_of_the_chain_is_noticed;
    nothing_lies_in_the_database_in_clear;
}

/// A store with a past, its raw database, and the cells of before the last changes.
struct Victim {
    place: Place,
    store: Store,
    raw: Raw,
    old: Vec<RawCell>,
}

impl Victim {
    async fn new(place: Place) -> Self {
        let store = create_with_log(&place).await;
        fill(&store).await;
        let raw = place.raw().await;
        let old = raw.cells().await;
        change(&store).await;
        let victim = Self {
            place,
            store,
            raw,
            old,
        };
        read_all(&victim.store).await.unwrap();
        victim.store.verify().await.unwrap();
        let kinds: Vec<_> = victim.old.iter().map(|cell| cell.kind).collect();
        for kind in Kind::ALL {
            assert!(
                kinds.contains(&(kind as i64)),
                "there is no {kind:?} to tamper with"
            );
        }
        victim
    }

    /// Fails unless it is noticed that something is wrong: by the running store when it verifies, by
    /// a new one at the latest when it verifies, and (if `by_reads`) by the running store when it reads.
    async fn must_notice(&self, what: &str, by_reads: bool) {
        let verified = self.store.verify().await;
        assert!(verified.is_err(), "{what}: the running store verifies");
        if by_reads {
            let read = read_all(&self.store).await;
            assert!(read.is_err(), "{what}: the running store reads");
        }
        let opened = self.open_and_verify().await;
        assert!(opened.is_err(), "{what}: a new store opens and verifies");
    }

    async fn open_and_verify(&self) -> Result<(), StoreError> {
        let freshness = Freshness::Witness(self.place.witness());
        let (location, root) = (&self.place.location, &self.place.root);
        let store = Store::open(location, root, Arc::new(Counting), freshness).await?;
        let verified = store.verify().await;
        store.close().await?;
        verified.map(drop)
    }

    /// Fails unless all is well again.
    async fn must_be_whole(&self) {
        self.store.verify().await.unwrap();
        read_all(&self.store).await.unwrap();
        self.open_and_verify().await.unwrap();
    }
}

async fn a_flipped_bit_anywhere_is_noticed(place: Place) {
    let victim = Victim::new(place).await;
    for cell in victim.raw.cells().await {
        let last = cell.sealed.len() - 1;
        for at in [0, 13, last] {
            let mut changed = cell.clone();
            changed.sealed[at.min(last)] ^= 0x10;
            victim.raw.put(&changed).await;
            let what = format!("byte {at} of {cell:?}");
            victim.must_notice(&what, true).await;
        }
        let mut later = cell.clone();
        later.sequence += 1;
        let mut lasting = cell.clone();
        lasting.expires = Some(cell.expires.map_or(1, |expires| expires + 1));
        let mut short = cell.clone();
        short.sealed.truncate(10);
        for changed in [later, lasting, short] {
            victim.raw.put(&changed).await;
            victim.must_notice(&format!("{changed:?}"), true).await;
        }
        victim.raw.put(&cell).await;
    }
    victim.must_be_whole().await;
}

async fn swapped_values_are_noticed(place: Place) {
    let victim = Victim::new(place).await;
    let cells = victim.raw.cells().await;
    let neighbours = cells.windows(2).filter(|pair| pair[0].kind == pair[1].kind);
    for pair in neighbours {
        let [one, other] = pair else { unreachable!() };
        // The value alone, and everything but the key.
        let value = |to: &RawCell, from: &RawCell| RawCell {
            sealed: from.sealed.clone(),
            ..to.clone()
        };
        let row = |to: &RawCell, from: &RawCell| RawCell {
            key: to.key.clone(),
            ..from.clone()
        };
        for swapped in [
            [value(one, other), value(other, one)],
            [row(one, other), row(other, one)],
        ] {
            for cell in &swapped {
                victim.raw.put(cell).await;
            }
            victim
                .must_notice(&format!("{one:?} and {other:?} swapped"), true)
                .await;
        }
        for cell in pair {
            victim.raw.put(cell).await;
        }
    }
    victim.must_be_whole().await;
}

async fn a_cell_put_back_to_an_older_value_is_noticed(place: Place) {
    let victim = Victim::new(place).await;
    let new = victim.raw.cells().await;
    let mut replayed = 0;
    for old in &victim.old {
        let same = |cell: &&RawCell| (cell.kind, &cell.key) == (old.kind, &old.key);
        let current = new.iter().find(same);
        if current == Some(old) {
            continue;
        }
        replayed += 1;
        // The whole row, as it was once: its seal opens.
        victim.raw.put(old).await;
        victim.must_notice(&format!("{old:?} put back"), true).await;
        match current {
            Some(current) => victim.raw.put(current).await,
            None => victim.raw.delete(old).await,
        }
    }
    assert_eq!(
        replayed, 9,
        "every change of `change` has something to put back"
    );
    victim.must_be_whole().await;
}

async fn a_removed_cell_is_noticed(place: Place) {
    let victim = Victim::new(place).await;
    for cell in victim.raw.cells().await {
        victim.raw.delete(&cell).await;
        // Nodes and heads of the log are not remembered; that one is missing shows in a proof that
        // cannot be made, and when everything is verified.
        let by_reads = ![Kind::LogNode as i64, Kind::LogHead as i64].contains(&cell.kind);
        victim
            .must_notice(&format!("{cell:?} removed"), by_reads)
            .await;
        victim.raw.put(&cell).await;
    }
    victim.must_be_whole().await;
}

async fn a_cell_that_was_added_is_noticed(place: Place) {
    let victim = Victim::new(place).await;
    let cells = victim.raw.cells().await;
    // Under a key that nobody reads: only the whole shows it.
    for cell in &cells {
        let mut added = cell.clone();
        added.key.push(1);
        victim.raw.put(&added).await;
        victim.must_notice(&format!("{added:?} added"), false).await;
        victim.raw.delete(&added).await;
    }
    victim.must_be_whole().await;
}

async fn a_changed_history_is_noticed(place: Place) {
    let victim = Victim::new(place).await;
    let links = victim.raw.links().await;
    let (chain, history) = links.split_last().unwrap();
    for link in history {
        victim.raw.delete_history(link.sequence).await;
        let verified = victim.store.verify().await;
        assert!(verified.is_err(), "{link:?} removed");
        let mut sealed = link.clone();
        *sealed.sealed.last_mut().unwrap() ^= 1;
        let mut head = link.clone();
        head.head[0] ^= 1;
        for changed in [sealed, head] {
            victim.raw.put_history(&changed).await;
            let verified = victim.store.verify().await;
            assert!(verified.is_err(), "{changed:?}");
        }
        victim.raw.put_history(link).await;
    }
    // A row more than there were transactions.
    let mut more = history[0].clone();
    more.sequence = chain.sequence + 1;
    victim.raw.put_history(&more).await;
    assert!(victim.store.verify().await.is_err());
    victim.raw.delete_history(more.sequence).await;
    victim.must_be_whole().await;
}

async fn an_old_row_of_the_chain_is_noticed(place: Place) {
    let victim = Victim::new(place).await;
    let before = victim.raw.links().await.pop().unwrap();
    victim.store.commit(setting("more")).await.unwrap();
    let after = victim.raw.links().await.pop().unwrap();
    assert!(before.sequence < after.sequence);
    victim.raw.set_chain(&before).await;
    let read = victim.store.setting("m").await;
    assert!(
        matches!(&read, Err(StoreError::RolledBack { .. })),
        "{read:?}"
    );
    victim.must_notice("the chain's row put back", true).await;
    for at in 0..after.sealed.len() {
        let mut changed = after.clone();
        changed.sealed[at] ^= 1;
        victim.raw.set_chain(&changed).await;
        assert!(
            victim.store.verify().await.is_err(),
            "byte {at} of the chain"
        );
    }
    let mut head = after.clone();
    head.head[0] ^= 1;
    victim.raw.set_chain(&head).await;
    victim.must_notice("another head", true).await;
    victim.raw.set_chain(&after).await;
    victim.must_be_whole().await;
    victim.raw.run("DELETE FROM chain").await;
    victim.must_notice("no row of the chain", true).await;
}

async fn nothing_lies_in_the_database_in_clear(place: Place) {
    let victim = Victim::new(place).await;
    victim.raw.run("CREATE TABLE control (text TEXT)").await;
    victim
        .raw
        .run("INSERT INTO control VALUES ('CONTROL in clear')")
        .await;
    let folder = victim.place.data();
    let backup = victim.place.folder.path().join("backup.db");
    victim.store.backup(&backup).await.unwrap();
    assert!(
        occurs(&folder, b"CONTROL in clear"),
        "the search finds what is there"
    );
    let root = *victim.place.root.expose();
    for hidden in [&b"CANARY"[..], &root] {
        assert!(
            !occurs(&folder, hidden),
            "{}",
            String::from_utf8_lossy(hidden)
        );
        assert!(!occurs(victim.place.folder.path(), hidden));
    }
}

/// Whether bytes occur in a file under a folder.
fn occurs(folder: &std::path::Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return occurs(&path, bytes);
        }
        // Sockets cannot be read, and temporary files may be gone.
        std::fs::read(&path).is_ok_and(|content| {
            let starts = content
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == bytes[0]);
            starts
                .into_iter()
                .any(|(at, _)| content[at..].starts_with(bytes))
        })
    })
}
