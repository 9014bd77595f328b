use jiff::Timestamp;
use mse_crypto::password;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::bench::Bench;

#[tokio::test]
async fn a_one_time_token_works_once() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let (status, me) = owner.get("/users/me").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(me["email"], "owner@localhost");

    let again = json!({"one_time_token": bench.server().token()});
    let (status, refusal) = bench
        .anonymous()
        .call(Method::POST, "/login", Some(&again))
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(refusal["code"], "unauthorized");
    assert!(
        refusal["hint"]
            .as_str()
            .unwrap()
            .contains("mse-server token")
    );
}

#[tokio::test]
async fn a_logout_ends_the_session() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    assert_eq!(owner.post("/logout").await.0, StatusCode::NO_CONTENT);
    assert_eq!(owner.get("/users/me").await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn passwords_are_limited_in_attempts() {
    let bench = Bench::start().await;
    let store = bench.store();
    let owner = store
        .account_by_email("owner@localhost")
        .await
        .unwrap()
        .unwrap();
    let hash = password::hash("correct horse battery").unwrap();
    store.set_password_hash(owner.id, &hash).await.unwrap();
    let login = |email: &str, password: &str| json!({"email": email, "password": password});
    let right = login("owner@localhost", "correct horse battery");
    bench.log_in(&right).await;

    let anonymous = bench.anonymous();
    let nobody = login("nobody@localhost", "correct horse battery");
    let wrong = login("owner@localhost", "wrong horse battery");
    for attempt in [&nobody, &wrong] {
        let (status, _) = anonymous.call(Method::POST, "/login", Some(attempt)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    for _ in 0..9 {
        anonymous.call(Method::POST, "/login", Some(&wrong)).await;
    }
    let (status, refusal) = anonymous.call(Method::POST, "/login", Some(&right)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(
        refusal["message"].as_str().unwrap().contains("too many"),
        "{refusal}"
    );
}

#[tokio::test]
async fn an_account_without_a_password_has_no_password() {
    let bench = Bench::start().await;
    let empty = json!({"email": "owner@localhost", "password": ""});
    let anonymous = bench.anonymous();
    let (status, _) = anonymous.call(Method::POST, "/login", Some(&empty)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_a_session_only_the_open_paths_answer() {
    let bench = Bench::start().await;
    let mut anonymous = bench.anonymous();
    for token in ["", "not-a-token"] {
        anonymous.token = token.into();
        for path in [
            "/users/me",
            "/apps",
            "/apps/default",
            "/projects",
            "/hardwares/4g-eu-001",
            "/apps/00000000-0000-0000-0000-000000000000",
            "/apps/00000000-0000-0000-0000-000000000000/logs",
            "/apps/00000000-0000-0000-0000-000000000000/metrics",
        ] {
            let (status, refusal) = anonymous.get(path).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(refusal["code"], "unauthorized", "{path}");
        }
        for path in ["/health", "/platform", "/openapi.json"] {
            assert_eq!(anonymous.get(path).await.0, StatusCode::OK, "{path}");
        }
    }
    let (_, platform) = anonymous.get("/platform").await;
    assert_eq!(platform["tee"], "simulated");
    assert_eq!(platform["gateway"], bench.server().gateway());
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_the_usual_form() {
    let bench = Bench::start().await;
    let anonymous = bench.anonymous();
    let (status, refusal) = anonymous.get("/nowhere").await;
    assert_eq!(
        (status, &refusal["code"]),
        (StatusCode::NOT_FOUND, &json!("not_found"))
    );
    let (status, refusal) = anonymous.post("/health").await;
    assert_eq!(
        (status, &refusal["code"]),
        (StatusCode::BAD_REQUEST, &json!("bad_request"))
    );
    let huge = json!({"one_time_token": "x".repeat(300_000)});
    let (status, refusal) = anonymous.call(Method::POST, "/login", Some(&huge)).await;
    assert_eq!(
        (status, &refusal["code"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &json!("too_large"))
    );
    let strange = json!({"token": "x"});
    let (status, refusal) = anonymous.call(Method::POST, "/login", Some(&strange)).await;
    assert_eq!(
        (status, &refusal["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid"))
    );
}

#[tokio::test]
async fn a_session_survives_a_restart() {
    let mut bench = Bench::start().await;
    let mut owner = bench.owner().await;
    bench.shut_down().await;
    bench.restart().await;
    owner.base = bench.server().api_url().to_owned();
    assert_eq!(owner.get("/users/me").await.0, StatusCode::OK);
    let store = bench.store();
    let late = Timestamp::now() + jiff::SignedDuration::from_hours(31 * 24);
    let ended = store.account_of_session(&owner.token, late).await.unwrap();
    assert!(ended.is_none());
}
