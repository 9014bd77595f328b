//! Other people's programs against ours: the package `intel-sgx-ra`, as clients of the system that
//! we replace use it, and `PyJWT`. `docs/interop.md` says what is promised.

use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mse_attest::ear::{self, Issue};
use mse_attest::{Evidence, Policy, ReferenceValues, Tee, Verifier, appraise};
use mse_crypto::Digest;
use mse_ratls::PeerCertificate;
use mse_ratls::peer::Layout;
use mse_simtee::{Platform, pccs};
use mse_tests::enclave::Machine;
use mse_tests::programs::{interop_python, repository};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;

const APP: &str = "from flask import Flask\napp = Flask(__name__)\n";

/// Runs `tests/interop/ratls.py`, or says what it said.
async fn script(arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    static PYTHON: LazyLock<std::path::PathBuf> = LazyLock::new(interop_python);
    let mut child = Command::new(&*PYTHON)
        .arg(repository().join("tests/interop/ratls.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A script that does not read ends without it.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The platform's collateral service on loopback; gives its URL.
async fn collateral_service(platform: Arc<Platform>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let platform = Arc::clone(&platform);
            let service = service_fn(move |request: Request<Incoming>| {
                let platform = Arc::clone(&platform);
                async move { Ok::<_, Infallible>(answer(&platform, &request)) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    url
}

fn answer(platform: &Platform, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("", |path| path.as_str());
    let collateral = platform.collateral(SystemTime::now()).unwrap();
    let Some(found) = pccs::respond(path, &collateral) else {
        let mut missing = Response::new(Full::default());
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return missing;
    };
    let mut response = Response::builder();
    for (name, value) in found.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(found.body)).unwrap()
}

fn platform(dir: &Path) -> Platform {
    Platform::create(&dir.join("tee"), SystemTime::now()).unwrap()
}

fn trusting(platform: &Platform) -> Policy {
    Policy::strict().with_simulated(platform.trust_anchor().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn intel_sgx_ra_verifies_a_running_enclave() {
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    let enclave = machine.launch(&app).await;
    let pccs = collateral_service(Arc::clone(&machine.platform)).await;
    let port = enclave.endpoint.address.rsplit_once(':').unwrap().1;
    let server = format!("https://localhost:{port}");
    let found = script(&["read", &pccs, &server], b"").await.unwrap();
    let found: Value = serde_json::from_slice(&found).unwrap();
    assert_eq!(found["genuine"], true);
    let measurement = machine.measurement(&app.workload);
    assert_eq!(found["mr_enclave"], hex::encode(measurement.0.0));
    assert_eq!(found["mr_signer"], hex::encode(machine.platform.mrsigner()));
    assert_eq!(found["fmspc"], hex::encode(mse_simtee::FMSPC));
    // A simulation that it took for Intel's hardware would be one too many.
    let refusal = found["online_refusal"].as_str().unwrap();
    assert!(refusal.starts_with("Unknown CN"), "{refusal}");

    // The same certificate as any RA-TLS stack sees it.
    let channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    let certificate = &channel.attestation().certificate;
    let peer = PeerCertificate::parse(&certificate.der).unwrap();
    let layouts: Vec<_> = peer.evidence().map(|bound| bound.layout).collect();
    assert_eq!(layouts, [Layout::Tagged, Layout::Point]);
    let now = SystemTime::now();
    let expected = ReferenceValues {
        mrenclave: Some(measurement.0.0),
        ..ReferenceValues::default()
    };
    let verifier = Verifier::new(trusting(&machine.platform));
    let collateral = machine.platform.collateral(now).unwrap().into();
    let appraisal = peer.appraise(&verifier, &collateral, &expected, now);
    assert_eq!(appraisal.unwrap().tee, Tee::Simulated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_in_the_form_of_intel_sgx_ra_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let platform = platform(dir.path());
    let key = dir.path().join("key.pem");
    let key = key.to_str().unwrap();
    let point = script(&["point", key], b"").await.unwrap();
    let point = hex::decode(point.trim_ascii()).unwrap();
    let mut report_data = [0; 64];
    report_data[..32].copy_from_slice(&Digest::of(&point).0);
    let quote = platform.quote([5; 32], &report_data).unwrap();
    let der = script(&["make", key], &quote).await.unwrap();

    let peer = PeerCertificate::parse(&der).unwrap();
    let layouts: Vec<_> = peer.evidence().map(|bound| bound.layout).collect();
    assert_eq!(layouts, [Layout::Point]);
    assert_eq!(peer.names, ["other.example"]);
    let now = SystemTime::now();
    assert!(peer.is_valid_at(now));
    let expected = ReferenceValues {
        mrenclave: Some([5; 32]),
        ..ReferenceValues::default()
    };
    let verifier = Verifier::new(trusting(&platform));
    let collateral = platform.collateral(now).unwrap().into();
    peer.appraise(&verifier, &collateral, &expected, now)
        .unwrap();

    // What they refuse, we refuse.
    report_data[0] ^= 1;
    let other = platform.quote([5; 32], &report_data).unwrap();
    let refusal = script(&["make", key], &other).await.unwrap_err();
    assert!(refusal.contains("RATLSVerificationError"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pyjwt_verifies_an_attestation_result() {
    let dir = tempfile::tempdir().unwrap();
    let platform = platform(dir.path());
    let now = SystemTime::now();
    let evidence = Evidence::parse(&platform.quote([6; 32], &[7; 64]).unwrap()).unwrap();
    let result = appraise(
        &evidence,
        &platform.collateral(now).unwrap().into(),
        &trusting(&platform),
        &ReferenceValues::default(),
        now,
    );
    let claims = ear::claims(
        &result,
        &Issue {
            now,
            build: "mse-tests",
            developer: "MSE",
            nonce: Some(b"a fresh nonce"),
        },
    );
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let public = dir.path().join("public.pem");
    std::fs::write(&public, key.public_key_pem()).unwrap();
    let token = ear::sign(&claims, key.serialize_pem().as_bytes()).unwrap();
    let arguments = ["token", public.to_str().unwrap()];
    let read = script(&arguments, token.as_bytes()).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&read).unwrap(), claims);

    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(signature.len()));
    let refusal = script(&arguments, forged.as_bytes()).await.unwrap_err();
    assert!(refusal.contains("InvalidSignatureError"), "{refusal}");
}
