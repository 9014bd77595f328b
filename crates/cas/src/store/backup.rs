//! Backups: a copy of one moment, made while the store is in use.
//!
//! A backup is one SQLite file, whichever database the store is on: so a store can move from one to
//! the other. It is sealed as the store is, and worth as much to a thief: nothing without the root key.

use std::fs::File;
use std::path::Path;

use mse_database::Location;

use super::cell::Seals;
use super::chain::Position;
use super::database::{Database, Start, Transaction, connect};
use super::error::StoreError;
use super::{Freshness, Store, check_seen, verify};
use crate::keys::RootKey;

impl Store {
    /// Copies the store into a new file, and says which position it holds. Writers go on meanwhile.
    pub async fn backup(&self, path: &Path) -> Result<Position, StoreError> {
        let location = Location::Sqlite(path.to_owned());
        let copy = connect(&location, Start::NewBackup).await?;
        let mut snapshot = self.shared.database.snapshot().await?;
        let copied = copy_all(&mut snapshot, &location, &copy).await;
        copy.close().await;
        let failed = |what: String| StoreError::Backup {
            path: path.to_owned(),
            what,
        };
        match copied {
            Ok(position) => {
                sync(path).map_err(|error| failed(error.to_string()))?;
                Ok(position)
            }
            Err(error) => {
                // Half a backup is worse than none.
                std::fs::remove_file(path).map_err(|also| {
                    failed(format!("{error}; and the half-written file stays: {also}"))
                })?;
                Err(error)
            }
        }
    }

    /// Puts a backup into an empty place. All of it is verified first. Refused if `freshness` shows
    /// that the store was further; told to take it [as found](Freshness::AsFound), everything after
    /// the backup is lost, and each replica and client that saw more will refuse this store until it
    /// is told, too.
    pub async fn restore(
        backup: &Path,
        location: &Location,
        root: &RootKey,
        freshness: &Freshness,
    ) -> Result<Position, StoreError> {
        let source = Location::Sqlite(backup.to_owned());
        let copy = connect(&source, Start::ReadBackup).await?;
        let restored = restore(&source, &copy, location, root, freshness).await;
        copy.close().await;
        restored
    }
}

async fn restore(
    source: &Location,
    copy: &Database,
    location: &Location,
    root: &RootKey,
    freshness: &Freshness,
) -> Result<Position, StoreError> {
    let mut snapshot = copy.snapshot().await?;
    let row = snapshot.chain().await?.ok_or_else(|| StoreError::NoStore {
        location: source.to_string(),
    })?;
    if row.key != root.id() {
        return Err(StoreError::WrongKey {
            expected: row.key,
            given: root.id(),
        });
    }
    let id = row.store;
    let seals = Seals::new(root, id);
    let position = verify::verify(&mut snapshot, &seals, id).await?.position;
    let witness = match freshness {
        Freshness::Witness(witness) => {
            let seen = witness.seen(root, id)?;
            let seen = seen.ok_or_else(|| StoreError::WitnessMissing {
                path: witness.path().to_owned(),
                sequence: position.sequence,
            })?;
            check_seen(copy, &seals, &seen, &position).await?;
            Some(witness)
        }
        Freshness::Seen {
            position: seen,
            witness,
        } => {
            check_seen(copy, &seals, seen, &position).await?;
            witness.as_ref()
        }
        Freshness::AsFound(witness) => {
            tracing::warn!(
                store = %id,
                sequence = position.sequence,
                "a backup is restored without proof that it is the newest: what came after it is lost"
            );
            witness.as_ref()
        }
    };
    let target = connect(location, Start::New).await?;
    let copied = copy_all(&mut snapshot, location, &target).await;
    target.close().await;
    let position = copied?;
    if let Some(witness) = witness {
        witness.record(root, id, position)?;
    }
    Ok(position)
}

/// Copies what a transaction sees into a database that holds no store.
async fn copy_all(
    from: &mut Transaction,
    location: &Location,
    to: &Database,
) -> Result<Position, StoreError> {
    let mut target = to.begin_first().await?;
    if let Some(found) = target.chain().await? {
        return Err(StoreError::StoreExists {
            location: location.to_string(),
            store: found.store,
        });
    }
    let row = from.chain().await?.ok_or(StoreError::ChainTampered {
        sequence: 0,
        what: "the chain's row is gone",
    })?;
    target.set_chain(&row).await?;
    let mut after = 0;
    loop {
        let rows = from.history_after(after, PAGE).await?;
        let Some(last) = rows.last() else {
            break;
        };
        after = last.position.sequence;
        for row in &rows {
            target.add_history(row).await?;
        }
    }
    let mut after = None;
    loop {
        let cells = from.cells_after(after.as_ref(), PAGE).await?;
        let Some(last) = cells.last() else {
            break;
        };
        after = Some(last.id.clone());
        target.put_cells(&cells).await?;
    }
    target.commit().await?;
    Ok(row.position)
}

/// Makes the file and its name last.
fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    match path.parent() {
        Some(folder) if folder != Path::new("") => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Rows that are held in memory at once.
const PAGE: u32 = 64;
