//! The store as a whole, and where the tests of its parts run: on an SQLite file, and on a database
//! of a PostgreSQL server that the tests start.

use std::sync::Arc;

use mse_tests::postgres::Postgres;
use sqlx::{ConnectOptions, PgConnection};

pub(crate) use super::apps::tests::app_named;
use super::*;

/// Runs the same test on each database.
macro_rules! on_both {
    ($($name:ident;)+) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$name($crate::store::tests::Place::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$name($crate::store::tests::Place::postgres()).await;
            }
        }
    )+};
}
pub(crate) use on_both;

/// A place for one store.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    location: Location,
    /// Keeps it up.
    _server: Option<Arc<Postgres>>,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            location: Location::Sqlite(folder.path().join("mse.db")),
            folder,
            _server: None,
        }
    }

    pub(crate) fn postgres() -> Self {
        let server = Postgres::shared();
        Self {
            folder: tempfile::tempdir().unwrap(),
            location: server.database().text().parse().unwrap(),
            _server: Some(server),
        }
    }

    pub(crate) async fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.location).await
    }

    /// A connection of somebody else's.
    async fn stranger(&self) -> PgConnection {
        let Location::Postgres(options) = &self.location else {
            panic!("not on PostgreSQL");
        };
        options.connect().await.unwrap()
    }
}

on_both! {
    opening_again_keeps_what_was_written;
    commands_work_beside_the_server;
    a_database_of_another_version_is_left_alone;
}

async fn opening_again_keeps_what_was_written(place: Place) {
    let store = place.open().await.unwrap();
    let now = Timestamp::now();
    let account = store.ensure_account("a@example.org", now).await.unwrap();
    store.close().await;
    let again = place.open().await.unwrap();
    let found = again.account_by_email("A@EXAMPLE.org").await.unwrap();
    assert_eq!(found.unwrap().id, account.id);
}

async fn commands_work_beside_the_server(place: Place) {
    let beside = async || Store::beside_the_server(&place.location).await;
    let refused = beside().await.err().unwrap();
    assert!(
        matches!(refused, StoreError::NoPlatform { .. }),
        "{refused}"
    );

    let store = place.open().await.unwrap();
    let now = Timestamp::now();
    let account = store.ensure_account("a@example.org", now).await.unwrap();
    let command = beside().await.unwrap();
    let token = command.issue_login_token(account.id, now).await.unwrap();
    command.close().await;
    let redeemed = store.redeem_login_token(&token, now).await.unwrap();
    assert_eq!(redeemed, Some(account));
}

async fn a_database_of_another_version_is_left_alone(place: Place) {
    let store = place.open().await.unwrap();
    query("DELETE FROM _sqlx_migrations WHERE version > 1")
        .change(&store)
        .await
        .unwrap();
    store.close().await;
    let refused = Store::beside_the_server(&place.location).await;
    let refused = refused.err().unwrap();
    assert!(
        matches!(refused, StoreError::OtherVersion { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let place = Place::sqlite();
    let path = place.folder.path().join("mse.db");
    std::fs::write(&path, "not a database at all, and longer than a header").unwrap();
    let refused = place.open().await.err().unwrap().to_string();
    assert!(refused.contains("mse.db"), "{refused}");
}

/// What the tables are made of says the same for both, but for the words that differ.
#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date() {
    let place = Place::sqlite();
    let path = place.folder.path().join("mse.db");
    let database = sqlite(&place.location, &path, Missing::Make).await.unwrap();
    tables::bring_up_to(&database, 1).await;
    database.close().await;
    let store = place.open().await.unwrap();
    let now = Timestamp::now();
    store.ensure_account("a@example.org", now).await.unwrap();
}

#[tokio::test]
async fn a_second_server_is_refused_until_the_first_has_ended() {
    let place = Place::postgres();
    let first = place.open().await.unwrap();
    let refused = place.open().await.err().unwrap();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    first.close().await;
    let second = place.open().await.unwrap();
    // As after a crash: nothing is closed in order.
    drop(second);
    place.open().await.unwrap();
}

/// Ends the connection that holds the lock, and takes the lock before its server can have it again.
const SNATCH: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
     SELECT pg_advisory_lock(7886758618339832438)";

#[tokio::test]
async fn without_the_lock_nothing_is_written_until_it_is_held_again() {
    let place = Place::postgres();
    let store = place.open().await.unwrap();
    let now = Timestamp::now();
    store.ensure_account("a@example.org", now).await.unwrap();
    let mut hold = store.watch_hold().unwrap();
    assert_eq!(*hold.borrow(), Hold::Held { times: 1 });

    let mut snatcher = place.stranger().await;
    sqlx::raw_sql(SNATCH).execute(&mut snatcher).await.unwrap();
    hold.wait_for(|hold| *hold == Hold::Unsure).await.unwrap();
    let refused = store.ensure_account("b@example.org", now).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, StoreError::Unsure { .. }), "{refused}");
    assert!(refused.is_passing());
    // Reading is no harm.
    let found = store.account_by_email("a@example.org").await.unwrap();
    assert!(found.is_some());

    drop(snatcher);
    let again = Hold::Held { times: 2 };
    hold.wait_for(|hold| *hold == again).await.unwrap();
    store.ensure_account("b@example.org", now).await.unwrap();
}

#[tokio::test]
async fn a_server_that_another_one_replaced_is_over() {
    let place = Place::postgres();
    let store = place.open().await.unwrap();
    let mut snatcher = place.stranger().await;
    sqlx::raw_sql(SNATCH).execute(&mut snatcher).await.unwrap();
    sqlx::raw_sql("UPDATE server SET run = 'another'")
        .execute(&mut snatcher)
        .await
        .unwrap();
    let over = store.taken_over().await;
    assert!(matches!(over, StoreError::TakenOver { .. }), "{over}");
    // And so it stays, though that other one has ended.
    drop(snatcher);
    let refused = store.ensure_account("a@example.org", Timestamp::now());
    let refused = refused.await.unwrap_err();
    assert!(matches!(refused, StoreError::TakenOver { .. }), "{refused}");
    assert!(!refused.is_passing());
}

#[tokio::test]
async fn a_write_is_refused_before_anybody_noticed_the_loss() {
    let place = Place::postgres();
    let store = place.open().await.unwrap();
    let mut stranger = place.stranger().await;
    sqlx::raw_sql("UPDATE server SET run = 'another'")
        .execute(&mut stranger)
        .await
        .unwrap();
    let refused = store.ensure_account("a@example.org", Timestamp::now());
    let refused = refused.await.unwrap_err();
    assert!(matches!(refused, StoreError::TakenOver { .. }), "{refused}");
    store.taken_over().await;
}

#[tokio::test]
async fn a_database_that_loses_commits_is_refused() {
    let place = Place::postgres();
    let mut stranger = place.stranger().await;
    sqlx::raw_sql("DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END$$")
        .execute(&mut stranger)
        .await
        .unwrap();
    let refused = place.open().await.err().unwrap().to_string();
    assert!(
        refused.contains("`synchronous_commit` = `off`"),
        "{refused}"
    );
}
