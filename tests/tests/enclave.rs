//! The enclave program by itself: what it takes, what it refuses, what it leaves behind.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http_body_util::BodyExt;
use mse_crypto::CodeKey;
use mse_ratls::AttestedChannel;
use mse_ratls::channel::{ProvisionError, full};
use mse_ratls::wire::{ATTEST, MAX_PROVISIONING, PROVISION, ProblemCode};
use mse_tests::enclave::{LaunchedEnclave, Machine, OwnedApp};
use mse_workload::AppId;
use mse_workload::launch::Phase;

const APP: &str = r#"
import json, os
from flask import Flask
app = Flask(__name__)

@app.get("/health")
def health():
    return "OK"

@app.get("/")
def hello():
    return "Hello world"

@app.get("/secret-length")
def secret():
    with open(os.environ["SECRETS_PATH"]) as file:
        return str(len(json.load(file)["password"]))
"#;

async fn launched() -> (Machine, OwnedApp, LaunchedEnclave) {
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    let enclave = machine.launch(&app).await;
    (machine, app, enclave)
}

async fn get(channel: &mut AttestedChannel, path: &str) -> (u16, String) {
    send(channel, http::Method::GET, path, Vec::new()).await
}

async fn send(
    channel: &mut AttestedChannel,
    method: http::Method,
    path: &str,
    body: Vec<u8>,
) -> (u16, String) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(full(body))
        .unwrap();
    let answer = channel.request(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn code(error: ProvisionError) -> ProblemCode {
    match error {
        ProvisionError::Refused(problem) => problem.code,
        other => panic!("not a refusal: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_provisions_and_the_app_answers() {
    let (machine, app, mut enclave) = launched().await;
    let mut channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    let waiting = get(&mut channel, "/").await;
    assert_eq!(waiting.0, 200);
    assert!(waiting.1.contains("waits for its secrets"), "{waiting:?}");
    channel
        .provision(&app.payload(Some(r#"{"password":"twelve chars"}"#)))
        .await
        .unwrap();
    let (phase, log) = enclave.settle().await;
    assert_eq!(phase, Phase::Running, "{log:#?}");
    assert_eq!(get(&mut channel, "/").await, (200, "Hello world".into()));
    assert_eq!(
        get(&mut channel, "/secret-length").await,
        (200, "12".into())
    );

    // A second time, even by the owner, is refused.
    let again = channel.provision(&app.payload(None)).await.unwrap_err();
    assert_eq!(code(again), ProblemCode::AlreadyProvisioned);

    enclave.enclave.stop(std::time::Duration::from_secs(5));
    let (phase, _) = enclave.settle().await;
    assert!(matches!(phase, Phase::Stopped { .. }), "{phase:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_of_the_code_key_provisions() {
    let (machine, app, mut enclave) = launched().await;
    let mut channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    // A stranger knows the uuid and reaches the port first.
    let mut stranger = app.payload(None);
    stranger.code_key = CodeKey::generate();
    let refused = channel.provision(&stranger).await.unwrap_err();
    assert_eq!(code(refused), ProblemCode::WrongCodeKey);
    // Another app's payload does not even open.
    let mut other = app.payload(None);
    other.app_id = AppId::generate();
    let refused = channel.provision(&other).await.unwrap_err();
    assert_eq!(code(refused), ProblemCode::DoesNotOpen);
    // The owner still can.
    channel.provision(&app.payload(None)).await.unwrap();
    assert_eq!(enclave.settle().await.0, Phase::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversized_bodies_are_refused_and_nothing_is_kept() {
    let (machine, app, mut enclave) = launched().await;
    let mut channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    let bodies: [(&str, Vec<u8>, u16, &str); 6] = [
        (PROVISION, b"not json".to_vec(), 400, "malformed"),
        (PROVISION, br#"{"sealed":"%%%"}"#.to_vec(), 400, "malformed"),
        (
            PROVISION,
            br#"{"sealed":"AAAA","more":1}"#.to_vec(),
            400,
            "malformed",
        ),
        (
            PROVISION,
            format!(r#"{{"sealed":"{}"}}"#, BASE64.encode([7; 100])).into_bytes(),
            403,
            "does-not-open",
        ),
        (ATTEST, br#"{"nonce":"00"}"#.to_vec(), 400, "malformed"),
        (
            "/",
            br#"{"uuid":"x","code_secret_key":"y"}"#.to_vec(),
            400,
            "malformed",
        ),
    ];
    for (path, body, status, problem) in bodies {
        let answer = send(&mut channel, http::Method::POST, path, body).await;
        assert_eq!(answer.0, status, "{path}: {answer:?}");
        assert!(answer.1.contains(problem), "{path}: {answer:?}");
    }
    let mut secrets = app.payload(Some("{not json"));
    assert_eq!(
        code(channel.provision(&secrets).await.unwrap_err()),
        ProblemCode::Malformed
    );
    secrets.secrets = None;

    let mut other = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    let oversized = send(
        &mut other,
        http::Method::POST,
        PROVISION,
        vec![b' '; MAX_PROVISIONING + 1],
    )
    .await;
    assert_eq!(oversized.0, 413, "{oversized:?}");

    channel.provision(&secrets).await.unwrap();
    assert_eq!(enclave.settle().await.0, Phase::Running);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_changed_after_the_upload_is_refused_by_the_enclave() {
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    // The operator changes one byte of the ciphertext but not the workload.
    let mut bytes = std::fs::read(&app.bundle).unwrap();
    bytes[600] ^= 1;
    std::fs::write(&app.bundle, bytes).unwrap();
    let enclave = machine.launch(&app).await;
    let mut channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    let refused = channel.provision(&app.payload(None)).await.unwrap_err();
    assert_eq!(code(refused), ProblemCode::WrongCodeKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_workload_or_enclave_program_has_another_measurement() {
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    let mut changed = app.clone();
    changed.workload.expires_at = changed.workload.expires_at.map(|at| at + 1);
    let enclave = machine.launch(&changed).await;
    let refused = machine.connect(&enclave.endpoint, &app.workload).await;
    assert!(refused.is_err_and(|error| error.is_refusal()));

    // One byte more in the program, which runs as before.
    let program = machine.data.path().join("mse-enclave");
    let mut bytes = std::fs::read(mse_tests::programs::program("mse-enclave")).unwrap();
    bytes.push(0);
    std::fs::write(&program, bytes).unwrap();
    set_executable(&program);
    let other = Machine::with_enclave(&program).await;
    let enclave = other.launch(&app).await;
    let mut expected = other.expected(&app.workload);
    expected.measurement = Some(machine.measurement(&app.workload));
    let collateral = mse_ratls::GivenCollateral(
        other
            .platform
            .collateral(std::time::SystemTime::now())
            .unwrap()
            .into(),
    );
    let refused = mse_ratls::connect(&enclave.endpoint, &expected, &collateral).await;
    assert!(refused.is_err_and(|error| error.is_refusal()));
}

/// The serve script and the lock are the operator's to hand over, and the enclave's to check.
#[tokio::test(flavor = "multi_thread")]
async fn another_serve_script_than_the_measured_one_is_refused() {
    let mut machine = Machine::new().await;
    machine
        .python
        .serve
        .push_str("\nprint('of the operator')\n");
    let app = machine.app(&[("app.py", APP)]);
    let mut enclave = machine.launch(&app).await;
    let mut channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    channel.provision(&app.payload(None)).await.unwrap();
    let (phase, log) = enclave.settle().await;
    assert!(
        matches!(&phase, Phase::Failed { reason } if reason.contains("image digest")),
        "{phase:?}"
    );
    assert!(
        !log.iter().any(|line| line.contains("of the operator")),
        "{log:#?}"
    );
}

/// Silent clients, half requests and abandoned attempts hold up nobody.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_stall_do_not_keep_the_owner_out() {
    let (machine, app, mut enclave) = launched().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(
            tokio::net::TcpStream::connect(&enclave.endpoint.address)
                .await
                .unwrap(),
        );
    }
    for _ in 0..20 {
        let mut stranger = machine
            .connect(&enclave.endpoint, &app.workload)
            .await
            .unwrap();
        let mut payload = app.payload(None);
        payload.code_key = CodeKey::generate();
        // Given up before it is answered.
        let attempt = stranger.provision(&payload);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(1), attempt).await;
    }
    let mut channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    channel.provision(&app.payload(None)).await.unwrap();
    assert_eq!(enclave.settle().await.0, Phase::Running);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_app_says_why() {
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", "import nothing_of_that_name\n")]);
    let mut enclave = machine.launch(&app).await;
    let mut channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    channel.provision(&app.payload(None)).await.unwrap();
    let (phase, log) = enclave.settle().await;
    assert!(matches!(phase, Phase::Failed { .. }), "{phase:?}");
    assert!(
        log.iter().any(|line| line.contains("nothing_of_that_name")),
        "{log:#?}"
    );
}

fn set_executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
