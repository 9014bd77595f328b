//! `mse context`, and what lies on the disk.

use std::fs;

use crate::support::{FakePlatform, User, is_below};

fn deployed() -> (FakePlatform, User, String) {
    let platform = FakePlatform::start();
    let user = User::of(&platform);
    user.project();
    let deployed = user.deploy();
    let id = deployed["id"].as_str().unwrap().to_owned();
    (platform, user, id)
}

/// The key in the user's own context, in hex.
fn key(user: &User, id: &str) -> String {
    let file = user.conf().join("context").join(id).join("context.mse");
    let text = fs::read_to_string(file).unwrap();
    let at = text.find("code_secret_key = \"").unwrap() + 19;
    text[at..at + 64].to_owned()
}

/// §10.2 (10) and invariant 9.
#[cfg(unix)]
#[test]
fn defect_10_files_with_secrets_are_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;

    let (_platform, user, id) = deployed();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let conf = user.conf();
    let context = conf.join("context").join(&id);
    for folder in [&conf, &conf.join("context"), &context, &conf.join("trust")] {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    for file in ["context.mse", "app.tar", "ratls.pem"] {
        assert_eq!(mode(&context.join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&conf.join("login.toml")), 0o600);
    assert_eq!(user.mse(&["context", "--export", &id]).code, 0);
    assert_eq!(mode(&user.path("context.mse")), 0o600);
}

/// §10.2 (10): an export tells nothing but what a verifier needs.
#[test]
fn defect_10_an_export_has_no_key_unless_asked() {
    let (_platform, user, id) = deployed();
    let key = key(&user, &id);
    let raw = hex::decode(&key).unwrap();
    let token = b"access-token";
    let export = user.path("out");
    fs::create_dir(&export).unwrap();
    let output = user.mse(&["context", "--export", &id, "--output", "out/context.mse"]);
    assert_eq!(output.code, 0, "{output:?}");
    for secret in [
        key.as_bytes(),
        key.to_uppercase().as_bytes(),
        &raw,
        &token[..],
    ] {
        assert_eq!(is_below(&export, secret), None);
    }

    let words = [
        "context",
        "--export",
        &id,
        "--output",
        "out/context.mse",
        "--with-key",
    ];
    user.mse(&words).failed_with(12, "hint: `--force`");
    let output = user.mse(&[&words[..], &["--force"]].concat());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stderr.contains("warning: the file holds the key"),
        "{output:?}"
    );
    assert!(is_below(&export, key.as_bytes()).is_some());
}

#[test]
fn contexts_are_listed_removed_and_purged() {
    let (_platform, user, id) = deployed();
    let list = user.mse(&["context", "--list", "--json"]).json();
    assert_eq!(list["contexts"][0]["id"], id.as_str());
    assert_eq!(list["contexts"][0]["name"], "hello");
    assert_eq!(list["contexts"][0]["state"], "deployed");
    assert_eq!(list["contexts"][0]["verified"], true);

    user.write(
        &format!("conf/context/{}/context.mse", uuid::Uuid::nil()),
        "version = 3",
    );
    let output = user.mse(&["cloud", "context", "--list"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("unreadable"), "{output:?}");

    // By its name, as everywhere else.
    let exported = user.mse(&["context", "--export", "hello", "--json"]).json();
    assert_eq!(exported["id"], id.as_str());
    assert!(user.path("context.mse").is_file());
    user.mse(&["context", "--export", "nobody"])
        .failed_with(6, "no context of a running app named `nobody`");

    assert_eq!(user.mse(&["context", "--remove", &id]).code, 0);
    user.mse(&["context", "--remove", &id])
        .failed_with(6, "there is no context");
    user.mse(&["context", "--export", &id])
        .failed_with(6, "there is no context");
    let output = user.mse(&["context", "--purge"]);
    assert_eq!(output.stdout, "1 context was removed\n");
    let output = user.mse(&["context", "--list"]);
    assert_eq!(output.stdout, "There are no contexts on this machine\n");
    user.mse(&["context"]).failed_with(2, "--purge");
    user.mse(&["context", "--remove", "x"])
        .failed_with(2, "invalid");
}

#[test]
fn a_stopped_app_leaves_no_context() {
    let (platform, user, id) = deployed();
    let output = user.mse(&["stop", "hello"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("has been successfully stopped"));
    assert_eq!(platform.live(), []);
    assert!(user.contexts().is_empty());
    // Once more is no failure, by id; by name there is nothing that lives.
    assert_eq!(user.mse(&["stop", &id]).code, 0);
    user.mse(&["stop", "hello"])
        .failed_with(6, "no app named `hello` is running");
}

#[test]
fn one_wrong_name_stops_nothing() {
    let (platform, user, id) = deployed();
    let nobody = uuid::Uuid::nil().to_string();
    user.mse(&["stop", &id, &nobody])
        .failed_with(6, "Cannot find the app with id");
    assert_eq!(platform.live().len(), 1);
    assert_eq!(platform.count("POST", &format!("/apps/{id}/stop")), 0);
}
