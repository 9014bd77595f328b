//! The program itself, `mse-server`, as people and scripts start it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::bench::{PATIENCE, Session, fake_enclave};

fn server(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mse-server"));
    command
        .arg("--data-dir")
        .arg(data.join("data"))
        .args(arguments)
        .env_remove("MSE_PASSWORD")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn serving(folder: &Path) -> (Child, Value) {
    let enclave = fake_enclave(folder);
    let ready = folder.join("ready.json");
    let mut child = server(
        folder,
        &[
            "--listen",
            "127.0.0.1:0",
            "--gateway",
            "127.0.0.1:0",
            "--app-ports",
            "0",
        ],
    )
    .arg("--enclave")
    .arg(enclave)
    .arg("--ready-file")
    .arg(&ready)
    .spawn()
    .unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(json) = fs::read(&ready) {
            return (child, serde_json::from_slice(&json).unwrap());
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        assert!(Instant::now() < deadline, "never ready");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn refused(output: &Output, word: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(word), "`{word}` is not in {text}");
}

#[tokio::test]
async fn it_says_what_it_is_and_stops_in_order() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let (child, ready) = serving(folder.path());
    let anonymous = Session {
        client: reqwest::Client::new(),
        base: ready["api"].as_str().unwrap().to_owned(),
        token: String::new(),
    };
    assert_eq!(ready["pid"], child.id());
    assert_eq!(anonymous.get("/health").await.0, StatusCode::OK);
    let log_in = async |token: &str| {
        let login = json!({"one_time_token": token});
        anonymous.call(Method::POST, "/login", Some(&login)).await.0
    };
    assert_eq!(
        log_in(ready["token"].as_str().unwrap()).await,
        StatusCode::OK
    );
    let anchor = fs::read_to_string(ready["trust_anchor"].as_str().unwrap()).unwrap();
    mse_attest::TrustAnchor::from_toml(&anchor).unwrap();

    // Another token, from another process.
    let output = server(folder.path(), &["token"]).output().unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!(log_in(token.trim()).await, StatusCode::OK);
    let url_of = |options: &[&str]| {
        let arguments = [&["--listen", "127.0.0.1:7311"], options, &["token"]].concat();
        let output = server(folder.path(), &arguments).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let plain = url_of(&[]);
    assert!(plain.contains("--server http://127.0.0.1:7311 "), "{plain}");
    let tls = url_of(&["--tls-certificate", "api.pem", "--tls-key", "api.key"]);
    assert!(tls.contains("--server https://127.0.0.1:7311 "), "{tls}");
    // A second server stays out.
    refused(
        &server(folder.path(), &[]).output().unwrap(),
        "in use by another",
    );

    let password = |value: &str| {
        let mut command = server(folder.path(), &["password", "owner@localhost"]);
        command.env("MSE_PASSWORD", value).output().unwrap()
    };
    refused(&password("short"), "shorter than 12");
    assert!(password("correct horse battery").status.success());
    let login = json!({"email": "owner@localhost", "password": "correct horse battery"});
    let (status, _) = anonymous.call(Method::POST, "/login", Some(&login)).await;
    assert_eq!(status, StatusCode::OK);

    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let banner = String::from_utf8(output.stdout).unwrap();
    assert!(banner.contains("SIMULATED"), "{banner}");
    assert!(
        banner.contains(&format!("mse login --server {}", anonymous.base)),
        "{banner}"
    );
    assert!(banner.contains("mse trust add /"), "{banner}");
    assert!(!folder.path().join("ready.json").exists());
    // The log never has what lets someone in.
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!log.contains(ready["token"].as_str().unwrap()), "{log}");
}

#[test]
fn it_refuses_what_it_cannot_do() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, word) in [
        (&["--role", "gateway"][..], "not built yet"),
        (&["--listen", "0.0.0.0:0"], "--tls-certificate"),
        (
            &["--enclave", "/nowhere/mse-enclave"],
            "/nowhere/mse-enclave",
        ),
        (&["token"], "there is no platform"),
        (&["password", "owner@localhost"], "there is no platform"),
        (&["--hardware", "big"], "NAME=COUNT:MEMORY_MIB:CORES"),
        (&["--app-ports", "5-1"], "range of ports"),
    ] {
        let folder = folder.path().join(arguments[0]);
        fs::create_dir_all(&folder).unwrap();
        refused(&server(&folder, arguments).output().unwrap(), word);
    }
}
