//! What a batch changes: decided in memory, from what was read.

use mse_crypto::Zeroizing;

use super::{Committed, Queued, Results};
use crate::store::Shared;
use crate::store::apply::{Loaded, NewValue, Pending, View};
use crate::store::audit::{self, Tail};
use crate::store::cell::{CellId, SealedCell};
use crate::store::error::StoreError;
use crate::store::memory::{Memory, Verdict};
use crate::store::records::{LogTail, Record};
use crate::store::write::Operation;

/// The cells whose values the batch looks at, as far as they exist.
pub(super) fn needed(shared: &Shared, batch: &[Queued]) -> Vec<CellId> {
    let memory = shared.memory();
    let mut ids: Vec<_> = batch
        .iter()
        .flat_map(|queued| &queued.write.operations)
        .flat_map(Operation::needs)
        .chain([audit::tail()])
        .filter(|id| memory.stamp(id).is_some())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Opens what was read. A cell that is not what it should be fails the writes that look at it, and
/// no other.
pub(super) fn open(shared: &Shared, ids: &[CellId], rows: Vec<SealedCell>) -> Loaded {
    let memory = shared.memory();
    let now = memory.position().sequence;
    let mut loaded: Loaded = ids
        .iter()
        .map(|id| (id.clone(), Err("it was removed behind the store's back")))
        .collect();
    for row in rows {
        let opened = match memory.judge(&row.id, Some(&row), now) {
            Verdict::Tampered(what) => Err(what),
            Verdict::Current | Verdict::ChangedSince => shared
                .seals
                .open_cell(&row)
                .map_err(|_| "its seal does not open"),
        };
        loaded.insert(row.id, opened);
    }
    loaded
}

pub(super) struct Decided {
    pub(super) pending: Pending,
    pub(super) results: Results,
}

/// What each write of the batch changes, one after the other, and then the audit log.
pub(super) fn decide(shared: &Shared, loaded: &Loaded, batch: &[Queued]) -> Decided {
    let memory = &*shared.memory();
    let mut pending = Pending::new();
    let mut results = Results::new();
    let mut leaves: Vec<&[u8]> = Vec::new();
    let tail = View::new(memory, loaded, &pending).get::<LogTail>(&audit::tail());
    let tail = tail.map(Option::unwrap_or_default);
    for Queued { write, .. } in batch {
        let mut view = View::new(memory, loaded, &pending);
        let applied = write
            .operations
            .iter()
            .try_for_each(|operation| operation.apply(&mut view));
        let changes = view.into_changes();
        results.push(applied.and_then(|()| {
            let first_leaf = match (&tail, write.leaves.is_empty()) {
                (_, true) => None,
                (Ok(tail), false) => Some(tail.size + leaves.len() as u64),
                (Err(_), false) => {
                    return Err(StoreError::tampered(&audit::tail(), "it does not open"));
                }
            };
            leaves.extend(write.leaves.iter().map(Vec::as_slice));
            pending.extend(changes);
            Ok(Committed {
                position: memory.position(),
                first_leaf,
            })
        }));
    }
    if let Ok(tail) = tail
        && !leaves.is_empty()
        && let Err(error) = append(shared, memory, tail, &leaves, &mut pending)
    {
        // No change without its leaf.
        let why = error.to_string();
        return Decided {
            pending: Pending::new(),
            results: batch
                .iter()
                .map(|_| Err(StoreError::Audit(why.clone())))
                .collect(),
        };
    }
    Decided { pending, results }
}

fn append(
    shared: &Shared,
    memory: &Memory,
    tail: LogTail,
    leaves: &[&[u8]],
    pending: &mut Pending,
) -> Result<(), StoreError> {
    let before = tail.size;
    let after = before + leaves.len() as u64;
    let appended = shared
        .audit
        .append(
            &Tail {
                size: before,
                state: tail.state,
                position: memory.position(),
            },
            leaves,
        )
        .map_err(|error| StoreError::Audit(error.to_string()))?;
    audit::check(&appended, before, after)?;
    let mut put = |id, value: Zeroizing<Vec<u8>>| {
        let expires = None;
        pending.insert(id, Some(NewValue { expires, value }));
    };
    for (index, leaf) in (before..after).zip(appended.leaves) {
        put(audit::leaf(index), Zeroizing::new(leaf));
    }
    for node in appended.nodes {
        let hash = Zeroizing::new(node.hash.0.to_vec());
        put(audit::node(node.level, node.index), hash);
    }
    if !appended.head.is_empty() {
        put(audit::head(after), Zeroizing::new(appended.head));
    }
    let tail = LogTail {
        size: after,
        state: appended.state,
    };
    put(audit::tail(), tail.encode());
    Ok(())
}
