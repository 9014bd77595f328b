//! What `mse deploy` refuses, each with its own error: nothing secret is sent, and nothing is left
//! running (must show 2).

use std::fs;

use mse_tests::operator::{Operator, Tampering};
use mse_tests::platform::{Person, Server, path};

const REFUSED: i32 = 1;
const PLATFORM: i32 = 5;

/// Deploys helloworld as `owner` and expects exit code `code`; then nothing may be left.
fn refused(server: &Server, owner: &Person, code: i32, saying: &str, options: &[&str]) {
    let manifest = owner.take_example("helloworld");
    let mut arguments = vec!["deploy", "-y", "--path", path(&manifest)];
    arguments.extend_from_slice(options);
    owner.run(&arguments).ended_with(code).saying(saying);
    nothing_is_left(server, owner);
}

fn nothing_is_left(server: &Server, owner: &Person) {
    let live = owner.run(&["list", "--json"]).succeeded().json();
    assert_eq!(live["apps"], serde_json::json!([]), "{live}");
    mse_tests::platform::until("no enclave process is left", || {
        server.enclave_processes().is_empty().then_some(())
    });
    let contexts = owner.conf().join("context");
    let kept = fs::read_dir(&contexts).map_or(0, Iterator::count);
    assert_eq!(
        kept, 0,
        "a context of a failed deploy is left in {contexts:?}"
    );
    assert!(
        !server.log().contains("provisioned"),
        "the enclave was provisioned"
    );
}

/// An owner who talks to `server` through an operator that tampers.
fn through(server: &Server, tampering: Tampering) -> (Person, Operator) {
    let operator = Operator::before(&server.ready.api, tampering);
    let owner = Person::trusting(server);
    let url = format!("http://{}", operator.address);
    owner
        .run(&["login", "--server", &url, "--token", &server.ready.token])
        .succeeded();
    (owner, operator)
}

#[test]
fn code_changed_by_one_bit_after_upload() {
    let server = Server::start();
    let (owner, _operator) = through(&server, Tampering::Code);
    refused(&server, &owner, REFUSED, "measurement", &[]);
}

#[test]
fn code_damaged_on_the_way() {
    let server = Server::start();
    let (owner, _operator) = through(&server, Tampering::CodeOnly);
    refused(&server, &owner, PLATFORM, "digest", &[]);
}

#[test]
fn another_argument() {
    let server = Server::start();
    // An operator that changes it and says so,
    let (owner, _operator) = through(&server, Tampering::Conf("app:app", "app:apq"));
    refused(&server, &owner, REFUSED, "python_application", &[]);
}

#[test]
fn another_health_endpoint_kept_secret() {
    let server = Server::start();
    // and one that changes what it does not have to repeat.
    let (owner, _operator) = through(
        &server,
        Tampering::Both("/health", "/healtz", "healthcheck_endpoint"),
    );
    refused(&server, &owner, REFUSED, "measurement", &[]);
}

#[test]
fn another_expiry() {
    let server = Server::start();
    // The enclave was launched with another time than the owner is told.
    let later = |expiry: &mut serde_json::Value| {
        let told: jiff::Timestamp = expiry.as_str().unwrap().parse().unwrap();
        let changed = told - jiff::SignedDuration::from_mins(1);
        *expiry = changed.to_string().into();
    };
    let (owner, _operator) = through(&server, Tampering::Answer("expires_at", later));
    refused(&server, &owner, REFUSED, "measurement", &[]);
}

#[test]
fn an_expiry_later_than_asked_for() {
    let server = Server::start();
    let later = |expiry: &mut serde_json::Value| *expiry = "2199-01-01T00:00:00Z".into();
    let (owner, _operator) = through(&server, Tampering::Answer("expires_at", later));
    let manifest = owner.take_example("helloworld");
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let text = fs::read_to_string(&manifest).unwrap();
    let at = text.find("[cloud]\n").unwrap() + "[cloud]\n".len();
    let text = format!(
        "{}expiration_date = {soon:.0}\n{}",
        &text[..at],
        &text[at..]
    );
    fs::write(&manifest, text).unwrap();
    owner
        .run(&["deploy", "-y", "--path", path(&manifest)])
        .ended_with(REFUSED)
        .saying("expir");
    nothing_is_left(&server, &owner);
}

#[test]
fn another_enclave_program() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("mse-enclave");
    let mut bytes = fs::read(mse_tests::programs::program("mse-enclave")).unwrap();
    bytes.push(0);
    fs::write(&program, bytes).unwrap();
    std::os::unix::fs::PermissionsExt::set_mode(
        &mut fs::metadata(&program).unwrap().permissions(),
        0o755,
    );
    fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let server = Server::start_with(&["--enclave", path(&program)]);
    let owner = Person::owner(&server);
    refused(&server, &owner, REFUSED, "measurement", &[]);
}

#[test]
fn a_quote_from_another_root() {
    let (server, other) = (Server::start(), Server::start());
    // The owner trusts another simulated platform than the one that answers.
    let owner = Person::trusting(&other);
    owner.log_in(&server);
    refused(&server, &owner, REFUSED, "root", &[]);
}

#[test]
fn simulated_evidence_without_its_trust_anchor() {
    let server = Server::start();
    let owner = Person::new();
    owner.log_in(&server);
    refused(&server, &owner, REFUSED, "simulated", &[]);
}

/// `--no-verify` drops the comparison of the measurement, nothing else, and says so.
#[test]
fn no_verify_still_wants_genuine_evidence() {
    let server = Server::start();
    let owner = Person::new();
    owner.log_in(&server);
    refused(&server, &owner, REFUSED, "simulated", &["--no-verify"]);
}

/// §10.2 no. 9 of the reference: nothing is stopped before everything local has been checked.
#[test]
fn a_bad_project_leaves_the_running_app_alone() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    let first = owner.deploy(&manifest, &[]);
    fs::remove_file(manifest.with_file_name("mse_src").join("app.py")).unwrap();
    owner
        .run(&["deploy", "-y", "--path", path(&manifest)])
        .ended_with(3)
        .saying("python_application");
    let live = owner.run(&["list", "--json"]).succeeded().json();
    assert_eq!(live["apps"][0]["id"], first["id"], "{live}");
    assert_eq!(live["apps"][0]["status"], "running", "{live}");
}

#[test]
fn an_unknown_image_is_refused_by_name_with_the_known_ones() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("helloworld");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("mse-flask:", "mse-flusk:")).unwrap();
    owner
        .run(&["deploy", "-y", "--path", path(&manifest)])
        .ended_with(3)
        .saying("mse-flusk")
        .saying("mse-fastapi");
    nothing_is_left(&server, &owner);
}
