use jiff::{SignedDuration, Timestamp};
use mse_api::AppStatus;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::bench::{Bench, Session, conf, with};

fn path(app: &Value, rest: &str) -> String {
    format!("/apps/{}{rest}", app["id"].as_str().unwrap())
}

#[tokio::test]
async fn from_accepted_to_forgotten() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let app = owner.deploy_and_provision(&bench, "hello").await;
    assert!(app["ready_at"].is_string());
    assert_eq!(app["stopped_at"], Value::Null);
    let confinement = app["confinement"].as_array().unwrap();
    let names: Vec<_> = confinement
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"seccomp") && names.contains(&"memory limit"),
        "{names:?}"
    );

    let (status, refusal) = owner.call(Method::DELETE, &path(&app, ""), None).await;
    assert_eq!(
        (status, &refusal["code"]),
        (StatusCode::CONFLICT, &json!("wrong_state"))
    );

    let (status, stopped) = owner.post(&path(&app, "/stop")).await;
    assert_eq!(
        (status, &stopped["status"]),
        (StatusCode::OK, &json!("stopped"))
    );
    assert_eq!(stopped["status_reason"], "stopped by its owner");
    assert!(stopped["stopped_at"].is_string());
    assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
    // Stopping what has ended changes nothing.
    let (status, again) = owner.post(&path(&app, "/stop")).await;
    assert_eq!((status, again), (StatusCode::OK, stopped));

    let (_, logs) = owner.get(&path(&app, "/logs")).await;
    let logs = logs["stdout"].as_str().unwrap();
    for line in ["launched for hello-", "the app says hello", "stopping"] {
        assert!(logs.contains(line), "`{line}` is not in {logs}");
    }
    let id = app["id"].as_str().unwrap().parse().unwrap();
    let history = bench.store().history(id).await.unwrap();
    let statuses: Vec<_> = history.into_iter().map(|(status, _)| status).collect();
    assert_eq!(
        statuses,
        [
            AppStatus::Spawning,
            AppStatus::Initializing,
            AppStatus::Running,
            AppStatus::Stopped
        ]
    );

    let (status, _) = owner.call(Method::DELETE, &path(&app, ""), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(owner.get(&path(&app, "")).await.0, StatusCode::NOT_FOUND);
    assert!(crate::bench::files_below(&bench.data().join("logs")).is_empty());
}

#[tokio::test]
async fn faults_end_an_app_and_say_why() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    for (kind, word) in [("fails", "it was told to fail"), ("dies", "exit status: 3")] {
        let app = owner.deploy(&bench, kind, kind).await;
        let ended = owner.until(&app, "on_error").await;
        let reason = ended["status_reason"].as_str().unwrap();
        assert!(reason.contains(word), "{reason}");
    }
    assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
}

#[tokio::test]
async fn an_app_can_be_stopped_at_every_step() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let stop = async |app: &Value| {
        let (status, stopped) = owner.post(&path(app, "/stop")).await;
        assert_eq!(
            (status, &stopped["status"]),
            (StatusCode::OK, &json!("stopped"))
        );
        assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
    };
    // While its runtime is prepared,
    let permits = bench.environments.forget_permits(1000);
    let preparing = owner.deploy(&bench, "preparing", "normal").await;
    until_reason(&owner, &preparing, "preparing the runtime").await;
    stop(&preparing).await;
    bench.environments.add_permits(permits);
    // while its enclave starts,
    let launching = owner.deploy(&bench, "launching", "mute").await;
    until_reason(&owner, &launching, "launching").await;
    stop(&launching).await;
    // and while it waits.
    let waiting = owner.deploy(&bench, "waiting", "normal").await;
    owner.until(&waiting, "initializing").await;
    stop(&waiting).await;
}

#[tokio::test]
async fn an_app_ends_at_its_expiry() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let bundle = bench.bundle();
    let soon = (Timestamp::now() + SignedDuration::from_secs(3)).to_string();
    let request = with(conf("brief", "normal", &bundle), "expires_at", soon);
    let (status, app) = owner.create(&request, &bundle.bytes).await;
    assert_eq!(status, StatusCode::OK, "{app}");
    let ended = owner.until(&app, "stopped").await;
    assert!(
        ended["status_reason"]
            .as_str()
            .unwrap()
            .starts_with("expired"),
        "{ended}"
    );
    let expires_at: Timestamp = app["expires_at"].as_str().unwrap().parse().unwrap();
    let stopped_at: Timestamp = ended["stopped_at"].as_str().unwrap().parse().unwrap();
    assert!(stopped_at >= expires_at);
}

