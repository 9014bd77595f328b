//! What happens within one transaction.

use futures_util::TryStreamExt;
use sqlx::{Database, Encode, Postgres, QueryBuilder, Sqlite, Type};

use super::rows::{
    CellTuple, ChainTuple, HistoryTuple, SELECT_CHAIN, chain_row, history_row, sealed_cell, to_sql,
};
use crate::store::cell::{CellId, SealedCell, Stamp};
use crate::store::chain::{ChainRow, HistoryRow};
use crate::store::error::StoreError;

/// Runs the same statements on whichever database it is.
macro_rules! on_each {
    ($which:expr, $transaction:ident => $body:expr) => {
        match $which {
            Transaction::Sqlite($transaction) => $body,
            Transaction::Postgres($transaction) => $body,
        }
    };
}

/// A transaction on either database. Dropped before [`Transaction::commit`], it did nothing.
pub(in crate::store) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Transaction {
    /// The chain's row, if there is a store.
    pub(in crate::store) async fn chain(&mut self) -> Result<Option<ChainRow>, StoreError> {
        let row: Option<ChainTuple> = on_each!(self, transaction => {
            sqlx::query_as(SELECT_CHAIN).fetch_optional(&mut **transaction).await?
        });
        row.map(chain_row).transpose()
    }

    /// Every cell, in the order of kinds and keys.
    pub(in crate::store) async fn each_cell(
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
    pub(in crate::store) async fn cells_after(
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
    pub(in crate::store) async fn history_after(
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
    pub(in crate::store) async fn each_stamp(
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
    pub(in crate::store) async fn each_history(
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
    pub(in crate::store) async fn cells(
        &mut self,
        ids: &[&CellId],
    ) -> Result<Vec<SealedCell>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows: Vec<CellTuple> = Vec::with_capacity(ids.len());
        match self {
            Self::Sqlite(transaction) => {
                for ids in chunks(ids) {
                    let mut query = QueryBuilder::new(
                        "SELECT kind, key, sequence, expires, sealed FROM cell WHERE ",
                    );
                    push_ids(&mut query, ids);
                    rows.extend(query.build_query_as().fetch_all(&mut **transaction).await?);
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
    pub(in crate::store) async fn put_cells(
        &mut self,
        cells: &[SealedCell],
    ) -> Result<(), StoreError> {
        if cells.is_empty() {
            return Ok(());
        }
        let sequences = cells
            .iter()
            .map(|cell| to_sql(cell.stamp.sequence))
            .collect::<Result<Vec<_>, _>>()?;
        match self {
            Self::Sqlite(transaction) => {
                let rows: Vec<_> = cells.iter().zip(sequences).collect();
                for rows in chunks(&rows) {
                    let mut query = QueryBuilder::new(
                        "INSERT INTO cell (kind, key, sequence, expires, sealed) ",
                    );
                    query.push_values(rows, |mut row, (cell, sequence)| {
                        row.push_bind(cell.id.kind.number())
                            .push_bind(&cell.id.key)
                            .push_bind(*sequence)
                            .push_bind(cell.stamp.expires)
                            .push_bind(&cell.sealed);
                    });
                    query.push(
                        " ON CONFLICT (kind, key) DO UPDATE SET sequence = excluded.sequence,
                         expires = excluded.expires, sealed = excluded.sealed",
                    );
                    query.build().execute(&mut **transaction).await?;
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

    /// Removes cells.
    pub(in crate::store) async fn remove_cells(
        &mut self,
        ids: &[CellId],
    ) -> Result<(), StoreError> {
        let ids: Vec<&CellId> = ids.iter().collect();
        for ids in chunks(&ids) {
            on_each!(self, transaction => {
                let mut query = QueryBuilder::new("DELETE FROM cell WHERE ");
                push_ids(&mut query, ids);
                query.build().execute(&mut **transaction).await?;
            });
        }
        Ok(())
    }

    /// Moves the chain.
    pub(in crate::store) async fn set_chain(&mut self, row: &ChainRow) -> Result<(), StoreError> {
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
    pub(in crate::store) async fn add_history(
        &mut self,
        row: &HistoryRow,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO history (sequence, head, sealed) VALUES ($1, $2, $3)";
        let sequence = to_sql(row.position.sequence)?;
        on_each!(self, transaction => {
            let query = sqlx::query(SQL).bind(sequence).bind(row.position.head.as_ref());
            query.bind(&row.sealed).execute(&mut **transaction).await?;
        });
        Ok(())
    }

    /// Makes it all lasting.
    pub(in crate::store) async fn commit(self) -> Result<(), sqlx::Error> {
        on_each!(self, transaction => transaction.commit().await)
    }
}

/// Pieces for one statement each: with SQLite, a statement is a hop to another thread and back. They
/// are of few sizes, so that each statement is prepared once.
fn chunks<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rest.len())?;
        let (chunk, left) = rest.split_at(size);
        rest = left;
        Some(chunk)
    })
}

const SIZES: [usize; 4] = [64, 16, 4, 1];

/// That a cell is one of these. SQLite looks each of them up; a list of rows it would compare with
/// every cell that there is.
fn push_ids<'a, DB>(query: &mut QueryBuilder<DB>, ids: &[&'a CellId])
where
    DB: Database,
    i64: Encode<'a, DB> + Type<DB>,
    &'a Vec<u8>: Encode<'a, DB> + Type<DB>,
{
    for (at, id) in ids.iter().enumerate() {
        query.push(if at == 0 { "(kind = " } else { " OR (kind = " });
        query.push_bind(id.kind.number());
        query.push(" AND key = ");
        query.push_bind(&id.key);
        query.push(")");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_all_of_it_in_order_and_of_few_sizes() {
        for length in [0, 1, 3, 4, 63, 64, 65, 200] {
            let all: Vec<usize> = (0..length).collect();
            let cut: Vec<&[usize]> = chunks(&all).collect();
            assert_eq!(cut.concat(), all);
            assert!(cut.iter().all(|chunk| SIZES.contains(&chunk.len())));
            assert!(cut.len() <= length / 64 + 9);
        }
    }
}
