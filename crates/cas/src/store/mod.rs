//! Sealed, crash-safe, rollback-evident storage: SQLite by default, PostgreSQL for several replicas.
//!
//! Everything is a cell: a value, sealed for exactly one kind, key and transaction. Every
//! transaction adds a link to a hash chain and moves a sum over all cells; both are sealed in one
//! row. So a changed, swapped, missing, added or old cell shows, at the latest when the store is
//! opened or [verified](Store::verify); an old copy of the whole store shows against a [`Witness`],
//! against what a running process remembers, and against positions that clients keep.
//! `docs/cas-store.md` has the forms and says what this does not protect from.
//!
//! | module | what |
//! | --- | --- |
//! | `cell`, `chain` | what is sealed under what; positions, history, sum |
//! | `database` | the statements for both databases |
//! | `memory` | what a process remembers, to judge what it reads |
//! | `write`, `apply`, `writer` | changes, their rules, and the task that commits them together |
//! | `read`, `records` | reading, and what is read |
//! | `open`, `verify`, `backup`, `witness` | life of a store |
//! | `audit` | how the audit log is appended to with a change |

mod apply;
mod audit;
mod backup;
mod cell;
mod chain;
mod codec;
mod database;
mod error;
mod ids;
mod memory;
mod open;
mod read;
mod records;
mod refused;
mod verify;
mod witness;
mod write;
mod writer;

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use mse_crypto::Digest;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use audit::{Appended, AuditError, AuditLog, LeavesOnly, LogNode, Tail};

pub use cell::Kind;
pub use chain::{Position, StoreId};
pub use error::StoreError;
pub use memory::Mark;
pub use mse_database::{InvalidLocation, Location};
pub use open::Freshness;
pub use records::{
    Approval, MAX_VALUE, NewVersion, Proposal, SecretId, SessionHead, SessionState, SessionVersion,
    VolumeRoot,
};
pub use refused::Refused;
pub use verify::Verified;
pub use witness::Witness;
pub use write::{FORGET_AT_ONCE, MAX_NAME, MAX_OPERATIONS, MAX_WRITE, Write};
pub use writer::Committed;

use cell::{CellId, Seals};
use chain::{ChainRow, Change};
use database::Database;
use memory::Memory;
use writer::Queued;

use crate::keys::RootKey;

/// An open store. Cloning it is cheap; all clones share one writer.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Queued>,
    writer: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

impl Store {
    /// Stores a write, all of it or nothing. When this returns, the write survives a crash and a
    /// loss of power, and the witness knows of it.
    ///
    /// A write whose caller stops waiting may be stored all the same.
    pub async fn commit(&self, write: Write) -> Result<Committed, StoreError> {
        write.check()?;
        let (answer, answered) = oneshot::channel();
        let stopped = || StoreError::Stopped("its writer has ended".into());
        self.queue
            .send(Queued { write, answer })
            .await
            .map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// Where the store is, as this process knows it: for clients and replicas to remember, and to
    /// [`confirm`](Store::confirm) later.
    pub fn position(&self) -> Position {
        self.shared.position()
    }

    /// Which store it is.
    pub fn id(&self) -> StoreId {
        self.shared.id
    }

    /// Checks a position that somebody saw: an error if this store is behind it or went another way.
    pub async fn confirm(&self, seen: Position) -> Result<(), StoreError> {
        self.refresh().await?;
        let now = self.position();
        self.shared.check_seen(&seen, &now).await
    }

    /// Looks at the chain, and takes in what other replicas wrote.
    pub async fn refresh(&self) -> Result<Position, StoreError> {
        let began = Instant::now();
        let floor = self.shared.position().sequence;
        let (chain, _) = self.shared.database.read_cell(&audit::tail()).await?;
        self.shared.follow(&chain, floor).await?;
        self.shared.looked.note(began);
        Ok(self.position())
    }

    /// As [`Store::refresh`], unless somebody did so less than `age` ago.
    pub async fn refresh_within(&self, age: Duration) -> Result<(), StoreError> {
        let looked = &self.shared.looked;
        if looked.is_within(age) {
            return Ok(());
        }
        // Of many who ask at once, one looks.
        let _turn = looked.turn.lock().await;
        if !looked.is_within(age) {
            self.refresh().await?;
        }
        Ok(())
    }

    /// The state of a session and of the secrets `secret` of it, in all their versions, as far as
    /// this process knows: it reads nothing. What this process wrote it knows at once, what others
    /// wrote since the last [`Store::refresh`].
    pub fn mark(&self, session: &str, secret: &str) -> Mark {
        self.shared.memory().mark(&[
            ids::session(session),
            CellId::new(Kind::Secret, &[session, secret], &[]),
        ])
    }

    /// Waits for the writes that are queued, lets the witness know, and closes the database. What
    /// other clones do afterwards fails.
    pub async fn close(self) -> Result<(), StoreError> {
        let Self {
            shared,
            queue,
            writer,
        } = self;
        drop(queue);
        if let Some(writer) = writer.lock().await.take() {
            shared.closing.notify_one();
            // It ends by itself; a panic in it was told to those who waited.
            let _ = writer.await;
        }
        let position = shared.position();
        shared.remember(position).await?;
        shared.database.close().await;
        Ok(())
    }
}

/// What readers and the writer share.
struct Shared {
    id: StoreId,
    root: RootKey,
    seals: Seals,
    database: Database,
    memory: RwLock<Memory>,
    witness: Option<Witness>,
    audit: Arc<dyn AuditLog>,
    closing: tokio::sync::Notify,
    looked: Looked,
}

/// When the chain was looked at last.
#[derive(Default)]
struct Looked {
    at: Mutex<Option<Instant>>,
    turn: tokio::sync::Mutex<()>,
}

impl Looked {
    /// Somebody has looked, and began at this time.
    fn note(&self, began: Instant) {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        *at = (*at).max(Some(began));
    }

