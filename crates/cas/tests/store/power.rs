//! Loss of power under SQLite: what was not flushed may be lost, in part or wholly, in any order.
//!
//! A process writes to a store while `strace` records each system call that changes or flushes one of
//! its files. From the record we build the disk as it may be after a loss of power at any moment: what
//! was flushed is there, and of everything else nothing, all, or any part, torn at sectors. From each
//! of them the store must open, with the newest witness, hold every write that was acknowledged
//! before that moment, and verify.
//!
//! What this cannot show: disks and virtual disks that say "flushed" and have not; file systems that
//! lose what was flushed. For these there is the witness.

mod disk;
mod trace;

use std::collections::BTreeSet;
use std::io::Read;
use std::process::Command;
use std::sync::Arc;

use mse_cas::store::{Freshness, LeavesOnly, Location, Store, Witness};

use crate::crash::{Work, check, spawn};
use crate::places::Place;
use disk::{Disk, Survivors};
use trace::Event;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_of_power_at_any_moment_loses_nothing_acknowledged() {
    let place = Place::sqlite();
    place.create().await.close().await.unwrap();
    let mut disk = Disk::of_folder(place.folder.path());
    let events = record(&place);
    let moments = moments(&events);
    let mut acknowledged = BTreeSet::new();
    let mut tried = 0;
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Acknowledged(said) => {
                acknowledged.insert(said.clone());
            }
            event => disk.take(event),
        }
        if !moments.contains(&at) {
            continue;
        }
        for survivors in [Survivors::None, Survivors::All, Survivors::Some(at as u64)] {
            let folder = tempfile::tempdir().unwrap();
            disk.lose_power(survivors, folder.path());
            let store = Store::open(
                &Location::Sqlite(folder.path().join("cas.db")),
                &place.root,
                Arc::new(LeavesOnly),
                Freshness::Witness(Witness::at(folder.path().join("witness"))),
            )
            .await
            .unwrap_or_else(|error| panic!("event {at}, {survivors:?}: {error}"));
            check(&store, &acknowledged).await;
            store.close().await.unwrap();
            tried += 1;
        }
    }
    assert!(tried >= 3 * 40, "{tried}");
    assert_eq!(acknowledged.len(), 240);
}

/// The simulation would notice a store that does not flush: if flushes do nothing, writes are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_flushes_the_simulation_loses_writes() {
    let place = Place::sqlite();
    place.create().await.close().await.unwrap();
    let mut disk = Disk::of_folder(place.folder.path());
    for event in record(&place) {
        match event {
            Event::Acknowledged(_) | Event::FlushBegins(_) | Event::FlushEnds(_) => {}
            event => disk.take(&event),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    disk.lose_power(Survivors::None, folder.path());
    let opened = Store::open(
        &Location::Sqlite(folder.path().join("cas.db")),
        &place.root,
        Arc::new(LeavesOnly),
        Freshness::Witness(Witness::at(folder.path().join("witness"))),
    )
    .await;
    let error = opened.err().expect("the store is behind its witness");
    assert!(error.to_string().contains("ROLLED BACK"), "{error}");
}

/// What a process that writes to the store does to its files.
fn record(place: &Place) -> Vec<Event> {
    let log = place.folder.path().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-xx", "-s", "16777216", "-e"])
        .arg(format!("trace={}", trace::CALLS.join(",")))
        .arg("-o")
        .arg(&log)
        .arg(std::env::current_exe().unwrap());
    let found = Command::new("strace").arg("-V").output();
    assert!(
        found.is_ok_and(|found| found.status.success()),
        "`strace` is not on this machine: apt-get install strace (or ./x setup)"
    );
    let work = Work {
        round: 0,
        sessions: 160,
        at_once: 4,
    };
    let mut child = spawn(place, work, strace);
    // Read away, so that it does not wait for us.
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let status = child.wait().unwrap();
    assert!(
        status.success(),
        "{status}: may strace trace processes here?\n{said}"
    );
    trace::parse(&std::fs::read_to_string(&log).unwrap(), place.folder.path())
}

/// Moments worth a look: around each flush of the database file itself (a checkpoint), and some
/// others from the beginning to the end.
fn moments(events: &[Event]) -> BTreeSet<usize> {
    let mut moments = BTreeSet::new();
    let checkpoints: Vec<_> = (0..events.len())
        .filter(|at| matches!(&events[*at], Event::FlushEnds(file) if file == "cas.db"))
        .collect();
    // The last one is made when the store is closed.
    assert!(
        checkpoints.len() >= 2,
        "there is a checkpoint amid the writes: {checkpoints:?}"
    );
    for checkpoint in checkpoints {
        for at in [-8, -2, -1, 0, 1, 2, 3, 5] {
            moments.extend(
                checkpoint
                    .checked_add_signed(at)
                    .filter(|at| *at < events.len()),
            );
        }
    }
    let step = events.len() / 40;
    moments.extend((0..events.len()).step_by(step));
    moments
}
