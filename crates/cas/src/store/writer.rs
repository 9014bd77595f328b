//! The writer: one task that commits many writes together.
//!
//! While one transaction is being made lasting, the writes that arrive wait in a queue; then they
//! all go into the next one. Under load many writes share one flush of the disk, and alone a write
//! waits for nobody. Each write of a batch stands or falls alone: it sees what those before it
//! changed, and if it is refused, nothing of it is in the batch.

mod decide;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Shared;
use super::apply::NewValue;
use super::cell::{CellId, SealedCell};
use super::chain::{CellChange, ChainRow, Change, HistoryRow, Position};
use super::error::StoreError;
use super::write::Write;
use decide::{Decided, decide, needed, open};

/// What became of a write that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where the store is since.
    pub position: Position,
    /// Index in the audit log of the write's first leaf, if it had one.
    pub first_leaf: Option<u64>,
}

/// A write that waits for its turn.
pub(super) struct Queued {
    pub(super) write: Write,
    pub(super) answer: oneshot::Sender<Result<Committed, StoreError>>,
}

/// Takes writes until nobody can send any more, or until the store is closed and no write is left.
pub(super) async fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Queued>) {
    let mut stopped: Option<String> = None;
    let closing = shared.closing.notified();
    tokio::pin!(closing);
    let mut open = true;
    loop {
        let first = tokio::select! {
            biased;
            () = &mut closing, if open => {
                open = false;
                queue.close();
                continue;
            }
            first = queue.recv() => first,
        };
        let Some(first) = first else {
            return;
        };
        let batch = gather(first, &mut queue);
        if let Some(why) = &stopped {
            answer_all(batch, || StoreError::Stopped(why.clone()));
            continue;
        }
        match commit(&shared, &batch).await {
            Ok(results) => {
                for (queued, result) in batch.into_iter().zip(results) {
                    // Who does not wait any more does not hear it.
                    let _ = queued.answer.send(result);
                }
            }
            Err(Failure::Batch(why)) => answer_all(batch, || StoreError::WriteFailed(why.clone())),
            Err(Failure::Stop(error)) => {
                tracing::error!(%error, "the store takes no more writes");
                let why = error.to_string();
                stopped = Some(why.clone());
                let mut batch = batch.into_iter();
                if let Some(first) = batch.next() {
                    let _ = first.answer.send(Err(error));
                }
                answer_all(batch, || StoreError::OutcomeUnknown(why.clone()));
            }
        }
    }
}

/// The first write and those that wait behind it, up to a bound.
fn gather(first: Queued, queue: &mut mpsc::Receiver<Queued>) -> Vec<Queued> {
    let mut weight = first.write.weight();
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH && weight < MAX_WEIGHT {
        let Ok(next) = queue.try_recv() else {
            break;
        };
        weight += next.write.weight();
        batch.push(next);
    }
    batch
}

fn answer_all(batch: impl IntoIterator<Item = Queued>, error: impl Fn() -> StoreError) {
    for queued in batch {
        let _ = queued.answer.send(Err(error()));
    }
}

/// Why a whole batch came to nothing.
enum Failure {
    /// Nothing of it was stored; the next one may succeed.
    Batch(String),
    /// The store cannot be trusted any more, or nobody knows what was stored.
    Stop(StoreError),
}

type Results = Vec<Result<Committed, StoreError>>;

/// A transaction of which it is unknown whether it was committed.
struct Doubt {
    position: Position,
    why: String,
    results: Results,
}

/// Commits a batch, again if the database failed in a way that passes.
async fn commit(shared: &Shared, batch: &[Queued]) -> Result<Results, Failure> {
    let mut doubt: Option<Doubt> = None;
    let mut last = String::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(attempt - 1)).await;
        }
        let attempt = timeout(PATIENCE, attempt_once(shared, batch, &mut doubt)).await;
        let Ok(attempt) = attempt else {
            // The connection is as good as broken. What was being committed is in doubt, as it is
            // after one that broke.
            last = format!("the database did not answer for {} s", PATIENCE.as_secs());
            continue;
        };
        match attempt {
            Ok(results) => return Ok(results),
            Err(StoreError::Database(error)) => match severity(&error) {
                Severity::Passing => last = error.to_string(),
                Severity::Lasting => {
                    let stored = match doubt.take() {
                        Some(doubt) => resolve(shared, doubt).await,
                        None => Ok(None),
                    };
                    return match stored {
                        Ok(Some(results)) => Ok(results),
                        Ok(None) => Err(Failure::Batch(error.to_string())),
                        Err(_) => Err(Failure::Stop(StoreError::OutcomeUnknown(error.to_string()))),
                    };
                }
                Severity::Fatal => {
                    return Err(Failure::Stop(StoreError::OutcomeUnknown(format!(
                        "the disk failed: {error}"
                    ))));
                }
            },
            // The store was tampered with, rolled back or forked.
            Err(error) => return Err(Failure::Stop(error)),
        }
    }
    match doubt {
        Some(doubt) => Err(Failure::Stop(StoreError::OutcomeUnknown(doubt.why))),
        None => Err(Failure::Batch(format!(
            "{last} (after {ATTEMPTS} attempts)"
        ))),
    }
}

