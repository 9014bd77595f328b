//! `mse-enclave attest`: what an operator sees of a machine's attester.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::SystemTime;

use mse_crypto::digest::sha512;
use mse_simtee::Platform;

fn mse_enclave(arguments: &[&str], root: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mse-enclave"))
        .args(arguments)
        .arg("--root")
        .arg(root)
        .env_remove("MSE_ATTESTER")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory has no live quote, but the self-check asks about fixed report data, so one that
/// was made before is as good.
#[test]
fn a_self_check_prints_the_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::create(&folder.path().join("platform"), SystemTime::now()).unwrap();
    let report_data = sha512(&[b"mse-enclave-self-check-v1\0"]);
    let quote = platform.quote([7; 32], &report_data).unwrap();
    let root = folder.path().join("root");
    let attestation = root.join("dev/attestation");
    fs::create_dir_all(&attestation).unwrap();
    fs::write(attestation.join("attestation_type"), "dcap").unwrap();
    fs::write(attestation.join("user_report_data"), [0; 64]).unwrap();
    fs::write(attestation.join("quote"), &quote).unwrap();

    let output = mse_enclave(&["attest"], &root);
    assert!(output.status.success(), "{}", stderr(&output));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["attester"], "gramine");
    assert_eq!(printed["report_data"], hex::encode(report_data));
    assert_eq!(printed["evidence"], hex::encode(&quote));
    assert_eq!(printed["certificates"], serde_json::json!([]));
    assert_eq!(
        fs::read(attestation.join("user_report_data")).unwrap(),
        report_data
    );

    // A quote about anything else is not shown.
    let other = platform.quote([7; 32], &[9; 64]).unwrap();
    fs::write(attestation.join("quote"), other).unwrap();
    let output = mse_enclave(&["attest"], &root);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(stderr(&output).contains("other report data"));
}

#[test]
fn a_machine_without_attester_says_what_was_looked_for() {
    let root = tempfile::tempdir().unwrap();
    let output = mse_enclave(&["attest"], root.path());
    assert_eq!(output.status.code(), Some(1));
    let stderr = stderr(&output);
    assert!(stderr.contains("no attester was found"), "{stderr}");
    assert!(
        stderr.contains("/dev/attestation/attestation_type"),
        "{stderr}"
    );
    assert!(stderr.contains("/sys/kernel/config/tsm/report"), "{stderr}");
}

#[test]
fn nobody_chooses_the_report_data_of_genuine_evidence() {
    let root = tempfile::tempdir().unwrap();
    let chosen = "00".repeat(64);
    let output = mse_enclave(&["attest", "--report-data", &chosen], root.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("unexpected argument `--report-data`"));
}

#[test]
fn the_environment_chooses_too() {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mse-enclave"))
        .args(["attest", "--root"])
        .arg(root.path())
        .env("MSE_ATTESTER", "gramine")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("gramine-sgx"));
}
