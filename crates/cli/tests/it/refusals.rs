//! `mse deploy`, with a platform that lies: each is refused with its own reason, no secret is
//! sent, nothing is left running, no context is left behind.

use crate::support::{FakePlatform, Lie, User};

#[track_caller]
fn refused(lie: Lie, code: i32, words: &str) {
    let platform = FakePlatform::lying(lie);
    let user = User::of(&platform);
    user.project();
    let output = user.mse(&["deploy"]);
    output.failed_with(code, words);
    assert!(
        output.stderr.contains("nothing is left running"),
        "{output:?}"
    );
    assert_eq!(platform.live(), [], "{lie:?}");
    assert!(user.contexts().is_empty(), "{lie:?}");
    // §10.2 (4): no byte of what is secret is sent to whom was not verified.
    let expected = usize::from(code != 1);
    assert_eq!(platform.provisioning_attempts(), expected, "{lie:?}");
}

#[test]
fn another_enclave_program() {
    refused(Lie::OtherProgram, 1, "mr-enclave");
}

#[test]
fn code_changed_by_one_byte_after_the_upload() {
    refused(Lie::ChangedCode, 1, "mr-enclave");
}

#[test]
fn an_expiry_that_is_later_than_asked_for() {
    let platform = FakePlatform::lying(Lie::LaterExpiry);
    let user = User::of(&platform);
    user.project();
    let manifest = std::fs::read_to_string(user.path("mse.toml")).unwrap();
    let manifest = format!("{manifest}expiration_date = 2099-01-01T00:00:00Z\n");
    user.write("mse.toml", &manifest);
    let output = user.mse(&["deploy"]);
    output.failed_with(1, "another `expires_at`");
    assert_eq!(platform.live(), []);
    assert_eq!(platform.provisioning_attempts(), 0);
}

#[test]
fn an_expiry_that_is_not_what_is_said() {
    refused(Lie::HiddenExpiry, 1, "mr-enclave");
}

#[test]
fn environment_that_nobody_asked_for() {
    refused(Lie::OtherEnvironment, 1, "mr-enclave");
}

#[test]
fn evidence_of_another_root() {
    refused(Lie::OtherRoot, 1, "root-of-trust");
}

#[test]
fn an_enclave_that_takes_no_secrets() {
    refused(Lie::RefusesSecrets, 5, "somebody was here before");
}

#[test]
fn an_app_that_ends_after_it_got_its_secrets() {
    refused(Lie::EndsAfterProvisioning, 5, "the app crashed");
}

#[test]
fn an_app_that_runs_before_it_can() {
    refused(Lie::RunsAtOnce, 1, "without the secrets that only you have");
}

/// §10.2 (9): the upload is not repeated blindly. Under the same key it can be, and finds the app.
#[test]
fn defect_9_a_lost_answer_makes_no_second_app() {
    let platform = FakePlatform::lying(Lie::LosesAnswer);
    let user = User::of(&platform);
    user.project();
    user.deploy();
    assert_eq!(platform.count("POST", "/apps"), 2);
    assert_eq!(platform.live().len(), 1);
}

#[test]
fn a_refused_upload_is_the_platforms_word_and_leaves_nothing() {
    let platform = FakePlatform::lying(Lie::NoHardware);
    let user = User::of(&platform);
    user.project();
    let output = user.mse(&["deploy"]);
    output.failed_with(5, "error: all `4g-eu-001` are in use");
    assert_eq!(platform.count("POST", "/apps"), 1, "not repeated");
    assert!(user.contexts().is_empty());
}

#[test]
fn an_app_that_cannot_be_stopped_is_told() {
    let platform = FakePlatform::lying(Lie::OtherProgram);
    platform.tell(Lie::CannotStop);
    let user = User::of(&platform);
    user.project();
    let output = user.mse(&["deploy"]);
    output.failed_with(1, "could NOT be stopped: the stop button is broken");
    assert!(
        output.stderr.contains("hint: see with `mse list`"),
        "{output:?}"
    );
}

#[test]
fn simulated_evidence_without_a_trust_anchor() {
    let platform = FakePlatform::start();
    let user = User::new();
    user.log_in(&platform);
    user.project();
    let output = user.mse(&["deploy"]);
    output.failed_with(1, "simulated");
    assert!(output.stderr.contains("mse trust add"), "{output:?}");
    assert_eq!(platform.count("POST", "/apps"), 0);

    // Another simulated platform's anchor is not this one's.
    user.write("other.toml", &platform.other_trust_anchor());
    let output = user.mse(&["deploy", "--simulated", "other.toml"]);
    output.failed_with(1, "root-of-trust");
    assert_eq!(platform.live(), []);

    user.write("anchor.toml", &platform.trust_anchor());
    let output = user.mse_with(&["deploy"], &[("MSE_SIMULATED", "anchor.toml")]);
    assert_eq!(output.code, 0, "{output:?}");
}

#[cfg(unix)]
#[test]
fn an_interruption_leaves_nothing() {
    let platform = FakePlatform::lying(Lie::NeverReady);
    let user = User::of(&platform);
    user.project();
    let mut command = std::process::Command::new("timeout");
    let output = user.command(&["deploy"]);
    // `timeout` sends the signal that Ctrl-C does.
    command
        .args(["--signal=INT", "--preserve-status", "3"])
        .arg(output.get_program())
        .args(output.get_args())
        .current_dir(user.path(""))
        .env_clear();
    for (name, value) in output.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = crate::support::Ran::of(&command.output().unwrap());
    output.failed_with(9, "interrupted; the app");
    assert_eq!(platform.live(), []);
    assert!(user.contexts().is_empty());
}

#[test]
fn a_platform_that_cannot_be_reached() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    drop(platform);
    let output = user.mse(&["deploy"]);
    output.failed_with(5, "cannot be reached");
    assert!(output.stderr.contains("hint: is it running?"), "{output:?}");
}

#[test]
fn without_a_login() {
    let user = User::new();
    user.project();
    let output = user.mse(&["deploy", "--json"]);
    assert_eq!(output.code, 4);
    let error = output.error();
    assert_eq!(error["code"], "not-logged-in");
    assert_eq!(error["exit_code"], 4);
    assert!(error["hint"].as_str().unwrap().contains("mse login"));
}
