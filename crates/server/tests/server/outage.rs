//! A server on PostgreSQL whose connections break: what it does without the lock, and what it mends
//! when it has it again.

use std::sync::Arc;

use mse_server::store::{Hold, StoreError};
use mse_tests::postgres::Postgres;
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::bench::{Bench, PATIENCE, conf};

/// Ends the connection that holds the lock, and takes the lock before its server can have it again.
const SNATCH: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
     SELECT pg_advisory_lock(7886758618339832438)";

struct OnPostgres {
    bench: Bench,
    url: String,
    _server: Arc<Postgres>,
}

async fn bench() -> OnPostgres {
    let server = Postgres::shared();
    let url = server.database().text();
    let hardware = "4g-eu-001=4:64:0.5";
    OnPostgres {
        bench: Bench::start_with(&["--hardware", hardware, "--database", &url]).await,
        url,
        _server: server,
    }
}

impl OnPostgres {
    async fn stranger(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    async fn until_held(&self, times: u64) {
        let mut hold = self.bench.store().watch_hold().unwrap();
        let held = hold.wait_for(|hold| *hold == Hold::Held { times });
        tokio::time::timeout(PATIENCE, held).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn without_the_lock_nothing_new_begins_and_apps_go_on() {
    let on = bench().await;
    let bench = &on.bench;
    let owner = bench.owner().await;
    let app = owner.deploy_and_provision(bench, "hello").await;

    let mut snatcher = on.stranger().await;
    sqlx::raw_sql(SNATCH).execute(&mut snatcher).await.unwrap();
    let mut hold = bench.store().watch_hold().unwrap();
    hold.wait_for(|hold| *hold == Hold::Unsure).await.unwrap();
    let bundle = bench.bundle();
    let other = conf("other", "normal", &bundle);
    let (status, refusal) = owner.create(&other, &bundle.bytes).await;
    assert_eq!(
        (status, &refusal["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("unavailable"))
    );
    let stop = format!("/apps/{}/stop", app["id"].as_str().unwrap());
    let (status, _) = owner.post(&stop).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    // Users and readers notice nothing.
    let domain = app["domain_name"].as_str().unwrap();
    let answer = bench.through_gateway(domain, "hi").await;
    assert!(
        String::from_utf8_lossy(&answer).contains("bytes for"),
        "{answer:?}"
    );
    owner.until(&app, "running").await;

    drop(snatcher);
    on.until_held(2).await;
    let (status, answer) = owner.create(&other, &bundle.bytes).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    owner.until(&answer, "initializing").await;
    let (status, stopped) = owner.post(&stop).await;
    assert_eq!(
        (status, &stopped["status"]),
        (StatusCode::OK, &json!("stopped"))
    );
}

#[tokio::test]
async fn a_step_that_meets_a_lost_lock_waits_for_it() {
    let on = bench().await;
    let bench = &on.bench;
    let owner = bench.owner().await;
    let permits = bench.environments.forget_permits(1000);
    let app = owner.deploy(bench, "hello", "normal").await;

    let mut snatcher = on.stranger().await;
    sqlx::raw_sql(SNATCH).execute(&mut snatcher).await.unwrap();
    let mut hold = bench.store().watch_hold().unwrap();
    hold.wait_for(|hold| *hold == Hold::Unsure).await.unwrap();
    // Its next step is to say that it launches, and that cannot be written down.
    bench.environments.add_permits(permits);
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(owner.until(&app, "spawning").await["status"], "spawning");
    drop(snatcher);
    owner.until(&app, "initializing").await;
    owner.provision(bench, &app).await;
}

/// As after a commit whose answer was lost, or an end that could not be written down: a row that says
/// the app lives, and nobody who looks after it.
#[tokio::test]
async fn ends_that_were_missed_are_written_down_when_the_lock_is_held_again() {
    let on = bench().await;
    let owner = on.bench.owner().await;
    let missed = owner.deploy(&on.bench, "missed", "normal").await;
    owner.until(&missed, "initializing").await;
    let asked = owner.deploy(&on.bench, "asked", "normal").await;
    owner.until(&asked, "initializing").await;
    for app in [&missed, &asked] {
        let path = format!("/apps/{}/stop", app["id"].as_str().unwrap());
        assert_eq!(owner.post(&path).await.0, StatusCode::OK);
    }
    let live = owner.deploy(&on.bench, "live", "normal").await;
    owner.until(&live, "initializing").await;

    let mut stranger = on.stranger().await;
    for sql in [
        "UPDATE apps SET status = 'running', stopped_at = NULL WHERE name <> 'live'",
        "UPDATE apps SET stop_reason = NULL WHERE name = 'missed'",
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    ] {
        sqlx::raw_sql(sql).execute(&mut stranger).await.unwrap();
    }
    let ended = owner.until(&missed, "on_error").await;
    let reason = ended["status_reason"].as_str().unwrap();
    assert!(reason.contains("out of reach"), "{reason}");
    let ended = owner.until(&asked, "stopped").await;
    assert_eq!(ended["status_reason"], "stopped by its owner");
    owner.until(&live, "initializing").await;
    owner.provision(&on.bench, &live).await;
}

#[tokio::test]
async fn a_server_that_was_replaced_says_so_and_its_apps_end() {
    let mut on = bench().await;
    let owner = on.bench.owner().await;
    owner.deploy_and_provision(&on.bench, "hello").await;
    let mut stranger = on.stranger().await;
    sqlx::raw_sql("UPDATE server SET run = 'another'")
        .execute(&mut stranger)
        .await
        .unwrap();
    // It learns of it by its next write.
    let bundle = on.bench.bundle();
    let other = conf("other", "normal", &bundle);
    let (status, _) = owner.create(&other, &bundle.bytes).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let over = on.bench.server().taken_over().await;
    assert!(matches!(over, StoreError::TakenOver { .. }), "{over}");
    on.bench.shut_down().await;
    assert!(
        !on.bench
            .data()
            .join("instances")
            .read_dir()
            .is_ok_and(|mut left| left.next().is_some())
    );
    // It wrote nothing: that is the other one's.
    let sql = "SELECT status FROM apps WHERE name = 'hello'";
    let status: String = sqlx::query_scalar(sql)
        .fetch_one(&mut stranger)
        .await
        .unwrap();
    assert_eq!(status, "running");
}
