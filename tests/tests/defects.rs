//! The eighteen defects of the system we replace (reference, §10.2), each a test named after it.
//!
//! Not here, because there is nothing of the kind yet: 5 (a `seal` command), 14 (mutual TLS),
//! 16 (sealed data), and of 10 the login server on all interfaces (we log in without one).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use mse_attest::{CheckName, Evidence, Policy, ReferenceValues, appraise};
use mse_ratls::ConnectError;
use mse_ratls::channel::ProvisionError;
use mse_ratls::wire::ProblemCode;
use mse_runtime::process::{EnclaveEvent, LaunchSpec};
use mse_tests::enclave::Machine;
use mse_tests::platform::{Person, Server, path};
use mse_tests::programs::repository;
use mse_workload::launch::Phase;

const APP: &str = r#"
from flask import Flask
app = Flask(__name__)

@app.get("/health")
def health():
    return "OK"
"#;

/// 1: the verifier had gaps. `mse-attest` has a test for each; here, that the program as built
/// refuses a root of its sender's making, with collateral to match.
#[tokio::test]
async fn defect_01_the_root_is_pinned() {
    let (ours, theirs) = (Machine::new().await, Machine::new().await);
    let now = std::time::SystemTime::now();
    let evidence = Evidence::parse(&theirs.platform.quote([1; 32], &[2; 64]).unwrap()).unwrap();
    let policy = Policy::strict().with_simulated(ours.platform.trust_anchor().clone());
    let collateral = theirs.platform.collateral(now).unwrap().into();
    let refusal = appraise(
        &evidence,
        &collateral,
        &policy,
        &ReferenceValues::default(),
        now,
    )
    .unwrap_err();
    assert_eq!(refusal.failed, CheckName::RootOfTrust);
}

/// 2: the expected signer came from the evidence. Ours comes from the trust anchor.
#[tokio::test(flavor = "multi_thread")]
async fn defect_02_the_signer_is_not_taken_from_the_evidence() {
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    let enclave = machine.launch(&app).await;
    let mut expected = machine.expected(&app.workload);
    expected.mrsigner = Some([7; 32]);
    let collateral = mse_ratls::GivenCollateral(
        machine
            .platform
            .collateral(std::time::SystemTime::now())
            .unwrap()
            .into(),
    );
    let Err(ConnectError::Refused { refusal, .. }) =
        mse_ratls::connect(&enclave.endpoint, &expected, &collateral).await
    else {
        panic!("an enclave of another signer was accepted");
    };
    assert_eq!(refusal.failed, CheckName::MrSigner);
}

