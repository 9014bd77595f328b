//! Why the database did not do as asked.

use mse_database::Location;
use mse_database::postgres::PostgresError;

/// Why the database did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("the database `{location}` cannot be opened: {source}")]
    Open {
        /// Which.
        location: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The server of the database is out of reach, or refuses us.
    #[error(
        "the database `{location}` cannot be used: {source}; check the URL (`--database`, MSE_SERVER_DATABASE, or `database` in the file of `--config`), and whether its server runs"
    )]
    Connect {
        /// Which, without user and password.
        location: String,
        /// Why.
        source: PostgresError,
    },
    /// Its tables cannot be brought up to date.
    #[error(
        "the tables of the database `{location}` cannot be brought up to date: {source}; {fix}"
    )]
    Migrate {
        /// Which.
        location: String,
        /// Why.
        source: sqlx::migrate::MigrateError,
        /// What to do.
        fix: &'static str,
    },
    /// It has no tables.
    #[error(
        "there is no platform in the database `{location}`; start `mse-server` once, or name where it is: `--data-dir`, or `--database`"
    )]
    NoPlatform {
        /// Which.
        location: String,
    },
    /// Its tables are of an older or a newer version.
    #[error(
        "the database `{location}` is of another version of mse-server; use the program that serves it, or start this one once to bring it up to date"
    )]
    OtherVersion {
        /// Which.
        location: String,
    },
    /// Another server runs the apps of this database.
    #[error(
        "the database `{location}` is in use by another mse-server; stop that one, or name another database"
    )]
    InUse {
        /// Which.
        location: String,
    },
    /// Another server has taken the database over.
    #[error(
        "another mse-server has taken over the database `{location}`; this one writes nothing any more, and ends its apps"
    )]
    TakenOver {
        /// Which.
        location: String,
    },
    /// Whether this server still is the one that runs the apps is not known.
    #[error(
        "the lock on the database `{location}` is lost with its connection; nothing is changed until it is held again"
    )]
    Unsure {
        /// Which.
        location: String,
    },
    /// The database is out of reach, or busy.
    #[error("the database is out of reach: {0}")]
    Away(#[source] sqlx::Error),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Query(#[source] sqlx::Error),
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
    /// Whether the same may work in a moment.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Unsure { .. })
    }

    pub(super) fn corrupt(what: &'static str, value: impl Into<String>) -> Self {
        Self::Corrupt {
            what,
            value: value.into(),
        }
    }

    pub(super) fn connect(location: &Location, source: impl Into<PostgresError>) -> Self {
        Self::Connect {
            location: location.to_string(),
            source: source.into(),
        }
    }
}
