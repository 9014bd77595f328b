//! A process that is killed at any moment, and a database server that is, lose nothing that was
//! acknowledged, and leave nothing half done.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use mse_cas::keys::RootKey;
use mse_cas::store::{
    Freshness, LeavesOnly, Location, SecretId, Store, StoreError, Witness, Write,
};
use mse_crypto::{Digest, random};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Semaphore;

use crate::contents::{secret, version};
use crate::places::{Place, Server, on_both};

on_both! {
    a_process_killed_at_any_moment_loses_nothing_acknowledged;
}

/// What a child does.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// Part of the names.
    pub(crate) round: u32,
    /// How many sessions it makes; every second one is then updated.
    pub(crate) sessions: u32,
    /// How many it makes at once.
    pub(crate) at_once: u32,
}

/// With the updates, that makes 1000 writes.
const SESSIONS: u32 = 667;

async fn a_process_killed_at_any_moment_loses_nothing_acknowledged(place: Place) {
    place.create().await.close().await.unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..5 {
        // In the last round it comes to its end.
        let kill_after = match round {
            4 => usize::MAX,
            _ => usize::from(u16::from_le_bytes(random::bytes()) % 1000),
        };
        let seen = one_round(&place, round, kill_after);
        println!("round {round}: killed after {} of {kill_after}", seen.len());
        if round == 4 {
            assert_eq!(seen.len(), 1000, "every write is acknowledged in the end");
        }
        acknowledged.extend(seen);
        let store = place.open().await.unwrap();
        check(&store, &acknowledged).await;
        store.close().await.unwrap();
    }
}