    fn is_within(&self, age: Duration) -> bool {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| at.elapsed() < age)
    }
}

impl Shared {
    fn memory(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory
            .read()
            .expect("nothing panics while it holds the memory")
    }

    fn position(&self) -> Position {
        self.memory().position()
    }

    /// Takes in a transaction of our own, unless a reader was faster.
    fn advance(&self, to: Position, change: &Change) {
        let mut memory = self
            .memory
            .write()
            .expect("nothing panics while it holds the memory");
        if memory.position().sequence + 1 == to.sequence {
            memory.advance(to, change);
        }
    }

    /// Lets the witness know.
    async fn remember(&self, position: Position) -> Result<(), StoreError> {
        let Some(witness) = self.witness.clone() else {
            return Ok(());
        };
        let (root, id) = (self.root.clone(), self.id);
        tokio::task::spawn_blocking(move || witness.record(&root, id, position))
            .await
            .map_err(|error| StoreError::Stopped(format!("the witness was not written: {error}")))?
    }

    /// Brings the memory up to a row of the chain that was read after the memory was at `floor`.
    /// Every link in between is checked, so the row can only be one that follows from what we saw.
    async fn follow(&self, row: &ChainRow, floor: u64) -> Result<(), StoreError> {
        loop {
            let before = {
                let memory = self.memory();
                if row.position.sequence <= memory.position().sequence {
                    return memory.judge_chain(row, floor);
                }
                memory.position()
            };
            if row.store != self.id {
                return Err(StoreError::ChainTampered {
                    sequence: row.position.sequence,
                    what: "it is the chain of another store",
                });
            }
            row.open(&self.seals)?;
            let target = row.position.sequence;
            let rows = self
                .database
                .history(before.sequence, target, HISTORY_PAGE)
                .await?;
            let mut steps = Vec::with_capacity(rows.len());
            let mut at = before;
            for row in rows {
                let change = row.open_after(&self.seals, &at)?;
                at = row.position;
                steps.push((at, change));
            }
            if steps.is_empty() {
                return Err(StoreError::ChainTampered {
                    sequence: before.sequence + 1,
                    what: "a row of the history is missing",
                });
            }
            if at.sequence == target && at.head != row.position.head {
                return Err(StoreError::Forked { sequence: target });
            }
            for (position, change) in &steps {
                self.advance(*position, change);
            }
        }
    }

    /// The head after a transaction, as the store has it now.
    async fn head_at(&self, sequence: u64) -> Result<Option<Digest>, StoreError> {
        if let Some(head) = self.memory().head(sequence) {
            return Ok(Some(head));
        }
        let before = sequence.saturating_sub(1);
        let rows = self.database.history(before, sequence, 1).await?;
        Ok(rows.first().map(|row| row.position.head))
    }

    /// Whether `now`, which we trust, follows from `seen`.
    async fn check_seen(&self, seen: &Position, now: &Position) -> Result<(), StoreError> {
        check_seen(&self.database, &self.seals, seen, now).await
    }
}

/// Whether the position `now` of a store follows from `seen`: by every link in between.
async fn check_seen(
    database: &Database,
    seals: &Seals,
    seen: &Position,
    now: &Position,
) -> Result<(), StoreError> {
    if seen.sequence > now.sequence {
        return Err(StoreError::rolled_back(now, seen));
    }
    let mut at = *seen;
    while at.sequence < now.sequence {
        let rows = database
            .history(at.sequence, now.sequence, HISTORY_PAGE)
            .await?;
        if rows.is_empty() {
            return Err(StoreError::ChainTampered {
                sequence: at.sequence + 1,
                what: "a row of the history is missing",
            });
        }
        for row in rows {
            row.open_after(seals, &at)?;
            at = row.position;
        }
    }
    if at.head == now.head {
        Ok(())
    } else {
        Err(StoreError::Forked {
            sequence: at.sequence,
        })
    }
}

/// Rows of the history that are read at once.
const HISTORY_PAGE: u32 = 500;
