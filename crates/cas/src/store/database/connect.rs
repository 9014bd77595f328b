//! Connecting: with settings under which an acknowledged write is a lasting one.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use mse_database::Location;
use mse_database::postgres::PostgresError;
use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::Database;
use crate::store::error::StoreError;

/// Whether there has to be a store already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Start {
    /// A new one is made.
    New,
    /// There is one.
    Existing,
    /// A new one is made in a single file that is complete at each commit.
    NewBackup,
    /// There is one in such a file, which is not touched.
    ReadBackup,
}

/// Connects, and brings the tables up to date.
pub(in crate::store) async fn connect(
    location: &Location,
    start: Start,
) -> Result<Database, StoreError> {
    match location {
        Location::Sqlite(path) => sqlite(location, path, start).await,
        Location::Postgres(options) => postgres(location, options).await,
    }
}

async fn sqlite(location: &Location, path: &Path, start: Start) -> Result<Database, StoreError> {
    let failed = |source| StoreError::Connect {
        location: location.to_string(),
        source,
    };
    match start {
        // Made by us, so that nobody else can read it; SQLite gives its log the same mode.
        Start::New => {
            make_private(path, OpenOptions::new().create(true).truncate(false)).map_err(failed)?;
        }
        Start::NewBackup => {
            make_private(path, OpenOptions::new().create_new(true)).map_err(failed)?;
        }
        Start::Existing | Start::ReadBackup if !path.exists() => {
            return Err(StoreError::NoStore {
                location: location.to_string(),
            });
        }
        Start::Existing | Start::ReadBackup => {}
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(Duration::from_secs(10));
    let options = match start {
        Start::New | Start::Existing => options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // Freed pages are zeroed: what was removed is not left lying in the file.
            .pragma("secure_delete", "ON"),
        Start::NewBackup => options
            .journal_mode(SqliteJournalMode::Delete)
            .synchronous(SqliteSynchronous::Full),
        Start::ReadBackup => options.read_only(true),
    };
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options.clone())
        .await
        .map_err(failed)?;
    if start != Start::ReadBackup {
        migrate(location, migrator().run(&writer).await)?;
    }
    let readers = SqlitePoolOptions::new()
        .max_connections(8)
        .connect_with(options.pragma("query_only", "ON"))
        .await
        .map_err(failed)?;
    Ok(Database::Sqlite { readers, writer })
}

fn make_private(path: &Path, options: &mut OpenOptions) -> Result<(), sqlx::Error> {
    options.write(true).mode(0o600).open(path)?;
    Ok(())
}

async fn postgres(location: &Location, options: &PgConnectOptions) -> Result<Database, StoreError> {
    let pool = mse_database::postgres::pool(options, 10)
        .await
        .map_err(|error| match error {
            PostgresError::Failed(source) => StoreError::Connect {
                location: location.to_string(),
                source,
            },
            PostgresError::NotDurable {
                setting,
                value,
                wanted,
            } => StoreError::NotDurable {
                setting,
                value,
                wanted,
            },
        })?;
    migrate(location, migrator().run(&pool).await)?;
    Ok(Database::Postgres(pool))
}

fn migrate(
    location: &Location,
    result: Result<(), sqlx::migrate::MigrateError>,
) -> Result<(), StoreError> {
    result.map_err(|source| StoreError::Migrate {
        location: location.to_string(),
        source,
    })
}

fn migrator() -> Migrator {
    let migrations = [(
        1,
        "store",
        include_str!("../../../migrations/0001_store.sql"),
    )];
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
