//! The tables, for either database.

use mse_database::Location;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::StoreError;
use super::database::{Database, query};

/// Makes the tables, or brings them up to date.
pub(super) async fn bring_up_to_date(
    database: &Database,
    location: &Location,
) -> Result<(), StoreError> {
    let done = match database {
        Database::Sqlite(pool) => migrator(SQLITE).run(pool).await,
        Database::Postgres(pool) => migrator(POSTGRES).run(pool).await,
    };
    done.map_err(|source| StoreError::Migrate {
        location: location.to_string(),
        fix: if lacks_rights(&source) {
            "give the user of its URL the right to make tables in its schema"
        } else {
            "was it used by a newer mse-server?"
        },
        source,
    })
}

/// Refuses a database without the tables that this program knows, and changes nothing of it.
pub(super) async fn check(database: &Database, location: &Location) -> Result<(), StoreError> {
    let kind = match database {
        Database::Sqlite(_) => SQLITE,
        Database::Postgres(_) => POSTGRES,
    };
    let latest = query("SELECT max(version) AS version FROM _sqlx_migrations");
    let found: Option<i64> = match latest.fetch_optional(database).await {
        Ok(Some(row)) => row.get("version")?,
        Ok(None) => None,
        Err(error) if is_no_table(&error) => None,
        Err(error) => return Err(error.into()),
    };
    let wanted = migrations(kind).map(|(version, ..)| version).max();
    let location = || location.to_string();
    match found {
        None => Err(StoreError::NoPlatform {
            location: location(),
        }),
        found if found == wanted => Ok(()),
        Some(_) => Err(StoreError::OtherVersion {
            location: location(),
        }),
    }
}

/// The words in which the two differ: what the file says, and what it is for this database.
type Words = &'static [(&'static str, &'static str)];

#[derive(Clone, Copy)]
struct Kind {
    words: Words,
    has_servers: bool,
}

/// The files are SQLite's.
const SQLITE: Kind = Kind {
    words: &[],
    has_servers: false,
};

const POSTGRES: Kind = Kind {
    words: &[
        // Emails have an index that ignores case.
        (" COLLATE NOCASE UNIQUE", ""),
        (
            "INTEGER PRIMARY KEY AUTOINCREMENT",
            "BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY",
        ),
    ],
    has_servers: true,
};

fn migrations(kind: Kind) -> impl Iterator<Item = (i64, &'static str, &'static str)> {
    [
        (1, "init", include_str!("../../migrations/0001_init.sql")),
        (
            2,
            "emails",
            include_str!("../../migrations/0002_emails.sql"),
        ),
        (
            3,
            "server",
            include_str!("../../migrations/0003_server.sql"),
        ),
    ]
    .into_iter()
    .filter(move |(_, name, _)| kind.has_servers || *name != "server")
}

fn migrator(kind: Kind) -> Migrator {
    Migrator::with_migrations(
        migrations(kind)
            .map(|(version, name, sql)| {
                let sql = said(kind.words, sql);
                Migration::new(version, name.into(), MigrationType::Simple, sql, false)
            })
            .collect(),
    )
}

fn said(words: Words, sql: &'static str) -> SqlStr {
    let mut text = sql.to_owned();
    for (theirs, ours) in words {
        text = text.replace(theirs, ours);
    }
    // Nothing of it comes from outside.
    AssertSqlSafe(text).into_sql_str()
}

fn lacks_rights(error: &sqlx::migrate::MigrateError) -> bool {
    use sqlx::migrate::MigrateError::{Execute, ExecuteMigration};
    match error {
        Execute(error) | ExecuteMigration(error, _) => code(error) == INSUFFICIENT_PRIVILEGE,
        _ => false,
    }
}

fn is_no_table(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(found) => {
            code(error) == UNDEFINED_TABLE || found.message().starts_with("no such table")
        }
        _ => false,
    }
}

fn code(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .unwrap_or_default()
        .into_owned()
}

/// As far as an earlier program did.
#[cfg(test)]
pub(super) async fn bring_up_to(database: &Database, version: i64) {
    match database {
        Database::Sqlite(pool) => migrator(SQLITE).run_to(version, pool).await,
        Database::Postgres(pool) => migrator(POSTGRES).run_to(version, pool).await,
    }
    .unwrap();
}

const INSUFFICIENT_PRIVILEGE: &str = "42501";
const UNDEFINED_TABLE: &str = "42P01";