/// 3: the configuration server wrote before it authenticated, and the first caller won.
#[tokio::test(flavor = "multi_thread")]
async fn defect_03_a_stranger_who_comes_first_changes_nothing() {
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    let mut enclave = machine.launch(&app).await;
    let mut channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    let mut stranger = app.payload(Some(r#"{"password":"of the stranger"}"#));
    stranger.code_key = mse_crypto::CodeKey::generate();
    let Err(ProvisionError::Refused(problem)) = channel.provision(&stranger).await else {
        panic!("a stranger provisioned the enclave");
    };
    assert_eq!(problem.code, ProblemCode::WrongCodeKey);
    channel.provision(&app.payload(None)).await.unwrap();
    assert_eq!(enclave.settle().await.0, Phase::Running);
}

/// 4: secrets were posted over unverified TLS. 11: the certificate was written before it was
/// verified.
#[test]
fn defect_04_and_11_nothing_is_sent_or_written_before_the_verdict() {
    let (server, other) = (Server::start(), Server::start());
    let owner = Person::trusting(&other);
    owner.log_in(&server);
    let manifest = owner.take_example("helloworld");
    let workspace = owner.dir().join("workspace");
    owner
        .run(&[
            "deploy",
            "-y",
            "--path",
            path(&manifest),
            "--workspace",
            path(&workspace),
        ])
        .ended_with(1);
    assert!(!workspace.join("ratls.pem").exists());

    let honest = Person::owner(&other);
    let manifest = honest.take_example("helloworld");
    let deployed = honest.deploy(&manifest, &[]);
    let url = deployed["url"].as_str().unwrap();
    let stranger = Person::new();
    let pccs = format!("{}/pccs", other.url());
    stranger
        .run(&[
            "verify",
            url.trim_start_matches("https://").trim_end_matches('/'),
            "--pccs",
            &pccs,
        ])
        .ended_with(1);
    let left: Vec<_> = fs::read_dir(stranger.dir())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| {
            std::path::Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "pem")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// 6: evidence had no nonce. Two challenges of one enclave have different evidence.
#[tokio::test(flavor = "multi_thread")]
async fn defect_06_every_channel_gets_fresh_evidence() {
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    let enclave = machine.launch(&app).await;
    let mut report_data = BTreeSet::new();
    for _ in 0..3 {
        let channel = machine
            .connect(&enclave.endpoint, &app.workload)
            .await
            .unwrap();
        let claims = &channel.attestation().challenge_appraisal.claims;
        report_data.insert(claims.report_data().unwrap().to_vec());
    }
    assert_eq!(report_data.len(), 3);
}

/// 7: when nobody provisioned it in time, the enclave went on with plain code.
#[tokio::test(flavor = "multi_thread")]
async fn defect_07_an_enclave_that_is_not_provisioned_in_time_ends() {
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    let spec = LaunchSpec {
        workload: app.workload.clone(),
        bundle: app.bundle.clone(),
        certificate_chain: None,
        python: machine.python.clone(),
        listen: None,
        provisioning_timeout: Duration::from_secs(1),
    };
    let mut enclave = machine.runtime.launch(spec).await.unwrap();
    let mut failed = None;
    while let Some(event) = enclave.next().await {
        match event {
            EnclaveEvent::Phase(Phase::Failed { reason }) => failed = Some(reason),
            EnclaveEvent::Phase(Phase::Starting | Phase::Running) => panic!("it went on"),
            _ => {}
        }
    }
    assert!(failed.unwrap().contains("nobody provisioned"));
}

/// 8: ciphertexts of one bundle could be swapped. See also
/// `swapped_ciphertexts_change_the_digest_and_the_commitment` in `mse-workload`.
#[tokio::test(flavor = "multi_thread")]
async fn defect_08_swapped_files_are_refused_by_the_enclave() {
    let machine = Machine::new().await;
    let app = machine.app(&[("a.py", "x = 111\n"), ("b.py", "x = 222\n")]);
    let mut archive = fs::read(&app.bundle).unwrap();
    let (first, second) = (512..1024, 1536..2048);
    let saved = archive[first.clone()].to_vec();
    archive.copy_within(second.clone(), first.start);
    archive[second].copy_from_slice(&saved);
    fs::write(&app.bundle, archive).unwrap();
    let enclave = machine.launch(&app).await;
    let mut channel = machine
        .connect(&enclave.endpoint, &app.workload)
        .await
        .unwrap();
    let Err(ProvisionError::Refused(problem)) = channel.provision(&app.payload(None)).await else {
        panic!("swapped files were accepted");
    };
    assert_eq!(problem.code, ProblemCode::WrongCodeKey);
    assert!(problem.message.contains("digest"), "{problem}");
}

/// 9: the old app was stopped before the new one was checked, and nothing was rolled back. See
/// also `a_bad_project_leaves_the_running_app_alone` and every test of `deploy_refuses`.
#[test]
fn defect_09_a_deploy_is_checked_first_and_undone_when_it_fails() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    // The import fails in the enclave: the deploy fails late, after provisioning.
    let app = manifest.with_file_name("mse_src").join("app.py");
    fs::write(&app, "raise SystemExit('no')\n").unwrap();
    let ran = owner.run(&["deploy", "-y", "--path", path(&manifest)]);
    assert_ne!(ran.code, 0);
    let live = owner.run(&["list", "--json"]).succeeded().json();
    assert_eq!(live["apps"], serde_json::json!([]), "{live}");
}

/// 10: contexts and logins were readable by all, and an export gave the code key away.
#[test]
fn defect_10_files_are_private_and_an_export_holds_no_key() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    let deployed = owner.deploy(&manifest, &[]);
    let id = deployed["id"].as_str().unwrap();
    let mut folders = vec![owner.conf()];
    while let Some(folder) = folders.pop() {
        let mode =
            |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{folder:?}");
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.path());
            }
        }
    }
    let own =
        fs::read_to_string(owner.conf().join("context").join(id).join("context.mse")).unwrap();
    let key = own
        .lines()
        .find_map(|line| line.strip_prefix("code_secret_key = "))
        .unwrap()
        .trim_matches('"');
    let exported = owner.dir().join("context.mse");
    owner
        .run(&["context", "--export", id, "--output", path(&exported)])
        .succeeded();
    assert!(!fs::read_to_string(&exported).unwrap().contains(key));
    owner
        .run(&[
            "context",
            "--export",
            id,
            "--with-key",
            "--force",
            "--output",
            path(&exported),
        ])
        .succeeded();
    assert!(fs::read_to_string(&exported).unwrap().contains(key));
}