/// Lets a process write and kills it after so many acknowledgements: all that it said.
fn one_round(place: &Place, round: u32, kill_after: usize) -> Vec<String> {
    let work = Work {
        round,
        sessions: SESSIONS,
        at_once: SESSIONS,
    };
    let this = Command::new(std::env::current_exe().unwrap());
    let mut child = spawn(place, work, this);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    for line in lines {
        let line = line.unwrap();
        // The test harness says things, too.
        if let Some(said) = line.split_once(ACK) {
            seen.push(said.1.to_owned());
        }
        if seen.len() == kill_after {
            // SIGKILL. What is in the pipe was said before.
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(kill_after < 1000 || status.success(), "{status}");
    seen
}

/// Starts [`child`] in a process of its own: `command` runs this program.
pub(crate) fn spawn(place: &Place, work: Work, mut command: Command) -> Child {
    let (kind, location) = match &place.location {
        Location::Sqlite(path) => ("sqlite", path.display().to_string()),
        Location::Postgres(options) => (
            "postgres",
            format!(
                "{} {}",
                options.get_socket().unwrap().display(),
                options.get_database().unwrap()
            ),
        ),
    };
    command
        .args(["--exact", "crash::child", "--ignored", "--nocapture"])
        .env("MSE_TEST_KIND", kind)
        .env("MSE_TEST_LOCATION", location)
        .env("MSE_TEST_ROOT", hex::encode(place.root.expose()))
        .env("MSE_TEST_WITNESS", place.witness().path())
        .env("MSE_TEST_ROUND", work.round.to_string())
        .env("MSE_TEST_SESSIONS", work.sessions.to_string())
        .env("MSE_TEST_AT_ONCE", work.at_once.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The process that is killed.
#[test]
#[ignore = "run by the other tests of this module, in a process of its own"]
fn child() {
    let variable = |name: &str| std::env::var(format!("MSE_TEST_{name}")).unwrap();
    let location = variable("LOCATION");
    let location = if variable("KIND") == "sqlite" {
        Location::Sqlite(location.into())
    } else {
        let (socket, database) = location.split_once(' ').unwrap();
        let options = PgConnectOptions::new_without_pgpass().username("postgres");
        Location::Postgres(Box::new(options.socket(socket).database(database)))
    };
    let mut root = [0; 32];
    hex::decode_to_slice(variable("ROOT"), &mut root).unwrap();
    let number = |name| variable(name).parse::<u32>().unwrap();
    let (round, sessions) = (number("ROUND"), number("SESSIONS"));
    let turns = Arc::new(Semaphore::new(number("AT_ONCE").try_into().unwrap()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let freshness = Freshness::Witness(Witness::at(variable("WITNESS")));
        let root = RootKey::from_bytes(root);
        let store = Store::open(&location, &root, Arc::new(LeavesOnly), freshness)
            .await
            .unwrap();
        let tasks: Vec<_> = (0..sessions)
            .map(|n| {
                let (store, turns) = (store.clone(), turns.clone());
                tokio::spawn(async move {
                    let _turn = turns.acquire().await.unwrap();
                    life_of(store, format!("r{round}-{n}"), n).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        store.close().await.unwrap();
    });
}

/// Makes a session with its secret and its leaf; every second one gets another version.
async fn life_of(store: Store, name: String, n: u32) {
    let first = version(&text(&name, 1));
    let write = Write::new()
        .create_session(&name, first.clone())
        .put_secret(secret_of(&name, 1), secret(&name))
        .audit(format!("{name} 1").into_bytes());
    store.commit(write).await.unwrap();
    acknowledge(&name, 1);
    if n.is_multiple_of(2) && n < 666 {
        let write = Write::new()
            .update_session(&name, first.hash, version(&text(&name, 2)))
            .put_secret(secret_of(&name, 2), secret(&name))
            .audit(format!("{name} 2").into_bytes());
        store.commit(write).await.unwrap();
        acknowledge(&name, 2);
    }
}

fn acknowledge(name: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    // One call, so that a line is written wholly or not at all.
    out.write_all(format!("\n{ACK}{name} {number}\n").as_bytes())
        .unwrap();
    out.flush().unwrap();
}

/// Says something long, so that the database is busy with it.
fn text(name: &str, number: u64) -> String {
    format!("{name} {number} ").repeat(600)
}

fn secret_of(session: &str, version: u64) -> SecretId {
    SecretId {
        session: session.into(),
        name: "secret".into(),
        version,
    }
}

/// Everything acknowledged is there, nothing is half there, and every seal and link is right.
pub(crate) async fn check(store: &Store, acknowledged: &BTreeSet<String>) {
    let verified = store.verify().await.unwrap();
    let leaves = store.log_leaves(0..verified.leaves).await.unwrap();
    let leaves: BTreeSet<String> = leaves
        .into_iter()
        .map(|leaf| String::from_utf8(leaf).unwrap())
        .collect();
    for said in acknowledged {
        assert!(
            leaves.contains(said),
            "`{said}` was acknowledged and is lost"
        );
    }
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for leaf in &leaves {
        let (name, number) = leaf.split_once(' ').unwrap();
        last.insert(name.into(), number.parse().unwrap());
    }
    let names = store.session_names("").await.unwrap();
    assert!(
        names.iter().eq(last.keys()),
        "a session comes with its leaf"
    );
    for (name, number) in last {
        let head = store.session(&name).await.unwrap().unwrap();
        assert_eq!(
            (head.number, head.hash),
            (number, Digest::of(text(&name, number).as_bytes()))
        );
        let versions = 1..=number;
        let secrets: Vec<_> = versions.map(|version| secret_of(&name, version)).collect();
        assert_eq!(store.secret_ids(&name).await.unwrap(), secrets);
    }
}

/// Before each acknowledgement.
pub(crate) const ACK: &str = "acknowledged ";

/// The server dies as its machine would, and comes back: writes in between may fail, and are not
/// acknowledged; the store goes on by itself or says that it has to be opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_server_that_dies_loses_nothing_acknowledged() {
    let server = Arc::new(Server::start());
    let place = Place::on(server.clone()).await;
    let mut store = place.create().await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        let (go_on, mut done) = tokio::sync::watch::channel(false);
        let (count, mut counted) = tokio::sync::watch::channel(0);
        let writer = tokio::spawn({
            let store = store.clone();
            async move {
                let mut said = Vec::new();
                let mut refused = Vec::new();
                for n in 0.. {
                    let name = format!("k{round}-{n}");
                    let write = Write::new()
                        .create_session(&name, version(&text(&name, 1)))
                        .put_secret(secret_of(&name, 1), secret(&name))
                        .audit(format!("{name} 1").into_bytes());
                    match store.commit(write).await {
                        Ok(_) => said.push(format!("{name} 1")),
                        Err(error) => refused.push(error),
                    }
                    count.send_replace(said.len());
                    if *done.borrow_and_update() {
                        break;
                    }
                }
                (said, refused)
            }
        });
        counted.wait_for(|count| *count >= 20).await.unwrap();
        server.kill();
        server.control("start");
        go_on.send(true).unwrap();
        let (said, refused) = writer.await.unwrap();
        acknowledged.extend(said);
        for error in &refused {
            let told = matches!(
                error,
                StoreError::WriteFailed(_) | StoreError::OutcomeUnknown(_) | StoreError::Stopped(_)
            );
            assert!(told, "{error}");
        }
        let stopped = refused
            .iter()
            .any(|error| !matches!(error, StoreError::WriteFailed(_)));
        if stopped {
            store.close().await.unwrap();
            store = place.open().await.unwrap();
        }
        check(&store, &acknowledged).await;
    }
}
