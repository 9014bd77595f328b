//! What the platform remembers: accounts, projects, hardware and apps, in SQLite or PostgreSQL.
//!
//! What was acknowledged survives a crash: the file is write-ahead logged and flushed at every
//! commit, and a PostgreSQL that would lose commits is refused. Nothing secret is in it: tokens as
//! digests, passwords as Argon2id, workloads in the form that every verifier knows.
//!
//! | module | what |
//! | --- | --- |
//! | `accounts`, `projects`, `apps`, `ports` | the rows, and the rules that hold between them |
//! | `database` | one set of statements for both databases |
//! | `tables` | the tables, and the words in which the two differ |
//! | `lease` | that only one server runs the apps of a PostgreSQL database |

mod accounts;
mod apps;
mod database;
mod error;
mod lease;
mod ports;
mod projects;
mod tables;

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use mse_database::{Location, postgres};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::watch;
use uuid::Uuid;

pub use accounts::{Account, AccountId};
pub use apps::{
    AppFilter, AppRecord, CreateRefused, Created, Idempotency, LIVE, NewApp, Transition,
};
pub use error::StoreError;
pub use lease::Hold;
pub use projects::{
    DefaultProject, HardwareGrant, HardwareRecord, InvalidGrant, ProjectId, ProjectRecord,
};

use database::{Database, Query, Row, Transaction, patiently, query};
use lease::{Lease, Lock};

/// The database. Cloning it is cheap.
#[derive(Clone)]
pub struct Store {
    database: Database,
    location: Location,
    /// Of the server that runs the apps, on PostgreSQL. A file is guarded by the lock of its folder.
    lease: Option<Lease>,
}

impl Store {
    /// Opens the database for the server that runs the apps: makes the file if it is missing, and
    /// brings the tables up to date.
    ///
    /// On PostgreSQL there is one such server at a time; another one is refused.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        let (database, lock) = match location {
            Location::Sqlite(path) => (sqlite(location, path, Missing::Make).await?, None),
            Location::Postgres(options) => {
                // First the lock: no table is changed under another server.
                let lock = Lock::take(location, options).await?;
                (postgres(location, options).await?, Some(lock))
            }
        };
        tables::bring_up_to_date(&database, location).await?;
        let lease = match lock {
            Some(lock) => Some(lock.hold().await?),
            None => None,
        };
        Ok(Self {
            database,
            location: location.clone(),
            lease,
        })
    }

    /// Opens the database of a platform beside the server that runs it, for commands that change
    /// accounts. Refused if there is none, or of another version.
    pub async fn beside_the_server(location: &Location) -> Result<Self, StoreError> {
        let database = match location {
            Location::Sqlite(path) if !path.exists() => {
                return Err(StoreError::NoPlatform {
                    location: location.to_string(),
                });
            }
            Location::Sqlite(path) => sqlite(location, path, Missing::Refuse).await?,
            Location::Postgres(options) => postgres(location, options).await?,
        };
        tables::check(&database, location).await?;
        Ok(Self {
            database,
            location: location.clone(),
            lease: None,
        })
    }

    /// How sure this server is to be the only one, as it changes. None if nothing can change it.
    pub fn watch_hold(&self) -> Option<watch::Receiver<Hold>> {
        self.lease.as_ref().map(Lease::watch)
    }

    /// That another server has taken the database over. Never, on SQLite.
    pub async fn taken_over(&self) -> StoreError {
        if let Some(mut hold) = self.watch_hold()
            && hold.wait_for(|hold| *hold == Hold::TakenOver).await.is_ok()
        {
            return StoreError::TakenOver {
                location: self.location.to_string(),
            };
        }
        std::future::pending().await
    }

    /// Waits for what is under way, closes the database, and lets another server have it.
    pub async fn close(&self) {
        self.database.close().await;
        if let Some(lease) = &self.lease {
            lease.end().await;
        }
    }

    /// A transaction that holds the write lock from its beginning, so that what it reads is what
    /// it decides on.
    async fn begin_write(&self) -> Result<Transaction, StoreError> {
        if let Some(lease) = &self.lease {
            lease.check()?;
        }
        let pool = match &self.database {
            Database::Sqlite(pool) => {
                return Ok(Transaction::Sqlite(
                    pool.begin_with("BEGIN IMMEDIATE").await?,
                ));
            }
            Database::Postgres(pool) => pool,
        };
        // Each statement sees what was committed before it began: so what follows the lock sees all
        // that earlier holders did, whatever the database takes for its default.
        let begun = pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE");
        let mut transaction = Transaction::Postgres(patiently(begun).await?);
        let turn = query("SELECT run FROM server WHERE id = 1 FOR UPDATE");
        let row = turn.fetch_optional_in(&mut transaction).await?;
        let row = row.ok_or_else(|| StoreError::corrupt("server", ""))?;
        if let Some(lease) = &self.lease {
            lease.check_row(&row.get::<String>("run")?)?;
        }
        Ok(transaction)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Refuse,
}

async fn sqlite(
    location: &Location,
    path: &Path,
    missing: Missing,
) -> Result<Database, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(missing == Missing::Make)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // `mse-server token` may write while the server does.
        .busy_timeout(Duration::from_secs(10));
    let pool = SqlitePoolOptions::new()
        .max_connections(8)
        .connect_with(options)
        .await
        .map_err(|source| StoreError::Open {
            location: location.to_string(),
            source,
        })?;
    Ok(Database::Sqlite(pool))
}

async fn postgres(location: &Location, options: &PgConnectOptions) -> Result<Database, StoreError> {
    let pool = postgres::pool(options, 8)
        .await
        .map_err(|source| StoreError::connect(location, source))?;
    Ok(Database::Postgres(pool))
}

/// The form of times in the database.
fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

fn time(row: &Row, column: &'static str) -> Result<Timestamp, StoreError> {
    let millis: i64 = row.get(column)?;
    Timestamp::from_millisecond(millis).map_err(|_| StoreError::corrupt(column, millis.to_string()))
}

fn optional_time(row: &Row, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    let millis: Option<i64> = row.get(column)?;
    millis
        .map(|millis| {
            Timestamp::from_millisecond(millis)
                .map_err(|_| StoreError::corrupt(column, millis.to_string()))
        })
        .transpose()
}

fn uuid(row: &Row, column: &'static str) -> Result<Uuid, StoreError> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| StoreError::corrupt(column, text))
}

/// A number that the database keeps as a 64-bit integer.
fn number<T: TryFrom<i64>>(row: &Row, column: &'static str) -> Result<T, StoreError> {
    let value: i64 = row.get(column)?;
    T::try_from(value).map_err(|_| StoreError::corrupt(column, value.to_string()))
}

#[cfg(test)]
pub(crate) mod tests;
