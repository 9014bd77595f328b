//! The two databases, behind one set of statements.
//!
//! Nothing here knows a key or judges a row: that is for those who call it.

mod connect;

use futures_util::TryStreamExt;
use sqlx::{PgPool, Postgres, Sqlite, SqlitePool};

pub(super) use connect::{Start, connect};

use super::cell::{CellId, Kind, SealedCell, Stamp, Tag, tag_of};
use super::chain::{ChainRow, HistoryRow, Position, StoreId};
use super::error::StoreError;
use crate::keys::KeyId;

/// A connected database.
#[derive(Clone)]
pub(super) enum Database {
    /// One file. Writers take turns within the file anyway, so there is one connection for them.
    Sqlite {
        /// Many at once, each on its own snapshot.
        readers: SqlitePool,
        /// One.
        writer: SqlitePool,
    },
    /// A server that several replicas share.
    Postgres(PgPool),
}

/// Runs the same statements on whichever database it is.
macro_rules! on_each {
    ($which:expr, $transaction:ident => $body:expr) => {
        match $which {
            Transaction::Sqlite($transaction) => $body,
            Transaction::Postgres($transaction) => $body,
        }
    };
}

impl Database {
    /// The chain's row and one cell, as of one moment.
    pub(super) async fn read_cell(
        &self,
        id: &CellId,
    ) -> Result<(ChainRow, Option<SealedCell>), StoreError> {
        const SQL: &str = "SELECT c.store_id, c.key_id, c.sequence, c.head, c.sealed,
                t.key, t.sequence, t.expires, t.sealed
             FROM chain c LEFT JOIN cell t ON t.kind = $1 AND t.key = $2 WHERE c.id = 1";
        let row: Option<JoinedTuple> = match self {
            Self::Sqlite { readers, .. } => {
                let query = sqlx::query_as(SQL).bind(id.kind.number());
                query.bind(&id.key).fetch_optional(readers).await?
            }
            Self::Postgres(pool) => {
                let query = sqlx::query_as(SQL).bind(id.kind.number());
                query.bind(&id.key).fetch_optional(pool).await?
            }
        };
        let (chain, cell) = joined(row.ok_or_else(chain_missing)?, id.kind)?;
        Ok((chain, cell))
    }

    /// The chain's row and the cells of a kind whose keys are from that of `first` to before `end`, as
    /// of one moment.
    pub(super) async fn read_cells(
        &self,
        first: &CellId,
        end: &[u8],
    ) -> Result<(ChainRow, Vec<SealedCell>), StoreError> {
        const SQL: &str = "SELECT c.store_id, c.key_id, c.sequence, c.head, c.sealed,
                t.key, t.sequence, t.expires, t.sealed
             FROM chain c LEFT JOIN cell t ON t.kind = $1 AND t.key >= $2 AND t.key < $3
             WHERE c.id = 1 ORDER BY t.key";
        let rows: Vec<JoinedTuple> = match self {
            Self::Sqlite { readers, .. } => {
                let query = sqlx::query_as(SQL).bind(first.kind.number());
                let query = query.bind(&first.key).bind(end);
                query.fetch_all(readers).await?
            }
            Self::Postgres(pool) => {
                let query = sqlx::query_as(SQL).bind(first.kind.number());
                let query = query.bind(&first.key).bind(end);
                query.fetch_all(pool).await?
            }
        };
        let mut chain = None;
        let mut cells = Vec::new();
        for row in rows {
            let (of_chain, cell) = joined(row, first.kind)?;
            chain = Some(of_chain);
            cells.extend(cell);
        }
        Ok((chain.ok_or_else(chain_missing)?, cells))
    }

