//! `mse deploy`, with a platform that does what it should.

use std::fs;

use crate::support::{FakePlatform, Lie, SECRET_CANARY, User};

#[test]
fn a_deployment_ends_running_verified_and_provisioned() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let deployed = user.deploy();

    assert_eq!(deployed["verified"], true);
    assert_eq!(deployed["simulated"], true);
    assert_eq!(deployed["tee"], "simulated");
    let id = deployed["id"].as_str().unwrap();
    assert_eq!(platform.live().len(), 1);
    assert_eq!(
        platform.secrets(id).unwrap(),
        format!(r#"{{"token": "{SECRET_CANARY}"}}"#)
    );
    let context = user.conf().join("context").join(id);
    assert_eq!(user.contexts(), std::slice::from_ref(&context));
    for file in ["context.mse", "app.tar", "ratls.pem"] {
        assert!(context.join(file).is_file(), "{file}");
    }
    assert_eq!(
        deployed["certificate"],
        context.join("ratls.pem").to_str().unwrap()
    );
}

#[test]
fn cloud_deploy_is_deploy_and_people_get_the_old_fragments() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let output = user.mse(&["cloud", "deploy", "--workspace", "work"]);
    assert_eq!(output.code, 0, "{output:?}");
    let id = platform.live()[0];
    for fragment in [
        format!("mse logs {id}"),
        "The code fingerprint is ".to_owned(),
        "ready to be used on https://localhost:".to_owned(),
        " until 20".to_owned(),
        "The verified certificate has been saved at: work/ratls.pem".to_owned(),
    ] {
        assert!(output.stdout.contains(&fragment), "{fragment}: {output:?}");
    }
    assert!(output.stdout.contains("simulated"));
    assert!(output.stderr.contains("curl --cacert work/ratls.pem"));
    assert!(user.path("work/app.tar").is_file());
    assert!(
        fs::read_to_string(user.path("work/ratls.pem"))
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
}

/// §10.2 (9): the old app is stopped only once everything else was checked.
#[test]
fn defect_9_a_running_app_survives_every_mistake_that_shows_locally() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let first = user.deploy();
    let manifest = fs::read_to_string(user.path("mse.toml")).unwrap();
    let long_ago = "2001-01-01T00:00:00Z";
    for (from, to, code) in [
        ("\"app:app\"", "\"missing:app\"", 3),
        ("mse-flask:20261123000000", "mse-ruby:1", 3),
        ("mse-flask:20261123000000", "mse-flask:latest", 3),
        ("secrets.json", "nothing.json", 3),
        ("hardware =", "hardwear =", 3),
        (
            "[cloud]\n",
            &format!("[cloud]\nexpiration_date = {long_ago}\n"),
            3,
        ),
        ("\"default\"", "\"notexist\"", 6),
        ("4g-eu-001", "64g-eu-001", 6),
    ] {
        user.write("mse.toml", &manifest.replace(from, to));
        let output = user.mse(&["deploy", "-y", "--json"]);
        assert_eq!(output.code, code, "{to}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert_eq!(platform.count("POST", "/apps/"), 0, "{to}");
        assert_eq!(
            platform.live()[0].to_string(),
            first["id"].as_str().unwrap()
        );
    }
    user.write("mse.toml", &manifest);
    let output = user.mse_with(&["deploy", "-y"], &[("MSE_ENCLAVE", "/nowhere")]);
    output.failed_with(6, "/nowhere");
    assert_eq!(platform.live().len(), 1);
}

/// §10.2 (13): a deployment that did not take place is no success.
#[test]
fn defect_13_without_a_terminal_a_running_app_is_replaced_only_with_yes() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let first = user.deploy();

    let output = user.mse(&["deploy"]);
    output.failed_with(2, "hint: `-y` replaces it");
    assert_eq!(platform.count("POST", "/apps"), 1, "{:?}", platform.calls());

    let output = user.mse(&["deploy", "-y", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let second = output.json();
    assert_ne!(first["id"], second["id"]);
    assert_eq!(second["replaced"], first["id"]);
    assert!(first.get("replaced").is_none(), "{first}");
    assert_eq!(platform.live().len(), 1);
    // The former app's context, and with it its key, is gone.
    assert_eq!(user.contexts().len(), 1);
}

#[test]
fn secrets_that_no_enclave_takes_are_refused_before_the_upload() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    // Within the bound of the file, but every character is doubled on its way.
    let large = "\\\\".repeat(500_000);
    user.write("secrets.json", &format!(r#"{{"token": "{large}"}}"#));
    user.mse(&["deploy"])
        .failed_with(3, "too large to be sealed");
    fs::write(user.path("secrets.json"), b"{\"token\": \"\xff\"}").unwrap();
    let output = user.mse(&["deploy"]);
    assert_eq!(output.code, 3, "{output:?}");
    assert_eq!(platform.count("POST", "/apps"), 0);
}

#[test]
fn no_verify_is_warned_about_and_recorded() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let output = user.mse_with(&["deploy", "--no-verify"], &[("MSE_ENCLAVE", "/nowhere")]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stderr.contains("warning: `--no-verify`"),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("which was NOT verified: curl"),
        "{output:?}"
    );
    assert!(
        !output.stderr.contains("the verified certificate")
            && !output.stderr.contains(", verified:"),
        "{output:?}"
    );
    let list = user.mse(&["context", "--list", "--json"]).json();
    assert_eq!(list["contexts"][0]["verified"], false);
}

#[test]
fn an_expiry_that_is_cut_short_is_warned_about() {
    let platform = FakePlatform::lying(Lie::EarlierExpiry);
    let user = User::of(&platform);
    user.project();
    let manifest = fs::read_to_string(user.path("mse.toml")).unwrap();
    user.write(
        "mse.toml",
        &manifest.replace(
            "[cloud]",
            "[cloud]\nexpiration_date = \"2030-01-31T18:00:00Z\"",
        ),
    );
    let warning = "`cloud.expiration_date` asks for";
    let output = user.mse(&["deploy"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains(warning), "{output:?}");
    // Nothing was asked for: nothing is cut short.
    user.write("mse.toml", &manifest);
    let output = user.mse(&["deploy", "-y"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(!output.stderr.contains(warning), "{output:?}");
}

#[test]
fn the_operators_certificate_is_warned_about() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let output = user.mse(&["deploy", "--untrusted-ssl", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    let deployed = output.json();
    assert_eq!(deployed["ssl_certificate_origin"], "operator");
    assert!(
        deployed["warnings"][0]
            .as_str()
            .unwrap()
            .contains("can read the traffic")
    );
}

#[test]
fn an_unpinned_requirement_is_warned_about() {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    user.write("mse_src/requirements.txt", "numpy\n");
    let output = user.mse(&["deploy"]);
    assert!(
        output.stderr.contains("warning: `requirements.txt`"),
        "{output:?}"
    );
    user.write("mse_src/requirements.txt", "numpy==1 --hash=sha256:00\n");
    let output = user.mse(&["deploy", "-y"]);
    assert!(!output.stderr.contains("requirements.txt"), "{output:?}");
}
