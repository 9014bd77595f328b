//! A CAS that is killed at random points while many clients create and update sessions: what was
//! acknowledged is there, nothing is torn, and the audit log verifies.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mse_api::cas::{SESSIONS, SecretList, SessionHistory, SessionView, StoredSession, Upload};
use mse_audit::entry::Event;
use mse_ratls::cas::client::CasClient;
use mse_tests::cas_program::{CasMachine, RunningCas};
use mse_tests::programs::program;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Creates and updates in all.
const WRITES: usize = 1000;
const CLIENTS: usize = 16;
const KILLS: usize = 6;

/// What clients were told: for each session the hashes of its versions, in order.
type Acknowledged = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

fn text(name: &str, predecessor: Option<&str>, size: usize) -> String {
    let predecessor = predecessor.map_or(String::new(), |hash| format!("predecessor: {hash}\n"));
    format!(
        "name: {name}
version: '0.3.12'
salt: {salt}
{predecessor}services: []
secrets:
- {{name: kept, kind: ascii, size: 20}}
- {{name: new, kind: ascii, size: {size}}}
",
        salt = "0a".repeat(16),
    )
}

/// Creates a session and updates it again and again, until there were enough writes or the CAS is
/// gone.
async fn work(
    mut client: CasClient,
    round: usize,
    number: usize,
    left: Arc<AtomicUsize>,
    acknowledged: Acknowledged,
) {
    for session in 0.. {
        let name = format!("s-{round}-{number}-{session}");
        let mut predecessor: Option<String> = None;
        for version in 0..4 {
            let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
            if taken.is_err() {
                return;
            }
            let upload = Upload::Text(text(&name, predecessor.as_deref(), 10 + version));
            let Ok(stored) = client.post::<StoredSession>(SESSIONS, &upload).await else {
                // It may be there or not: nobody was told.
                return;
            };
            let mut all = acknowledged.lock().await;
            all.entry(name.clone())
                .or_default()
                .push(stored.hash.clone());
            predecessor = Some(stored.hash);
        }
    }
}

async fn check(cas: &RunningCas, machine: &CasMachine, acknowledged: &Acknowledged) {
    let mut client = cas.connect(Some(&machine.owner)).await.unwrap();
    let all = acknowledged.lock().await;
    for (name, hashes) in all.iter() {
        let history: SessionHistory = client
            .get(&format!("/v1/session/history?name={name}"))
            .await
            .unwrap();
        // One more at most: the one whose answer was lost.
        assert!(
            history.hashes.starts_with(hashes),
            "{name}: {history:?}, {hashes:?}"
        );
        assert!(history.hashes.len() <= hashes.len() + 1);
        let view: SessionView = client
            .get(&format!("/v1/session?name={name}"))
            .await
            .unwrap();
        assert_eq!(Some(&view.hash), history.hashes.last());
        // Its values are those of this version: all of them.
        let secrets: SecretList = client
            .get(&format!("/v1/secrets?session={name}"))
            .await
            .unwrap();
        let versions: Vec<u64> = secrets.secrets.iter().map(|line| line.version).collect();
        assert_eq!(versions, [1, history.hashes.len() as u64]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_cas_has_lost_nothing_that_it_acknowledged() {
    let machine = CasMachine::new(&program("mse-cas")).await;
    machine.create().await.stop().await;
    let (left, acknowledged) = (Arc::new(AtomicUsize::new(WRITES)), Acknowledged::default());
    for round in 0.. {
        let cas = machine.open().await;
        check(&cas, &machine, &acknowledged).await;
        if left.load(Ordering::SeqCst) == 0 {
            verify_log(&cas, &machine, &acknowledged).await;
            cas.stop().await;
            break;
        }
        let before = left.load(Ordering::SeqCst);
        let mut workers = JoinSet::new();
        for number in 0..CLIENTS {
            let client = cas.connect(Some(&machine.owner)).await.unwrap();
            let (left, acknowledged) = (Arc::clone(&left), Arc::clone(&acknowledged));
            workers.spawn(work(client, round, number, left, acknowledged));
        }
        // Somewhere within the share of this round; the last one goes to the end.
        let share = if round + 1 < KILLS {
            WRITES / KILLS
        } else {
            before
        };
        let until = before.saturating_sub(share);
        while left.load(Ordering::SeqCst) > until {
            sleep(Duration::from_millis(1)).await;
        }
        cas.kill().await;
        while workers.join_next().await.is_some() {}
    }
}

/// Each change that was acknowledged has its entry.
async fn verify_log(cas: &RunningCas, machine: &CasMachine, acknowledged: &Acknowledged) {
    let mut client = cas.connect(Some(&machine.owner)).await.unwrap();
    let (mut lines, mut from) = (Vec::new(), 0);
    loop {
        let page: mse_api::cas::AuditLines = client
            .get(&format!("/v1/audit/lines?from={from}"))
            .await
            .unwrap();
        let is_last = page.next == from;
        from = page.next;
        lines.extend(page.lines);
        if is_last {
            break;
        }
    }
    let entries = lines.iter().filter(|line| !line.starts_with("{\"head\""));
    let mut told = BTreeMap::<String, usize>::new();
    for line in entries {
        let entry = mse_audit::entry::Entry::from_canonical(line.as_bytes()).unwrap();
        if matches!(
            entry.event,
            Event::SessionCreated {} | Event::SessionUpdated { .. }
        ) {
            let hash = entry.session.unwrap().hash.unwrap().to_string();
            *told.entry(hash).or_default() += 1;
        }
    }
    for hash in acknowledged.lock().await.values().flatten() {
        assert_eq!(told.get(hash), Some(&1), "{hash}");
    }
}
