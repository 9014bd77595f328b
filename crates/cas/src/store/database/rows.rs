//! The columns of the tables, and what they become.

use mse_crypto::Digest;

use crate::keys::KeyId;
use crate::store::cell::{CellId, Kind, SealedCell, Stamp, Tag, tag_of};
use crate::store::chain::{ChainRow, HistoryRow, Position, StoreId};
use crate::store::error::StoreError;

pub(super) const SELECT_CHAIN: &str =
    "SELECT store_id, key_id, sequence, head, sealed FROM chain WHERE id = 1";

pub(super) type ChainTuple = (Vec<u8>, Vec<u8>, i64, Vec<u8>, Vec<u8>);
pub(super) type HistoryTuple = (i64, Vec<u8>, Vec<u8>);
pub(super) type CellTuple = (i64, Vec<u8>, i64, Option<i64>, Vec<u8>);
pub(super) type JoinedTuple = (
    Vec<u8>,
    Vec<u8>,
    i64,
    Vec<u8>,
    Vec<u8>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<i64>,
    Option<Vec<u8>>,
);

pub(super) fn chain_row(
    (store, key, sequence, head, sealed): ChainTuple,
) -> Result<ChainRow, StoreError> {
    let malformed = || StoreError::ChainTampered {
        sequence: sequence.unsigned_abs(),
        what: "a field of the chain's row has a length that no such field has",
    };
    Ok(ChainRow {
        store: StoreId(store.try_into().map_err(|_| malformed())?),
        key: KeyId(key.try_into().map_err(|_| malformed())?),
        position: position(sequence, head)?,
        sealed,
    })
}

pub(super) fn history_row(
    (sequence, head, sealed): HistoryTuple,
) -> Result<HistoryRow, StoreError> {
    Ok(HistoryRow {
        position: position(sequence, head)?,
        sealed,
    })
}

fn position(sequence: i64, head: Vec<u8>) -> Result<Position, StoreError> {
    let malformed = |what| StoreError::ChainTampered {
        sequence: sequence.unsigned_abs(),
        what,
    };
    let number = u64::try_from(sequence).map_err(|_| malformed("its number is negative"))?;
    let head = head
        .try_into()
        .map_err(|_| malformed("its head is not 32 bytes long"))?;
    Ok(Position {
        sequence: number,
        head: Digest(head),
    })
}

pub(super) fn joined(
    (store, key, sequence, head, sealed, cell_key, cell_sequence, expires, cell_sealed): JoinedTuple,
    kind: Kind,
) -> Result<(ChainRow, Option<SealedCell>), StoreError> {
    let chain = chain_row((store, key, sequence, head, sealed))?;
    let (Some(key), Some(sequence), Some(sealed)) = (cell_key, cell_sequence, cell_sealed) else {
        return Ok((chain, None));
    };
    let cell = sealed_cell((kind.number(), key, sequence, expires, sealed))?;
    Ok((chain, Some(cell)))
}

pub(super) fn sealed_cell(
    (kind, key, sequence, expires, sealed): CellTuple,
) -> Result<SealedCell, StoreError> {
    let tampered = |what| StoreError::Tampered {
        cell: format!("kind {kind}, key {}", hex::encode(&key)),
        what,
    };
    let id_kind = Kind::from_number(kind).ok_or_else(|| tampered("no cell has such a kind"))?;
    let tag: Tag = tag_of(&sealed).ok_or_else(|| tampered("its value is shorter than a seal"))?;
    let number = u64::try_from(sequence).map_err(|_| tampered("its number is negative"))?;
    Ok(SealedCell {
        id: CellId { kind: id_kind, key },
        stamp: Stamp {
            sequence: number,
            expires,
            tag,
        },
        sealed,
    })
}

pub(super) fn chain_missing() -> StoreError {
    StoreError::ChainTampered {
        sequence: 0,
        what: "the chain's row is gone",
    }
}

/// The databases know no unsigned integers.
pub(super) fn to_sql(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::ChainTampered {
        sequence: number,
        what: "a number is greater than any store reaches",
    })
}
