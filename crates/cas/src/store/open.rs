//! Making a store, and opening one.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use mse_crypto::random;
use mse_database::Location;
use tokio::sync::mpsc;

use super::audit::AuditLog;
use super::cell::Seals;
use super::chain::{ChainRow, Position, StoreId, Sum};
use super::database::{Database, Start, connect};
use super::error::StoreError;
use super::memory::Memory;
use super::witness::Witness;
use super::{Looked, Shared, Store, check_seen, verify, writer};
use crate::keys::RootKey;

/// What has to show that a store is not an old copy of itself.
#[derive(Clone, Debug)]
pub enum Freshness {
    /// The witness: the store must be where it saw it, or further.
    Witness(Witness),
    /// A position that somebody saw who is believed, and the witness (if any) as far as there is one:
    /// for a replica that is new.
    Seen {
        /// The store must be there, or further.
        position: Position,
        /// Where this process notes it.
        witness: Option<Witness>,
    },
    /// Nothing: the store is taken as it is found, and the witness (if any) is set back to it. For
    /// the operator who lost the witness, or who restores an old backup knowing what is lost.
    AsFound(Option<Witness>),
}

impl Store {
    /// Makes a new, empty store. Refused if there is one, or if the witness is of an earlier one.
    pub async fn create(
        location: &Location,
        root: &RootKey,
        audit: Arc<dyn AuditLog>,
        witness: Option<Witness>,
    ) -> Result<Self, StoreError> {
        if let Some(witness) = &witness
            && witness.path().exists()
        {
            return Err(StoreError::WitnessBroken {
                path: witness.path().to_owned(),
                what: "it exists already, so there was a store; restore that one's backup, or name another path for the new one's witness".into(),
            });
        }
        let database = connect(location, Start::New).await?;
        let mut transaction = database.begin_first().await?;
        if let Some(found) = transaction.chain().await? {
            return Err(StoreError::StoreExists {
                location: location.to_string(),
                store: found.store,
            });
        }
        let id = StoreId(random::bytes());
        let seals = Seals::new(root, id);
        let position = Position::genesis(id);
        let row = ChainRow::seal(&seals, id, root.id(), position, Sum::default());
        transaction.set_chain(&row).await?;
        transaction.commit().await?;
        let shared = Shared {
            id,
            root: root.clone(),
            seals,
            database,
            memory: RwLock::new(Memory::new(position, BTreeMap::new())),
            witness,
            audit,
            closing: tokio::sync::Notify::new(),
            looked: Looked::default(),
        };
        shared.remember(position).await?;
        Ok(Self::start(shared))
    }

    /// Opens a store. Every cell must be there and be the newest of its kind: if one is not, the
    /// error names it. The values are looked at when they are read, and by [`Store::verify`].
    pub async fn open(
        location: &Location,
        root: &RootKey,
        audit: Arc<dyn AuditLog>,
        freshness: Freshness,
    ) -> Result<Self, StoreError> {
        let database = connect(location, Start::Existing).await?;
        let loaded = load(&database, location, root).await?;
        let Loaded {
            id,
            seals,
            position,
            memory,
        } = loaded;
        let witness = match freshness {
            Freshness::Witness(witness) => {
                match witness.seen(root, id)? {
                    Some(seen) => check_seen(&database, &seals, &seen, &position).await?,
                    None if position.sequence == 0 => {}
                    None => {
                        return Err(StoreError::WitnessMissing {
                            path: witness.path().to_owned(),
                            sequence: position.sequence,
                        });
                    }
                }
                Some(witness)
            }
            Freshness::Seen {
                position: seen,
                witness,
            } => {
                check_seen(&database, &seals, &seen, &position).await?;
                if let Some(witness) = &witness
                    && let Some(seen) = witness.seen(root, id)?
                {
                    check_seen(&database, &seals, &seen, &position).await?;
                }
                witness
            }
            Freshness::AsFound(witness) => {
                tracing::warn!(
                    store = %id,
                    sequence = position.sequence,
                    "the store is taken as it is found: nothing shows that it was not rolled back"
                );
                witness
            }
        };
        let shared = Shared {
            id,
            root: root.clone(),
            seals,
            database,
            memory: RwLock::new(memory),
            witness,
            audit,
            closing: tokio::sync::Notify::new(),
            looked: Looked::default(),
        };
        shared.remember(position).await?;
        Ok(Self::start(shared))
    }

    fn start(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let (queue, waiting) = mpsc::channel(QUEUE);
        let writer = tokio::spawn(writer::run(shared.clone(), waiting));
        Self {
            shared,
            queue,
            writer: Arc::new(tokio::sync::Mutex::new(Some(writer))),
        }
    }
}

/// A store that was found whole.
struct Loaded {
    id: StoreId,
    seals: Seals,
    position: Position,
    memory: Memory,
}

async fn load(
    database: &Database,
    location: &Location,
    root: &RootKey,
) -> Result<Loaded, StoreError> {
    let mut snapshot = database.snapshot().await?;
    let row = snapshot.chain().await?.ok_or_else(|| StoreError::NoStore {
        location: location.to_string(),
    })?;
    if row.key != root.id() {
        return Err(StoreError::WrongKey {
            expected: row.key,
            given: root.id(),
        });
    }
    let (id, position) = (row.store, row.position);
    let seals = Seals::new(root, id);
    let expected = row.open(&seals)?;
    let mut sum = Sum::default();
    let mut stamps = BTreeMap::new();
    snapshot
        .each_stamp(|cell, stamp| {
            sum.add(&seals.element(&cell, &stamp));
            if cell.kind.is_remembered() {
                stamps.insert(cell, stamp);
            }
        })
        .await?;
    if sum != expected {
        // Something is wrong; the history says what.
        verify::verify(&mut snapshot, &seals, id).await?;
        return Err(StoreError::ChainTampered {
            sequence: position.sequence,
            what: "the sum over all cells is not the one that was sealed",
        });
    }
    Ok(Loaded {
        id,
        seals,
        position,
        memory: Memory::new(position, stamps),
    })
}

/// Writes that may wait; who comes later waits before the queue.
const QUEUE: usize = 1024;
