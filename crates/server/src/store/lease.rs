//! That only one server runs the apps of a PostgreSQL database.
//!
//! A server holds an advisory lock of the database by a connection of its own for as long as it runs:
//! who does not get it does not start. With it, it writes its id into the row `server`. When the
//! connection is lost, the server does not know whether another one has started: it changes nothing
//! until it has the lock again *and* the row still has its id. If the row has another id, that server
//! has acted meanwhile, and this one is over.
//!
//! A write looks at the row, too, under its lock: so one that was decided on before the loss was
//! noticed is refused all the same.

use std::sync::Arc;
use std::time::Duration;

use mse_database::{Location, postgres};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::StoreError;

/// The lock, before anything was done with it.
pub(super) struct Lock {
    location: Location,
    options: PgConnectOptions,
    connection: PgConnection,
}

impl Lock {
    /// Takes the lock. A server that ended a moment ago may still be seen for a while.
    pub(super) async fn take(
        location: &Location,
        options: &PgConnectOptions,
    ) -> Result<Self, StoreError> {
        let failed = |source| StoreError::connect(location, source);
        let mut connection = postgres::connect(options)
            .await
            .map_err(|source| StoreError::connect(location, source))?;
        let deadline = Instant::now() + LEAVING;
        while !try_lock(&mut connection).await.map_err(failed)? {
            if Instant::now() > deadline {
                return Err(StoreError::InUse {
                    location: location.to_string(),
                });
            }
            sleep(Duration::from_millis(250)).await;
        }
        Ok(Self {
            location: location.clone(),
            options: options.clone(),
            connection,
        })
    }

    /// Writes down who has it, and watches the connection from then on.
    pub(super) async fn hold(mut self) -> Result<Lease, StoreError> {
        let run = Uuid::new_v4().to_string();
        sqlx::query("UPDATE server SET run = $1 WHERE id = 1")
            .bind(&run)
            .execute(&mut self.connection)
            .await
            .map_err(|source| StoreError::connect(&self.location, source))?;
        let (state, _) = watch::channel(Hold::Held { times: 1 });
        let closing = CancellationToken::new();
        let keeper = Keeper {
            lock: self,
            run: run.clone(),
            state: state.clone(),
            closing: closing.clone(),
        };
        let location = keeper.lock.location.clone();
        Ok(Lease(Arc::new(Held {
            location,
            run,
            state,
            closing,
            keeper: tokio::sync::Mutex::new(Some(tokio::spawn(keeper.keep()))),
        })))
    }
}

/// How sure a server is to be the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It has the lock, for this many times.
    Held {
        /// 1, and one more after each loss.
        times: u64,
    },
    /// It has lost the connection that holds the lock, and asks for it again.
    Unsure,
    /// Another server has the database.
    TakenOver,
}

/// The lock of a server that runs. It is given back by [`Lease::end`], or when all clones are gone.
#[derive(Clone)]
pub(super) struct Lease(Arc<Held>);

struct Held {
    location: Location,
    run: String,
    state: watch::Sender<Hold>,
    closing: CancellationToken,
    keeper: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl Lease {
    /// How sure it is, as it changes.
    pub(super) fn watch(&self) -> watch::Receiver<Hold> {
        self.0.state.subscribe()
    }

    /// Before anything is asked of the database.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let location = || self.0.location.to_string();
        match *self.0.state.borrow() {
            Hold::Held { .. } => Ok(()),
            Hold::Unsure => Err(StoreError::Unsure {
                location: location(),
            }),
            Hold::TakenOver => Err(StoreError::TakenOver {
                location: location(),
            }),
        }
    }

    /// What the row says, once it is locked.
    pub(super) fn check_row(&self, run: &str) -> Result<(), StoreError> {
        if run == self.0.run {
            return Ok(());
        }
        self.0.state.send_replace(Hold::TakenOver);
        self.check()
    }

    /// Gives the lock back.
    pub(super) async fn end(&self) {
        self.0.closing.cancel();
        if let Some(keeper) = self.0.keeper.lock().await.take() {
            // A panic in it has let go of the connection as well.
            let _ = keeper.await;
        }
    }
}

/// The task that looks after the connection.
struct Keeper {
    lock: Lock,
    run: String,
    state: watch::Sender<Hold>,
    closing: CancellationToken,
}

impl Keeper {
    async fn keep(mut self) {
        let closing = self.closing.clone();
        tokio::select! {
            () = closing.cancelled() => {}
            () = self.watch() => {}
        }
        // The lock ends with the connection, in order or not.
        let _ = timeout(ANSWER, self.lock.connection.close()).await;
    }

    /// Until another server has the database.
    async fn watch(&mut self) {
        let mut times = 1;
        loop {
            let lost = self.until_lost().await;
            if !self.set(Hold::Unsure) {
                return;
            }
            let location = self.lock.location.to_string();
            tracing::error!(location, %lost, "the lock on the database is lost with its connection; nothing is changed until it is held again");
            while !self.ask_again().await {
                sleep(PAUSE).await;
            }
            times += 1;
            if !self.set(Hold::Held { times }) {
                tracing::error!(location, "another mse-server has taken over the database");
                return;
            }
            tracing::info!(location, "the lock on the database is held again");
        }
    }

    async fn until_lost(&mut self) -> String {
        loop {
            sleep(PAUSE).await;
            match timeout(ANSWER, self.lock.connection.ping()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return format!("no answer within {} s", ANSWER.as_secs()),
            }
        }
    }

    /// Whether it is decided: either the lock is held again, or another server has the database.
    async fn ask_again(&mut self) -> bool {
        let asked = async {
            let mut connection = match postgres::connect(&self.lock.options).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(%error, "the database is still out of reach");
                    return Ok(None);
                }
            };
            // Who has the lock wrote its id after that: so the row is looked at last.
            let locked = try_lock(&mut connection).await?;
            let run: String = sqlx::query_scalar("SELECT run FROM server WHERE id = 1")
                .fetch_one(&mut connection)
                .await?;
            Ok::<_, sqlx::Error>(Some((connection, locked, run)))
        };
        match timeout(ASKING, asked).await {
            Ok(Ok(Some((_, _, run)))) if run != self.run => {
                self.state.send_replace(Hold::TakenOver);
                true
            }
            Ok(Ok(Some((connection, true, _)))) => {
                self.lock.connection = connection;
                true
            }
            // The database still sees our old connection, or another server is just starting.
            Ok(Ok(Some((_, false, _)) | None)) | Err(_) => false,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the lock cannot be asked for");
                false
            }
        }
    }

    /// `false`: another server has the database, which nothing changes any more.
    fn set(&self, hold: Hold) -> bool {
        self.state.send_if_modified(|now| {
            let changes = *now != Hold::TakenOver;
            if changes {
                *now = hold;
            }
            changes
        })
    }
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(connection)
        .await
}

/// `mse-serv`, as a number. Advisory locks of one database know nothing of those of another.
const LOCK: i64 = i64::from_be_bytes(*b"mse-serv");
/// So long a server that has ended may be seen.
const LEAVING: Duration = Duration::from_secs(5);
/// Between two looks at the connection, and between two attempts.
const PAUSE: Duration = Duration::from_secs(2);
/// So long the database may take to answer that it is there.
const ANSWER: Duration = Duration::from_secs(5);
/// So long one attempt to get the lock back may take.
const ASKING: Duration = Duration::from_secs(20);