/// 12: archives were unpacked without a look at their paths. See also
/// `hostile_archives_are_refused` in `mse-workload`.
#[tokio::test(flavor = "multi_thread")]
async fn defect_12_a_bundle_with_hostile_paths_is_not_taken() {
    let server = Server::start();
    let machine = Machine::new().await;
    let app = machine.app(&[("app.py", APP)]);
    let mut archive = fs::read(&app.bundle).unwrap();
    archive[..10].copy_from_slice(b"../app.enc");
    fs::write(&app.bundle, archive).unwrap();
    let rest = mse_tests::rest::Rest::log_in(&server).await;
    let answer = rest.create(&app, "hostile").await;
    assert!(answer.status().is_client_error(), "{}", answer.status());
    let apps: serde_json::Value = rest.get("/apps").await.json().await.unwrap();
    assert_eq!(apps, serde_json::json!([]));
}

/// 13: failures ended with 0, errors went to standard output, a cancelled deploy was a success.
#[test]
fn defect_13_failures_fail_and_errors_go_to_standard_error() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    owner.deploy(&manifest, &[]);
    // No terminal to ask on, no -y: not replaced, and not a success.
    let ran = owner.run(&["deploy", "--path", path(&manifest)]);
    assert_ne!(ran.code, 0);
    assert!(!ran.stderr.trim().is_empty());
    let live = owner.run(&["list", "--json"]).succeeded().json();
    assert_eq!(live["apps"][0]["status"], "running");
    let ran = owner.run(&["status", "00000000-0000-4000-8000-000000000000"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (6, ""));
    assert!(
        ran.stderr.contains("00000000-0000-4000-8000-000000000000"),
        "{}",
        ran.stderr
    );
}

/// 15: recomputing a fingerprint took a container engine and the whole image.
#[test]
fn defect_15_verification_needs_no_other_program() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    let deployed = owner.deploy(&manifest, &[]);
    let id = deployed["id"].as_str().unwrap();
    let context = owner.conf().join("context").join(id).join("context.mse");
    let url = deployed["url"].as_str().unwrap();
    let mut verify = owner.command(&[
        "verify",
        url.trim_start_matches("https://").trim_end_matches('/'),
        "--context",
        path(&context),
        "--code",
        path(&manifest.with_file_name("mse_src")),
    ]);
    verify.env("PATH", "/nonexistent");
    let output = verify.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// 17: one name per certificate.
#[tokio::test(flavor = "multi_thread")]
async fn defect_17_a_certificate_covers_every_measured_name() {
    let machine = Machine::new().await;
    let mut app = machine.app(&[("app.py", APP)]);
    app.workload.tls.names.push("127.0.0.1".into());
    let enclave = machine.launch(&app).await;
    for name in &app.workload.tls.names {
        let mut endpoint = enclave.endpoint.clone();
        endpoint.server_name.clone_from(name);
        machine.connect(&endpoint, &app.workload).await.unwrap();
    }
}

/// 18: deployment secrets were committed.
#[test]
fn defect_18_no_private_key_is_committed() {
    let files = Command::new("git")
        .args(["grep", "-lE", "BEGIN ([A-Z]+ )?PRIVATE KEY-----$"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&files.stdout), "");
}