    /// The rows of the history after one transaction and up to another, at most `limit`.
    pub(super) async fn history(
        &self,
        after: u64,
        up_to: u64,
        limit: u32,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        const SQL: &str = "SELECT sequence, head, sealed FROM history
             WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence LIMIT $3";
        let (after, up_to, limit) = (to_sql(after)?, to_sql(up_to)?, i64::from(limit));
        let rows: Vec<HistoryTuple> = match self {
            Self::Sqlite { readers, .. } => {
                let query = sqlx::query_as(SQL).bind(after).bind(up_to).bind(limit);
                query.fetch_all(readers).await?
            }
            Self::Postgres(pool) => {
                let query = sqlx::query_as(SQL).bind(after).bind(up_to).bind(limit);
                query.fetch_all(pool).await?
            }
        };
        rows.into_iter().map(history_row).collect()
    }

    /// A transaction that sees one moment and writes nothing.
    pub(super) async fn snapshot(&self) -> Result<Transaction, StoreError> {
        Ok(match self {
            Self::Sqlite { readers, .. } => Transaction::Sqlite(readers.begin().await?),
            Self::Postgres(pool) => Transaction::Postgres(
                pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    .await?,
            ),
        })
    }

    /// A transaction that holds the chain from its beginning: no other writer, in this process or
    /// another, comes in between.
    pub(super) async fn begin_write(&self) -> Result<(Transaction, ChainRow), StoreError> {
        let row: Option<ChainTuple>;
        let transaction = match self {
            Self::Sqlite { writer, .. } => {
                let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
                row = sqlx::query_as(SELECT_CHAIN)
                    .fetch_optional(&mut *transaction)
                    .await?;
                Transaction::Sqlite(transaction)
            }
            Self::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                row = sqlx::query_as(
                    "SELECT store_id, key_id, sequence, head, sealed FROM chain WHERE id = 1
                     FOR UPDATE",
                )
                .fetch_optional(&mut *transaction)
                .await?;
                Transaction::Postgres(transaction)
            }
        };
        Ok((transaction, chain_row(row.ok_or_else(chain_missing)?)?))
    }

    /// A transaction on a database that holds no store yet.
    pub(super) async fn begin_first(&self) -> Result<Transaction, StoreError> {
        Ok(match self {
            Self::Sqlite { writer, .. } => {
                Transaction::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?)
            }
            Self::Postgres(pool) => {
                let mut transaction = pool.begin().await?;
                // There is no row to lock yet, and two replicas may start at once.
                sqlx::query("LOCK TABLE chain IN EXCLUSIVE MODE")
                    .execute(&mut *transaction)
                    .await?;
                Transaction::Postgres(transaction)
            }
        })
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A transaction on either database. Dropped before [`Transaction::commit`], it did nothing.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Transaction {
    /// The chain's row, if there is a store.
    pub(super) async fn chain(&mut self) -> Result<Option<ChainRow>, StoreError> {
        let row: Option<ChainTuple> = on_each!(self, transaction => {
            sqlx::query_as(SELECT_CHAIN).fetch_optional(&mut **transaction).await?
        });
        row.map(chain_row).transpose()
    }

    /// Every cell, in the order of kinds and keys.
    pub(super) async fn each_cell(
        &mut self,
        mut each: impl FnMut(SealedCell) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            "SELECT kind, key, sequence, expires, sealed FROM cell ORDER BY kind, key";
        on_each!(self, transaction => {
            let mut rows = sqlx::query_as::<_, CellTuple>(SQL).fetch(&mut **transaction);
            while let Some(row) = rows.try_next().await? {
                each(sealed_cell(row)?)?;
            }
        });
        Ok(())
    }

    /// The cells after one, in the order of kinds and keys; at most `limit`.
    pub(super) async fn cells_after(
        &mut self,
        after: Option<&CellId>,
        limit: u32,
    ) -> Result<Vec<SealedCell>, StoreError> {
        const SQL: &str = "SELECT kind, key, sequence, expires, sealed FROM cell
             WHERE kind > $1 OR (kind = $1 AND key > $2) ORDER BY kind, key LIMIT $3";
        // No kind has the number 0.
        let (kind, key) = after.map_or((0, &[][..]), |id| (id.kind.number(), &id.key[..]));
        let rows: Vec<CellTuple> = on_each!(self, transaction => {
            let query = sqlx::query_as(SQL).bind(kind).bind(key).bind(i64::from(limit));
            query.fetch_all(&mut **transaction).await?
        });
        rows.into_iter().map(sealed_cell).collect()
    }

    /// The rows of the history after a transaction; at most `limit`.
    pub(super) async fn history_after(
        &mut self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        const SQL: &str = "SELECT sequence, head, sealed FROM history WHERE sequence > $1
             ORDER BY sequence LIMIT $2";
        let after = to_sql(after)?;
        let rows: Vec<HistoryTuple> = on_each!(self, transaction => {
            let query = sqlx::query_as(SQL).bind(after).bind(i64::from(limit));
            query.fetch_all(&mut **transaction).await?
        });
        rows.into_iter().map(history_row).collect()
    }

    /// The stamp of every cell, without its value.
    pub(super) async fn each_stamp(
        &mut self,
        mut each: impl FnMut(CellId, Stamp),
    ) -> Result<(), StoreError> {
        const SQL: &str = "SELECT kind, key, sequence, expires,
                substr(sealed, length(sealed) - 15, 16) FROM cell";
        on_each!(self, transaction => {
            let mut rows = sqlx::query_as::<_, CellTuple>(SQL).fetch(&mut **transaction);
            while let Some(row) = rows.try_next().await? {
                let cell = sealed_cell(row)?;
                each(cell.id, cell.stamp);
            }
        });
        Ok(())
    }

    /// Every row of the history, in order.
    pub(super) async fn each_history(
        &mut self,
        mut each: impl FnMut(HistoryRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "SELECT sequence, head, sealed FROM history ORDER BY sequence";
        on_each!(self, transaction => {
            let mut rows = sqlx::query_as::<_, HistoryTuple>(SQL).fetch(&mut **transaction);
            while let Some(row) = rows.try_next().await? {
                each(history_row(row)?)?;
            }
        });
        Ok(())
    }

    /// The cells of these ids, as far as they exist.
    pub(super) async fn cells(&mut self, ids: &[&CellId]) -> Result<Vec<SealedCell>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows: Vec<CellTuple> = Vec::with_capacity(ids.len());
        match self {
            Self::Sqlite(transaction) => {
                for id in ids {
                    let row = sqlx::query_as(
                        "SELECT kind, key, sequence, expires, sealed FROM cell
                         WHERE kind = $1 AND key = $2",
                    )
                    .bind(id.kind.number())
                    .bind(&id.key)
                    .fetch_optional(&mut **transaction)
                    .await?;
                    rows.extend::<Option<CellTuple>>(row);
                }
            }
            Self::Postgres(transaction) => {
                rows = sqlx::query_as(
                    "SELECT kind, key, sequence, expires, sealed FROM cell
                     WHERE (kind, key) IN (SELECT * FROM UNNEST($1::BIGINT[], $2::BYTEA[]))",
                )
                .bind(ids.iter().map(|id| id.kind.number()).collect::<Vec<_>>())
                .bind(ids.iter().map(|id| &id.key[..]).collect::<Vec<_>>())
                .fetch_all(&mut **transaction)
                .await?;
            }
        }
        rows.into_iter().map(sealed_cell).collect()
    }

    /// Writes cells, in the place of what is there.
    pub(super) async fn put_cells(&mut self, cells: &[SealedCell]) -> Result<(), StoreError> {
        if cells.is_empty() {
            return Ok(());
        }
        let sequences = cells
            .iter()
            .map(|cell| to_sql(cell.stamp.sequence))
            .collect::<Result<Vec<_>, _>>()?;
        match self {
            Self::Sqlite(transaction) => {
                for (cell, sequence) in cells.iter().zip(sequences) {
                    sqlx::query(
                        "INSERT INTO cell (kind, key, sequence, expires, sealed)
                         VALUES ($1, $2, $3, $4, $5)
                         ON CONFLICT (kind, key) DO UPDATE SET sequence = excluded.sequence,
                             expires = excluded.expires, sealed = excluded.sealed",
                    )
                    .bind(cell.id.kind.number())
                    .bind(&cell.id.key)
                    .bind(sequence)
                    .bind(cell.stamp.expires)
                    .bind(&cell.sealed)
                    .execute(&mut **transaction)
                    .await?;
                }
            }
            Self::Postgres(transaction) => {
                let column = |of: fn(&SealedCell) -> i64| cells.iter().map(of).collect::<Vec<_>>();
                let bytes = |of: fn(&SealedCell) -> &[u8]| cells.iter().map(of).collect::<Vec<_>>();
                let expiries: Vec<_> = cells.iter().map(|cell| cell.stamp.expires).collect();
                sqlx::query(
                    "INSERT INTO cell (kind, key, sequence, expires, sealed)
                     SELECT * FROM UNNEST($1::BIGINT[], $2::BYTEA[], $3::BIGINT[], $4::BIGINT[],
                         $5::BYTEA[])
                     ON CONFLICT (kind, key) DO UPDATE SET sequence = excluded.sequence,
                         expires = excluded.expires, sealed = excluded.sealed",
                )
                .bind(column(|cell| cell.id.kind.number()))
                .bind(bytes(|cell| &cell.id.key))
                .bind(sequences)
                .bind(expiries)
                .bind(bytes(|cell| &cell.sealed))
                .execute(&mut **transaction)
                .await?;
            }
        }
        Ok(())
    }

    /// Removes a cell.
    pub(super) async fn remove_cell(&mut self, id: &CellId) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM cell WHERE kind = $1 AND key = $2";
        on_each!(self, transaction => {
            let query = sqlx::query(SQL).bind(id.kind.number()).bind(&id.key);
            query.execute(&mut **transaction).await?;
        });
        Ok(())
    }

    /// Moves the chain.
    pub(super) async fn set_chain(&mut self, row: &ChainRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO chain (id, store_id, key_id, sequence, head, sealed)
             VALUES (1, $1, $2, $3, $4, $5)
             ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, head = excluded.head,
                 sealed = excluded.sealed";
        let sequence = to_sql(row.position.sequence)?;
        on_each!(self, transaction => {
            let query = sqlx::query(SQL).bind(&row.store.0[..]).bind(&row.key.0[..]).bind(sequence);
            let query = query.bind(row.position.head.as_ref()).bind(&row.sealed);
            query.execute(&mut **transaction).await?;
        });
        Ok(())
    }

    /// Adds a row to the history.
    pub(super) async fn add_history(&mut self, row: &HistoryRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO history (sequence, head, sealed) VALUES ($1, $2, $3)";
        let sequence = to_sql(row.position.sequence)?;
        on_each!(self, transaction => {
            let query = sqlx::query(SQL).bind(sequence).bind(row.position.head.as_ref());
            query.bind(&row.sealed).execute(&mut **transaction).await?;
        });
        Ok(())
    }

    /// Makes it all lasting.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        on_each!(self, transaction => transaction.commit().await)
    }
}

const SELECT_CHAIN: &str =
    "SELECT store_id, key_id, sequence, head, sealed FROM chain WHERE id = 1";

type ChainTuple = (Vec<u8>, Vec<u8>, i64, Vec<u8>, Vec<u8>);
type HistoryTuple = (i64, Vec<u8>, Vec<u8>);
type CellTuple = (i64, Vec<u8>, i64, Option<i64>, Vec<u8>);
type JoinedTuple = (
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

fn chain_row((store, key, sequence, head, sealed): ChainTuple) -> Result<ChainRow, StoreError> {
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

fn history_row((sequence, head, sealed): HistoryTuple) -> Result<HistoryRow, StoreError> {
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
        head: mse_crypto::Digest(head),
    })
}

fn joined(
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

fn sealed_cell(
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

fn chain_missing() -> StoreError {
    StoreError::ChainTampered {
        sequence: 0,
        what: "the chain's row is gone",
    }
}

/// The databases know no unsigned integers.
fn to_sql(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::ChainTampered {
        sequence: number,
        what: "a number is greater than any store reaches",
    })
}