async fn attempt_once(
    shared: &Shared,
    batch: &[Queued],
    doubt: &mut Option<Doubt>,
) -> Result<Results, StoreError> {
    let floor = shared.position().sequence;
    let (mut transaction, chain) = shared.database.begin_write().await?;
    shared.follow(&chain, floor).await?;
    if let Some(earlier) = doubt {
        if was_stored(shared, earlier).await? {
            return Ok(std::mem::take(&mut earlier.results));
        }
        *doubt = None;
    }
    let sum = chain.open(&shared.seals)?;
    let ids = needed(shared, batch);
    let rows = transaction.cells(&ids.iter().collect::<Vec<_>>()).await?;
    let loaded = open(shared, &ids, rows);

    let Decided {
        pending,
        mut results,
    } = decide(shared, &loaded, batch);
    if pending.is_empty() {
        return Ok(results);
    }
    let sequence = chain.position.sequence + 1;
    let mut cells = Vec::new();
    let mut removed = Vec::new();
    for (id, new) in pending {
        match new {
            Some(NewValue { expires, value }) => {
                cells.push(shared.seals.seal_cell(id, sequence, expires, &value));
            }
            // What was made and removed within one batch never was.
            None if shared.memory().stamp(&id).is_none() => {}
            None => removed.push(id),
        }
    }
    let change = change(&cells, &removed);
    let position = chain.position.after(&change);
    let moved = shared.memory().moved(&shared.seals, sum, &change);
    for result in results.iter_mut().flatten() {
        result.position = position;
    }

    transaction.put_cells(&cells).await?;
    transaction.remove_cells(&removed).await?;
    let history = HistoryRow::seal(&shared.seals, position, &change);
    transaction.add_history(&history).await?;
    let row = ChainRow::seal(&shared.seals, chain.store, chain.key, position, moved);
    transaction.set_chain(&row).await?;
    // Until the answer is there.
    let in_doubt = doubt.insert(Doubt {
        position,
        why: "the database did not answer".to_owned(),
        results,
    });
    if let Err(error) = transaction.commit().await {
        in_doubt.why = error.to_string();
        return Err(error.into());
    }
    shared.advance(position, &change);
    shared.remember(position).await?;
    let results = std::mem::take(&mut in_doubt.results);
    *doubt = None;
    Ok(results)
}

/// What became of a transaction in doubt: its results if it was stored after all.
async fn resolve(shared: &Shared, doubt: Doubt) -> Result<Option<Results>, StoreError> {
    let floor = shared.position().sequence;
    let (_transaction, chain) = shared.database.begin_write().await?;
    shared.follow(&chain, floor).await?;
    Ok(was_stored(shared, &doubt).await?.then_some(doubt.results))
}

/// To be asked while the chain is held: then the transaction in doubt is over, and is in the history
/// or never will be. Its head names it, since no two transactions have the same.
async fn was_stored(shared: &Shared, doubt: &Doubt) -> Result<bool, StoreError> {
    let Position { sequence, head } = doubt.position;
    let stored = shared.head_at(sequence).await? == Some(head);
    if stored {
        // It is acknowledged now, so the witness has to know of it first.
        shared.remember(shared.position()).await?;
    }
    Ok(stored)
}

fn change(cells: &[SealedCell], removed: &[CellId]) -> Change {
    let mut changes: Vec<_> = cells
        .iter()
        .map(|cell| CellChange {
            id: cell.id.clone(),
            to: Some(cell.stamp),
        })
        .chain(removed.iter().map(|id| CellChange {
            id: id.clone(),
            to: None,
        }))
        .collect();
    changes.sort_by(|one, other| one.id.cmp(&other.id));
    Change(changes)
}

enum Severity {
    /// Another transaction was in the way, or the connection broke: try again.
    Passing,
    /// It will not get better by itself, but nothing is in doubt: a full disk.
    Lasting,
    /// What the disk holds is unknown, so nothing may be written after it.
    Fatal,
}

fn severity(error: &sqlx::Error) -> Severity {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => Severity::Passing,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            if error
                .try_downcast_ref::<sqlx::sqlite::SqliteError>()
                .is_some()
            {
                // The low byte is the primary code (https://sqlite.org/rescode.html).
                return match code.parse::<u32>().map(|code| code & 0xff) {
                    Ok(SQLITE_BUSY | SQLITE_LOCKED) => Severity::Passing,
                    Ok(SQLITE_IOERR | SQLITE_CORRUPT | SQLITE_NOTADB) => Severity::Fatal,
                    _ => Severity::Lasting,
                };
            }
            match &*code {
                // Serialization failure, deadlock, lock not available, shutdown, start-up.
                "40001" | "40P01" | "55P03" | "57P01" | "57P02" | "57P03" => Severity::Passing,
                _ => Severity::Lasting,
            }
        }
        _ => Severity::Lasting,
    }
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_IOERR: u32 = 10;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_NOTADB: u32 = 26;

/// Most writes of one transaction.
const MAX_BATCH: usize = 256;
/// Most bytes of one transaction, if it is not a single write.
const MAX_WEIGHT: usize = 16 << 20;
/// So long may one attempt take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a batch is tried.
const ATTEMPTS: u32 = 6;
/// The pause after the first failure; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
