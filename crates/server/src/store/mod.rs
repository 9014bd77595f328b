//! What the platform remembers: accounts, projects, hardware and apps, in SQLite.
//!
//! One file, write-ahead logged and flushed at every commit: what was acknowledged survives a
//! crash. Nothing secret is in it: tokens as digests, passwords as Argon2id, workloads in the
//! form that every verifier knows.

mod accounts;
mod apps;
mod ports;
mod projects;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, SqlSafeStr, SqlitePool};
use uuid::Uuid;

pub use accounts::{Account, AccountId};
pub use apps::{
    AppFilter, AppRecord, CreateRefused, Created, Idempotency, LIVE, NewApp, Transition,
};
pub use projects::{
    DefaultProject, HardwareGrant, HardwareRecord, InvalidGrant, ProjectId, ProjectRecord,
};

/// The database. Cloning it is cheap.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the database file, makes it if it is missing, and brings its tables up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // `mse-server token` may write while the server does.
            .busy_timeout(Duration::from_secs(10));
        let failed = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        let pool = SqlitePoolOptions::new()
            .max_connections(8)
            .connect_with(options)
            .await
            .map_err(failed)?;
        migrator()
            .run(&pool)
            .await
            .map_err(|source| StoreError::Migrate {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self { pool })
    }

    /// Waits for what is under way and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that holds the write lock from its beginning, so that what it reads is what
    /// it decides on.
    async fn begin_write(&self) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, StoreError> {
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Why the database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("the database `{path}` cannot be opened: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// Its tables cannot be brought up to date.
    #[error(
        "the database `{path}` cannot be brought up to date: {source}; was it used by a newer mse-server?"
    )]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("the database failed: {0}")]
    Query(#[from] sqlx::Error),
    /// A row holds what no row of ours holds.
    #[error("the database holds `{value}` as {what}, which cannot be")]
    Corrupt {
        /// Which field.
        what: &'static str,
        /// What it holds.
        value: String,
    },
}

impl StoreError {
    fn corrupt(what: &'static str, value: impl Into<String>) -> Self {
        Self::Corrupt {
            what,
            value: value.into(),
        }
    }
}

fn migrator() -> Migrator {
    let migrations = [(1, "init", include_str!("../../migrations/0001_init.sql"))];
    Migrator::with_migrations(
        migrations
            .into_iter()
            .map(|(version, name, sql)| {
                let sql = sql.into_sql_str();
                Migration::new(version, name.into(), MigrationType::Simple, sql, false)
            })
            .collect(),
    )
}

/// The form of times in the database.
fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

fn time(row: &SqliteRow, column: &'static str) -> Result<Timestamp, StoreError> {
    let millis: i64 = row.try_get(column)?;
    Timestamp::from_millisecond(millis).map_err(|_| StoreError::corrupt(column, millis.to_string()))
}

fn optional_time(row: &SqliteRow, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
    let millis: Option<i64> = row.try_get(column)?;
    millis
        .map(|millis| {
            Timestamp::from_millisecond(millis)
                .map_err(|_| StoreError::corrupt(column, millis.to_string()))
        })
        .transpose()
}

fn uuid(row: &SqliteRow, column: &'static str) -> Result<Uuid, StoreError> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| StoreError::corrupt(column, text))
}

/// A number that the database keeps as a 64-bit integer.
fn number<T: TryFrom<i64>>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    let value: i64 = row.try_get(column)?;
    T::try_from(value).map_err(|_| StoreError::corrupt(column, value.to_string()))
}

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::apps::tests::app_named;
    use super::*;

    pub(crate) async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("mse.db")).await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn opening_again_keeps_what_was_written() {
        let (folder, store) = store().await;
        let account = store
            .ensure_account("a@example.org", Timestamp::now())
            .await
            .unwrap();
        store.close().await;
        let again = Store::open(&folder.path().join("mse.db")).await.unwrap();
        let found = again.account_by_email("A@EXAMPLE.org").await.unwrap();
        assert_eq!(found.unwrap().id, account.id);
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mse.db");
        std::fs::write(&path, "not a database at all, and longer than a header").unwrap();
        let Err(error) = Store::open(&path).await else {
            panic!("opened a text file");
        };
        assert!(error.to_string().contains("mse.db"), "{error}");
    }
}
