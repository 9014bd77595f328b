//! How many writes a second the store takes, for some numbers of clients at once.
//!
//! ```sh
//! cargo run --release -p mse-cas --example store_load -- /var/tmp/load.db
//! cargo run --release -p mse-cas --example store_load -- postgres://postgres@host/empty_database
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mse_cas::keys::RootKey;
use mse_cas::store::{LeavesOnly, Location, NewVersion, SecretId, Store, Witness, Write};
use mse_crypto::{Digest, Zeroizing};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let place = std::env::args()
        .nth(1)
        .ok_or("name an empty place for a store: a path, or postgres://user@host/database")?;
    let location: Location = place.parse()?;
    let witness = Witness::at(std::env::temp_dir().join(format!("load-{}", std::process::id())));
    let (root, audit) = (RootKey::generate(), Arc::new(LeavesOnly));
    let store = Store::create(&location, &root, audit, Some(witness.clone())).await?;
    println!("clients  writes/s  transactions/s  p50 ms  p99 ms");
    for clients in [1, 4, 16, 64, 256, 512] {
        run(&store, clients).await?;
    }
    let begun = Instant::now();
    let verified = store.verify().await?;
    println!(
        "verified {} cells in {:.1?}",
        verified.cells,
        begun.elapsed()
    );
    store.close().await?;
    std::fs::remove_file(witness.path())?;
    Ok(())
}

async fn run(store: &Store, clients: u32) -> Result<(), Box<dyn std::error::Error>> {
    let before = store.position().sequence;
    let begun = Instant::now();
    let end = begun + MEASURED;
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                for n in 0.. {
                    if Instant::now() >= end {
                        break;
                    }
                    let write = session(&format!("load {clients} {client} {n}"));
                    let sent = Instant::now();
                    store.commit(write).await?;
                    took.push(sent.elapsed());
                }
                Ok::<_, mse_cas::store::StoreError>(took)
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    let elapsed = begun.elapsed().as_secs_f64();
    took.sort();
    let transactions = store.position().sequence - before;
    let milliseconds = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    #[allow(clippy::cast_precision_loss, reason = "counts of some seconds")]
    let per_second = |count: f64| count / elapsed;
    #[allow(clippy::cast_precision_loss, reason = "counts of some seconds")]
    let (writes, transactions) = (took.len() as f64, transactions as f64);
    println!(
        "{clients:>7}  {:>8.0}  {:>14.0}  {:>6.1}  {:>6.1}",
        per_second(writes),
        per_second(transactions),
        milliseconds(50),
        milliseconds(99)
    );
    Ok(())
}

/// A session of 2 KiB with a secret and a leaf of the log.
fn session(name: &str) -> Write {
    let version = NewVersion {
        hash: Digest::of(name.as_bytes()),
        text: Zeroizing::new(vec![b'x'; 2048]),
        created_at: Timestamp::now(),
    };
    let secret = SecretId {
        session: name.into(),
        name: "key".into(),
        version: 1,
    };
    Write::new()
        .create_session(name, version)
        .put_secret(secret, Zeroizing::new(vec![7; 32]))
        .audit(name.as_bytes().to_vec())
}

const MEASURED: Duration = Duration::from_secs(3);
