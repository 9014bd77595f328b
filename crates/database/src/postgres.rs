//! Connecting to PostgreSQL: with settings under which an acknowledged write is a lasting one, and
//! nobody waits for hours for a client that is gone.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep, timeout_at};

/// Connects once. A server that is just starting is waited for.
pub async fn connect(options: &PgConnectOptions) -> Result<PgConnection, PostgresError> {
    let deadline = Instant::now() + ACQUIRING;
    loop {
        let error = match timeout_at(deadline, options.connect()).await {
            Ok(Ok(mut connection)) => {
                let settled = timeout_at(deadline, settle(&mut connection)).await;
                settled.unwrap_or_else(|_| Err(timed_out().into()))?;
                return Ok(connection);
            }
            Ok(Err(error)) => error,
            Err(_) => timed_out(),
        };
        if !is_starting(&error) || Instant::now() + PAUSE >= deadline {
            return Err(error.into());
        }
        sleep(PAUSE).await;
    }
}

/// Many connections, of which the first was made: so the error says what is wrong.
pub async fn pool(options: &PgConnectOptions, most: u32) -> Result<PgPool, PostgresError> {
    connect(options).await?.close().await?;
    Ok(PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(ACQUIRING)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql(LET_GO).execute(&mut *connection).await?;
                refuse_standby(connection).await
            })
        })
        .connect_lazy_with(options.clone()))
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The server is out of reach, or does not want us.
    #[error(transparent)]
    Failed(#[from] sqlx::Error),
    /// It would lose acknowledged writes.
    #[error(
        "it has `{setting}` = `{value}`, with which a crash loses acknowledged writes; set it to `{wanted}`"
    )]
    NotDurable {
        /// The setting.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it must be.
        wanted: &'static str,
    },
}

async fn settle(connection: &mut PgConnection) -> Result<(), PostgresError> {
    sqlx::raw_sql(LET_GO).execute(&mut *connection).await?;
    refuse_standby(connection).await?;
    // `remote_apply`, `remote_write` and `local` of `synchronous_commit` are as good as `on` here: a
    // fail-over to a standby that lags is for the program to find.
    for (setting, sql) in [
        ("synchronous_commit", "SHOW synchronous_commit"),
        ("fsync", "SHOW fsync"),
        ("full_page_writes", "SHOW full_page_writes"),
    ] {
        let value: String = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
        if value == "off" {
            return Err(PostgresError::NotDurable {
                setting,
                value,
                wanted: "on",
            });
        }
    }
    Ok(())
}

/// A standby takes no write and has locks of its own: during a fail-over it is no more than a database
/// that is out of reach.
async fn refuse_standby(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let is_standby: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
        .fetch_one(connection)
        .await?;
    if is_standby {
        let text = "the server is a standby, which takes no writes: name the primary";
        return Err(sqlx::Error::Io(std::io::Error::new(
            ErrorKind::NotConnected,
            text,
        )));
    }
    Ok(())
}

/// Nobody listens yet, or the server says that it is not ready.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::NotFound
        ),
        sqlx::Error::Database(error) => error.code().as_deref() == Some(CANNOT_CONNECT_NOW),
        _ => false,
    }
}

fn timed_out() -> sqlx::Error {
    let seconds = ACQUIRING.as_secs();
    let text = format!("the server did not answer within {seconds} s");
    sqlx::Error::Io(std::io::Error::new(ErrorKind::TimedOut, text))
}

/// So long may a connection take.
const ACQUIRING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(200);
const CANNOT_CONNECT_NOW: &str = "57P03";

/// A client that is cut off in the middle of a transaction holds its locks. The server must not wait
/// for it for hours: nobody else can write meanwhile.
const LET_GO: &str = "SET idle_in_transaction_session_timeout = '10s';
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = '10s'";
