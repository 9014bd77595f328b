//! Why the store did not do as asked.

use std::path::PathBuf;

use super::cell::CellId;
use super::chain::{Position, StoreId};
use super::refused::Refused;
use crate::keys::KeyId;

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The write itself is refused: nothing is wrong with the store.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The database cannot be reached or opened.
    #[error("the store `{location}` cannot be opened: {source}")]
    Connect {
        /// Which database, without its password.
        location: String,
        /// Why.
        source: sqlx::Error,
    },
    /// Its tables cannot be brought up to date.
    #[error(
        "the tables of the store `{location}` cannot be brought up to date: {source}; was it used by a newer mse-cas?"
    )]
    Migrate {
        /// Which database.
        location: String,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// There is nothing to open.
    #[error(
        "`{location}` holds no store; create one if this is a new CAS, and never otherwise: restore its backup"
    )]
    NoStore {
        /// Which database.
        location: String,
    },
    /// There is a store already.
    #[error("`{location}` holds store {store} already; open it, or name another place")]
    StoreExists {
        /// Which database.
        location: String,
        /// What it holds.
        store: StoreId,
    },
    /// The store belongs to another root key.
    #[error(
        "the store is sealed under root key {expected}, and this CAS has {given}; give it the right key file or shares"
    )]
    WrongKey {
        /// The store's.
        expected: KeyId,
        /// Ours.
        given: KeyId,
    },
    /// The database would lose acknowledged writes.
    #[error(
        "the database has `{setting}` = `{value}`, with which a crash loses acknowledged writes; set it to `{wanted}`"
    )]
    NotDurable {
        /// The setting.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A cell is not as the store left it.
    #[error(
        "the store was tampered with at {cell}: {what}; stop this CAS and restore a backup that is not behind its witness"
    )]
    Tampered {
        /// Which cell.
        cell: String,
        /// How it shows.
        what: &'static str,
    },
    /// The chain is not as the store left it.
    #[error(
        "the store's chain was tampered with at transaction {sequence}: {what}; stop this CAS and restore a backup that is not behind its witness"
    )]
    ChainTampered {
        /// Which transaction.
        sequence: u64,
        /// How it shows.
        what: &'static str,
    },
    /// The store is older than what was seen of it before.
    #[error(
        "THE STORE WAS ROLLED BACK: it is at transaction {found}, but transaction {seen} was seen before; someone restored an old copy. Restore the newest one; to go on with the old one and lose what came after it, say so explicitly"
    )]
    RolledBack {
        /// Where it is.
        found: u64,
        /// What was seen.
        seen: u64,
    },
    /// The store went another way than the one that was seen before.
    #[error(
        "THE STORE WAS FORKED: its transaction {sequence} is not the one that was seen before; someone restored an old copy and wrote to it. Restore the newest one of the right branch; to go on with this one, say so explicitly"
    )]
    Forked {
        /// The transaction that differs.
        sequence: u64,
    },
    /// The witness is missing though the store is not new.
    #[error(
        "the witness `{path}` is missing, but the store is at transaction {sequence}: nothing shows that it was not rolled back. Put the witness back, or open the store as it is found, explicitly"
    )]
    WitnessMissing {
        /// Where it should be.
        path: PathBuf,
        /// Where the store is.
        sequence: u64,
    },
    /// The witness cannot be read, or is not ours.
    #[error("the witness `{path}` is of no use: {what}")]
    WitnessBroken {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The audit log did not take a leaf.
    #[error("the audit log refused, so nothing was changed: {0}")]
    Audit(String),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A transaction failed for its whole batch.
    #[error("the write failed, and nothing of it was stored: {0}")]
    WriteFailed(String),
    /// Nobody knows whether a transaction was stored.
    #[error(
        "it is unknown whether the write was stored, because {0}; open the store again and look before repeating it"
    )]
    OutcomeUnknown(String),
    /// The writer stopped after an error that leaves the database in doubt.
    #[error("the store takes no more writes: {0}; restart this CAS")]
    Stopped(String),
    /// A cell kept changing while it was read.
    #[error("{cell} changed at each of {attempts} attempts to read it; try again later")]
    Busy {
        /// Which cell.
        cell: String,
        /// How often it was read.
        attempts: u32,
    },
    /// A file of a backup.
    #[error("the backup `{path}` failed: {what}")]
    Backup {
        /// Which file.
        path: PathBuf,
        /// What happened.
        what: String,
    },
}

impl StoreError {
    pub(super) fn tampered(cell: &CellId, what: &'static str) -> Self {
        Self::Tampered {
            cell: cell.to_string(),
            what,
        }
    }

    pub(super) fn rolled_back(found: &Position, seen: &Position) -> Self {
        Self::RolledBack {
            found: found.sequence,
            seen: seen.sequence,
        }
    }
}
