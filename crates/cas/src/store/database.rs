//! The two databases, behind one set of statements.
//!
//! Nothing here knows a key or judges a row: that is for those who call it.

mod connect;
mod rows;
mod transaction;

use sqlx::{PgPool, SqlitePool};

pub(super) use connect::{Start, connect};
pub(super) use transaction::Transaction;

use super::cell::{CellId, SealedCell};
use super::chain::{ChainRow, HistoryRow};
use super::error::StoreError;
use rows::{
    ChainTuple, HistoryTuple, JoinedTuple, SELECT_CHAIN, chain_missing, chain_row, history_row,
    joined, to_sql,
};

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
