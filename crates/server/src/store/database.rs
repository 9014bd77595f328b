//! The two databases, behind one set of statements that both understand.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, PgPool, Postgres, Row as _, Sqlite, SqlitePool, Type};
use tokio::time::timeout;

use super::{Store, StoreError};

/// A statement for the database that it runs on.
macro_rules! prepared {
    ($query:expr, $text:expr) => {{
        let Query { sql, values } = $query;
        let mut prepared = sqlx::query(sql);
        for value in values {
            prepared = match value {
                Value::Text(text) => prepared.bind(text.map($text)),
                Value::Number(number) => prepared.bind(number),
            };
        }
        prepared
    }};
}

/// Runs it on whichever database it is.
macro_rules! on_each {
    ($which:ident, $place:expr, $on:ident => $executor:expr, $query:expr, $run:ident) => {
        match $place {
            $which::Sqlite($on) => Either::Sqlite(
                prepared!($query, std::convert::identity)
                    .$run($executor)
                    .await?,
            ),
            $which::Postgres($on) => {
                Either::Postgres(patiently(prepared!($query, without_nul).$run($executor)).await?)
            }
        }
    };
}

/// A connected database. Cloning it is cheap.
#[derive(Clone)]
pub(super) enum Database {
    /// One file.
    Sqlite(SqlitePool),
    /// A database of a server.
    Postgres(PgPool),
}

/// A transaction on either. Dropped before [`Transaction::commit`], it did nothing.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// Begins a statement.
pub(super) fn query(sql: &'static str) -> Query {
    Query {
        sql,
        values: Vec::new(),
    }
}

/// A statement, and what goes into it: `$1` and so on.
pub(super) struct Query {
    sql: &'static str,
    values: Vec<Value>,
}

impl Query {
    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Every row of the answer.
    pub(super) async fn fetch_all(self, database: &Database) -> Result<Vec<Row>, sqlx::Error> {
        Ok(
            match on_each!(Database, database, pool => pool, self, fetch_all) {
                Either::Sqlite(rows) => rows.into_iter().map(Row::Sqlite).collect(),
                Either::Postgres(rows) => rows.into_iter().map(Row::Postgres).collect(),
            },
        )
    }

    /// The row of the answer, if there is one.
    pub(super) async fn fetch_optional(
        self,
        database: &Database,
    ) -> Result<Option<Row>, sqlx::Error> {
        Ok(
            match on_each!(Database, database, pool => pool, self, fetch_optional) {
                Either::Sqlite(row) => row.map(Row::Sqlite),
                Either::Postgres(row) => row.map(Row::Postgres),
            },
        )
    }

    /// The same within a transaction.
    pub(super) async fn fetch_optional_in(
        self,
        transaction: &mut Transaction,
    ) -> Result<Option<Row>, sqlx::Error> {
        Ok(
            match on_each!(Transaction, transaction, open => &mut **open, self, fetch_optional) {
                Either::Sqlite(row) => row.map(Row::Sqlite),
                Either::Postgres(row) => row.map(Row::Postgres),
            },
        )
    }

    /// Changes rows, and says how many.
    pub(super) async fn execute(self, transaction: &mut Transaction) -> Result<u64, sqlx::Error> {
        Ok(
            match on_each!(Transaction, transaction, open => &mut **open, self, execute) {
                Either::Sqlite(done) => done.rows_affected(),
                Either::Postgres(done) => done.rows_affected(),
            },
        )
    }

    /// The same in a transaction of its own.
    pub(super) async fn change(self, store: &Store) -> Result<u64, StoreError> {
        let mut transaction = store.begin_write().await?;
        let changed = self.execute(&mut transaction).await?;
        transaction.commit().await?;
        Ok(changed)
    }
}

/// The two types that columns have.
pub(super) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(Into::into))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

/// A row of either.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(super) fn get<T>(&self, column: &str) -> Result<T, sqlx::Error>
    where
        T: Type<Sqlite> + for<'r> Decode<'r, Sqlite>,
        T: Type<Postgres> + for<'r> Decode<'r, Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

enum Either<S, P> {
    Sqlite(S),
    Postgres(P),
}

impl Database {
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Transaction {
    /// Makes it all lasting.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(open) => open.commit().await,
            Self::Postgres(open) => patiently(open.commit()).await,
        }
    }
}

/// PostgreSQL keeps no NUL in a text, and refuses a statement that has one. What people or apps say
/// may have it.
fn without_nul(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text
    }
}

/// A server on the other side of a broken network says nothing at all.
pub(super) async fn patiently<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        let text = format!("no answer within {seconds} s");
        Err(sqlx::Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            text,
        )))
    })
}

/// More than taking a connection may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether the database is only out of reach, or busy: the same may work in a moment.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // Read-only (a primary that became a standby), serialization failure, deadlock, lock not
            // available, too many connections, shutdown, crash, start-up; all of class 08 are broken connections. SQLite's codes are numbers
            // of other lengths.
            code.len() == 5
                && (code.starts_with("08")
                    || matches!(
                        &*code,
                        "25006"
                            | "40001"
                            | "40P01"
                            | "55P03"
                            | "53300"
                            | "57P01"
                            | "57P02"
                            | "57P03"
                    ))
        }
        _ => false,
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) {
            Self::Away(error)
        } else {
            Self::Query(error)
        }
    }
}