#[tokio::test]
async fn logs_are_followed_to_the_end() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let app = owner.deploy(&bench, "hello", "normal").await;
    owner.until(&app, "initializing").await;
    let follow = |after: u64| {
        let url = format!(
            "{}{}",
            owner.base,
            path(&app, &format!("/logs?follow=true&after={after}"))
        );
        let request = owner.client.get(url).bearer_auth(&owner.token);
        tokio::spawn(async move { request.send().await.unwrap().text().await.unwrap() })
    };
    let following = follow(0);
    owner.provision(&bench, &app).await;
    owner.post(&path(&app, "/stop")).await;
    let all = entries(&following.await.unwrap());
    let numbers: Vec<_> = all
        .iter()
        .map(|entry| entry["number"].as_u64().unwrap())
        .collect();
    let expected: Vec<_> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
    let has = |stream: &str, text: &str| {
        all.iter().any(|entry| {
            entry["stream"] == stream && entry["text"].as_str().unwrap().contains(text)
        })
    };
    assert!(has("app", "the app says hello"), "{all:?}");
    assert!(has("enclave", "launched for"), "{all:?}");
    assert!(has("platform", "running"), "{all:?}");
    assert!(has("platform", "stopped by its owner"), "{all:?}");

    let rest = entries(&follow(numbers.len() as u64 - 2).await.unwrap());
    assert_eq!(rest, all[all.len() - 2..]);
}

#[tokio::test]
async fn figures_have_the_form_that_clients_know() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let app = owner.deploy_and_provision(&bench, "hello").await;
    let domain = app["domain_name"].as_str().unwrap();
    bench.through_gateway(domain, "some bytes").await;
    let (status, figures) = owner.get(&path(&app, "/metrics")).await;
    assert_eq!(status, StatusCode::OK);
    for name in [
        "average_queue_time",
        "average_connect_time",
        "average_response_time",
        "average_query_time",
        "amount_of_connection",
        "cpu_usage",
        "fs_usage",
        "throughput_in",
        "throughput_out",
    ] {
        let figure = figures[name].as_array().unwrap();
        assert_eq!(figure.len(), 2, "{name}");
        assert!(figure[0].is_number(), "{name}");
    }
    assert_eq!(figures["connections_total"][1], 2);
    assert!(figures["bytes_in"][1].as_u64().unwrap() > 200);
    assert!(figures["bytes_out"][1].as_u64().unwrap() > 10);
    assert!(figures["memory_usage"][1].as_u64().unwrap() > 1_000_000);
    assert!(figures["cpu_usage"][1].is_number());
}

#[tokio::test]
async fn apps_are_listed_as_asked_for() {
    let bench = Bench::start().await;
    let owner = bench.owner().await;
    let one = owner.deploy(&bench, "one", "normal").await;
    owner.until(&one, "initializing").await;
    let two = owner.deploy(&bench, "two", "fails").await;
    owner.until(&two, "on_error").await;
    let names = async |query: &str| {
        let (status, apps) = owner.get(&format!("/apps{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}: {apps}");
        let mut names: Vec<_> = apps
            .as_array()
            .unwrap()
            .iter()
            .map(|app| app["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    let (_, projects) = owner.get("/projects?name=default").await;
    let project = projects[0]["id"].as_str().unwrap();
    assert_eq!(projects[0]["is_default"], true);
    assert_eq!(
        owner.get(&format!("/projects/{project}")).await.1,
        projects[0]
    );
    assert_eq!(names("").await, ["one", "two"]);
    assert_eq!(
        names("?status=spawning,initializing,running").await,
        ["one"]
    );
    assert_eq!(names("?status=on_error").await, ["two"]);
    assert_eq!(names("?name=two").await, ["two"]);
    assert_eq!(
        names(&format!("?project={project}&name=one")).await,
        ["one"]
    );
    assert!(
        names("?project=00000000-0000-0000-0000-000000000000")
            .await
            .is_empty()
    );
    assert_eq!(
        owner.get("/apps?status=sleeping").await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        owner.get("/apps?project=default").await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(owner.get("/projects?name=none").await.1, json!([]));

    let (_, defaults) = owner.get("/apps/default").await;
    assert_eq!(defaults["project"], "default");
    assert_eq!(defaults["hardware"], "4g-eu-001");
    let (_, hardware) = owner.get("/hardwares/4g-eu-001").await;
    assert_eq!(hardware["enclave_size"], 64);
    assert_eq!(hardware["cores"], 0.5);
    assert_eq!(owner.get("/hardwares/none").await.0, StatusCode::NOT_FOUND);
}

fn entries(lines: &str) -> Vec<Value> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

async fn until_reason(owner: &Session, app: &Value, word: &str) {
    let deadline = tokio::time::Instant::now() + crate::bench::PATIENCE;
    loop {
        let (_, now) = owner.get(&path(app, "")).await;
        if now["status_reason"].as_str().unwrap().contains(word) {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "never `{word}`: {now}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
