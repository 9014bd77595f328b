use jiff::Timestamp;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::bench::{Bench, Session, conf};

async fn again(bench: &mut Bench, owner: &mut Session) {
    bench.restart().await;
    bench.server().api_url().clone_into(&mut owner.base);
}

#[tokio::test]
async fn a_deploy_goes_on_after_a_crash_while_its_runtime_is_prepared() {
    let mut bench = Bench::start().await;
    let mut owner = bench.owner().await;
    let permits = bench.environments.forget_permits(1000);
    let app = owner.deploy(&bench, "hello", "normal").await;
    bench.crash().await;
    bench.environments.add_permits(permits);
    again(&mut bench, &mut owner).await;
    owner.until(&app, "initializing").await;
    owner.provision(&bench, &app).await;
}

#[tokio::test]
async fn a_waiting_app_waits_again_in_a_new_enclave() {
    let mut bench = Bench::start().await;
    let mut owner = bench.owner().await;
    let app = owner.deploy(&bench, "hello", "normal").await;
    let before = owner.until(&app, "initializing").await;
    for orderly in [false, true] {
        if orderly {
            bench.shut_down().await;
        } else {
            bench.crash().await;
        }
        again(&mut bench, &mut owner).await;
        let after = owner.until(&app, "initializing").await;
        for field in ["id", "expires_at", "domain_name", "tls_names", "created_at"] {
            assert_eq!(before[field], after[field]);
        }
    }
    owner.provision(&bench, &app).await;
}

#[tokio::test]
async fn a_running_app_cannot_come_back_and_says_so() {
    for orderly in [false, true] {
        let mut bench = Bench::start().await;
        let mut owner = bench.owner().await;
        let app = owner.deploy_and_provision(&bench, "hello").await;
        if orderly {
            bench.shut_down().await;
        } else {
            bench.crash().await;
        }
        again(&mut bench, &mut owner).await;
        let after = owner.until(&app, "on_error").await;
        let reason = after["status_reason"].as_str().unwrap();
        assert!(reason.contains("deploy again"), "{reason}");
        assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
        // Name and hardware are free again.
        owner.deploy(&bench, "hello", "normal").await;
    }
}

#[tokio::test]
async fn what_was_asked_to_stop_is_stopped_and_what_is_over_has_ended() {
    let mut bench = Bench::start().await;
    let mut owner = bench.owner().await;
    let stopping = owner.deploy(&bench, "stopping", "slow").await;
    owner.until(&stopping, "initializing").await;
    let id = stopping["id"].as_str().unwrap().parse().unwrap();
    bench
        .store()
        .ask_to_stop(id, "stopped by its owner")
        .await
        .unwrap();
    let bundle = bench.bundle();
    let mut brief = conf("brief", "normal", &bundle);
    brief["expires_at"] =
        json!((Timestamp::now() + jiff::SignedDuration::from_secs(2)).to_string());
    let (_, brief) = owner.create(&brief, &bundle.bytes).await;
    bench.crash().await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    again(&mut bench, &mut owner).await;
    for app in [&stopping, &brief] {
        let (_, now) = owner
            .get(&format!("/apps/{}", app["id"].as_str().unwrap()))
            .await;
        assert_eq!(now["status"], "stopped", "{now}");
    }
    assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
}

#[tokio::test]
async fn bundles_without_an_app_and_half_uploads_are_removed() {
    let mut bench = Bench::start().await;
    let mut owner = bench.owner().await;
    bench.crash().await;
    let blobs = bench.data().join("blobs");
    std::fs::write(blobs.join("uploads/half"), "half an upload").unwrap();
    std::fs::write(
        blobs.join("6f1c1e6e-0000-4000-8000-000000000000.tar"),
        "no row",
    )
    .unwrap();
    again(&mut bench, &mut owner).await;
    assert!(bench.leftovers().is_empty(), "{:?}", bench.leftovers());
    let (status, apps) = owner.get("/apps").await;
    assert_eq!((status, apps), (StatusCode::OK, json!([])));
}

#[tokio::test]
async fn a_lost_bundle_is_admitted() {
    let mut bench = Bench::start().await;
    let mut owner = bench.owner().await;
    let app = owner.deploy(&bench, "hello", "normal").await;
    owner.until(&app, "initializing").await;
    bench.crash().await;
    let bundle = format!("blobs/{}.tar", app["id"].as_str().unwrap());
    std::fs::remove_file(bench.data().join(bundle)).unwrap();
    again(&mut bench, &mut owner).await;
    let now: Value = owner.until(&app, "on_error").await;
    assert!(
        now["status_reason"].as_str().unwrap().contains("lost"),
        "{now}"
    );
}
