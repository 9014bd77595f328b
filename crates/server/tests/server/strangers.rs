use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::bench::{Bench, conf};

#[tokio::test]
async fn what_is_anothers_does_not_exist() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let app = owner.deploy(&bench, "hello", "normal").await;
    owner.until(&app, "initializing").await;
    let now = Timestamp::now();
    let stranger = bench
        .store()
        .ensure_account("stranger@localhost", now)
        .await
        .unwrap();
    let token = bench
        .store()
        .issue_login_token(stranger.id, now)
        .await
        .unwrap();
    let stranger = bench.log_in(&json!({"one_time_token": *token})).await;

    let id = app["id"].as_str().unwrap();
    let project = app["project_id"].as_str().unwrap();
    for (method, path) in [
        (Method::GET, format!("/apps/{id}")),
        (Method::GET, format!("/apps/{id}/logs")),
        (Method::GET, format!("/apps/{id}/logs?follow=true")),
        (Method::GET, format!("/apps/{id}/metrics")),
        (Method::POST, format!("/apps/{id}/stop")),
        (Method::DELETE, format!("/apps/{id}")),
        (Method::GET, format!("/projects/{project}")),
        (Method::GET, "/hardwares/4g-eu-001".into()),
        (Method::GET, "/apps/default".into()),
    ] {
        let (status, refusal) = stranger.call(method, &path, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(refusal["code"], "not_found", "{path}");
    }
    assert_eq!(stranger.get("/apps").await.1, json!([]));
    assert_eq!(stranger.get("/projects").await.1, json!([]));
    assert_eq!(
        stranger.get(&format!("/apps?project={project}")).await.1,
        json!([])
    );
    let bundle = bench.bundle();
    let (status, refusal) = stranger
        .create(&conf("mine", "normal", &bundle), &bundle.bytes)
        .await;
    assert_eq!(
        (status, &refusal["code"]),
        (StatusCode::NOT_FOUND, &json!("not_found"))
    );
    // And nothing of it touched the owner's.
    owner.until(&app, "initializing").await;
}
