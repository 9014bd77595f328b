//! `kill -9` of `mse-server` at each state of a deploy, then a restart: the deploy resumes or is
//! undone, no orphan process is left, and the platform tells the truth (invariant 8).

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use mse_api::{App, AppStatus};
use mse_ratls::{Endpoint, GivenCollateral, connect};
use mse_tests::enclave::{Machine, OwnedApp};
use mse_tests::platform::{Person, Server, path, until};
use mse_tests::rest::{Rest, workload_of};
use mse_workload::Measured as _;

const APP: &str = r#"
from flask import Flask
app = Flask(__name__)

@app.get("/health")
def health():
    return "OK"
"#;

fn no_orphans(server: &Server) {
    until("no enclave process is left", || {
        server.enclave_processes().is_empty().then_some(())
    });
}

fn an_app(machine: &Machine) -> OwnedApp {
    machine.app(&[("app.py", APP)])
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_upload_is_on_its_way() {
    let mut server = Server::start();
    let rest = Rest::log_in(&server).await;
    let mut half = TcpStream::connect(&server.ready.api).unwrap();
    // The session is a bearer token; an upload that is refused would prove nothing.
    let token = rest.token();
    write!(
        half,
        "POST /apps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n\
         --b\r\nContent-Disposition: form-data; name=\"code\"; filename=\"app.tar\"\r\n\r\n"
    )
    .unwrap();
    half.write_all(&vec![0x41; 200_000]).unwrap();
    let uploading = || !mse_tests::rest::files_with(&server.data(), &[0x41; 1000]).is_empty();
    until("the upload has begun", || uploading().then_some(()));
    server.crash();
    server.restart();
    assert!(
        mse_tests::rest::files_with(&server.data(), &[0x41; 1000]).is_empty(),
        "half an upload is left"
    );
    let rest = Rest::log_in(&server).await;
    let apps: serde_json::Value = rest.get("/apps").await.json().await.unwrap();
    assert_eq!(apps, serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_spawning() {
    // An enclave program that never says a word keeps the app where it is; like the real one, it
    // ends when the launch socket closes.
    let dir = tempfile::tempdir().unwrap();
    let mute = dir.path().join("mute");
    std::fs::write(&mute, "#!/bin/sh\nexec cat >/dev/null\n").unwrap();
    std::fs::set_permissions(&mute, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut server = Server::start_with(&["--enclave", path(&mute)]);
    let machine = Machine::new().await;
    let rest = Rest::log_in(&server).await;
    let created: App = rest
        .create(&an_app(&machine), "mute")
        .await
        .json()
        .await
        .unwrap();
    until("its process runs", || sleepers(&server).first().copied());
    server.crash();
    until("its process is gone", || {
        sleepers(&server).is_empty().then_some(())
    });
    server.restart();

    // It is launched again, from the blob that was kept.
    until("its process runs again", || {
        sleepers(&server).first().copied()
    });
    let rest = Rest::log_in(&server).await;
    assert_eq!(rest.app(created.id).await.status, AppStatus::Spawning);
    let stopped = rest.post(&format!("/apps/{}/stop", created.id)).await;
    assert!(stopped.status().is_success());
    rest.until(created.id, AppStatus::Stopped).await;
    until("nothing is left of it", || {
        sleepers(&server).is_empty().then_some(())
    });
}

/// Processes that run in a folder of the platform's: the mute enclaves.
fn sleepers(server: &Server) -> Vec<u32> {
    let instances = server.data().join("instances");
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read_link(format!("/proc/{pid}/cwd"))
                .is_ok_and(|folder| folder.starts_with(&instances))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn while_initializing() {
    let mut server = Server::start();
    let machine = Machine::new().await;
    let rest = Rest::log_in(&server).await;
    let app = an_app(&machine);
    let created: App = rest.create(&app, "hello").await.json().await.unwrap();
    rest.until(created.id, AppStatus::Initializing).await;
    server.crash();
    no_orphans(&server);
    server.restart();

    // A fresh enclave of the same workload waits, and can be provisioned.
    let rest = Rest::log_in(&server).await;
    let told = rest.until(created.id, AppStatus::Initializing).await;
    let mut channel = attested(&server, &app, &told).await;
    let mut payload = app.payload(None);
    payload.app_id = told.id;
    channel.provision(&payload).await.unwrap();
    let running = rest.until(created.id, AppStatus::Running).await;
    assert!(running.ready_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_running() {
    let mut server = Server::start();
    let machine = Machine::new().await;
    let rest = Rest::log_in(&server).await;
    let app = an_app(&machine);
    let created: App = rest.create(&app, "hello").await.json().await.unwrap();
    let told = rest.until(created.id, AppStatus::Initializing).await;
    let mut channel = attested(&server, &app, &told).await;
    let mut payload = app.payload(None);
    payload.app_id = told.id;
    channel.provision(&payload).await.unwrap();
    rest.until(created.id, AppStatus::Running).await;
    assert!(!server.enclave_processes().is_empty());
    server.crash();
    no_orphans(&server);
    server.restart();

    // Its keys lived only in the enclave: it cannot come back by itself, and says so.
    let rest = Rest::log_in(&server).await;
    let told = rest.app(created.id).await;
    assert_eq!(told.status, AppStatus::OnError);
    assert!(told.status_reason.unwrap().contains("restarted"));
    // The name and the hardware are free again.
    let again = rest.create(&an_app(&machine), "hello").await;
    assert!(
        again.status().is_success(),
        "{}",
        again.text().await.unwrap()
    );
}

/// `mse list` after a crash says what the platform says.
#[test]
fn the_owner_is_told_the_truth() {
    let mut server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    owner.deploy(&manifest, &[]);
    server.crash();
    server.restart();
    let list = owner.run(&["list", "--all", "--json"]).succeeded().json();
    assert_eq!(list["apps"][0]["status"], "on_error", "{list}");
    let live = owner.run(&["list", "--json"]).succeeded().json();
    assert_eq!(live["apps"], serde_json::json!([]), "{live}");
}

async fn attested(server: &Server, app: &OwnedApp, told: &App) -> mse_ratls::AttestedChannel {
    let platform = mse_simtee::Platform::open(&tee_of(server)).unwrap();
    let enclave = std::fs::File::open(mse_tests::programs::program("mse-enclave")).unwrap();
    let enclave = mse_workload::EnclaveDigest(mse_crypto::Digest::of_reader(enclave).unwrap());
    let workload = workload_of(app, told);
    let expected = mse_ratls::Expected {
        policy: mse_attest::Policy::strict().with_simulated(platform.trust_anchor().clone()),
        measurement: Some(mse_workload::measurement::simulated(
            &enclave,
            &workload.digest(),
        )),
        mrsigner: Some(platform.mrsigner()),
    };
    let endpoint = Endpoint {
        address: told.gateway.clone(),
        server_name: told.config_domain_name.clone(),
    };
    let collateral = platform.collateral(std::time::SystemTime::now()).unwrap();
    connect(&endpoint, &expected, &GivenCollateral(collateral.into()))
        .await
        .unwrap()
}

fn tee_of(server: &Server) -> std::path::PathBuf {
    server
        .ready
        .trust_anchor
        .parent()
        .map(|data| data.join("platform"))
        .unwrap()
}
