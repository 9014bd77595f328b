//! Commands that write files: `init`, `scaffold`, `completions`, `man`.

use std::fs;

use crate::support::{FakePlatform, User};

#[test]
fn init_writes_a_manifest_that_loads() {
    let user = User::new();
    user.mse(&["init"])
        .failed_with(2, "hint: give it with `--name`");
    let output = user.mse(&["init", "--name", "shop", "--application", "shop.web:app"]);
    assert_eq!(output.code, 0, "{output:?}");
    insta::assert_snapshot!(fs::read_to_string(user.path("mse.toml")).unwrap());
    user.mse(&["init", "--name", "other"])
        .failed_with(12, "there is a `mse.toml` already");
    let output = user.mse(&["init", "--name", "other", "--force"]);
    assert_eq!(output.code, 0, "{output:?}");
    let output = user.mse(&["init", "--name", "x", "--application", "app", "--force"]);
    output.failed_with(2, "the Python application must be `module:variable`");
    let output = user.mse(&["init", "--name", "x", "--healthcheck", "health", "--force"]);
    output.failed_with(3, "write `/health`");
    assert!(
        fs::read_to_string(user.path("mse.toml"))
            .unwrap()
            .contains("other")
    );
}

#[cfg(unix)]
#[test]
fn what_is_scaffolded_can_be_deployed_as_it_is() {
    use std::os::unix::fs::PermissionsExt;

    let platform = FakePlatform::start();
    let user = User::of(&platform);
    let output = user.mse(&["scaffold", "hello"]);
    assert_eq!(output.code, 0, "{output:?}");
    let secrets = fs::metadata(user.path("hello/secrets.json")).unwrap();
    assert_eq!(secrets.permissions().mode() & 0o777, 0o600);
    let output = user.mse(&["deploy", "--path", "hello/mse.toml", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.json()["name"], "hello");
    user.mse(&["scaffold", "hello"])
        .failed_with(12, "File exists");
    // What is printed to be typed can be typed.
    let spaced = user.mse(&["scaffold", "he llo"]);
    assert!(
        spaced.stdout.contains("cd 'he llo' && mse deploy"),
        "{spaced:?}"
    );
    user.mse(&["scaffold", ""])
        .failed_with(2, "cannot name a folder");
    user.mse(&["scaffold", "../up"])
        .failed_with(2, "cannot name a folder");
}

#[test]
fn completions_and_manual_pages_name_the_commands() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = user.mse(&["completions", shell]);
        assert_eq!(output.code, 0, "{output:?}");
        assert!(output.stdout.contains("scaffold"), "{shell}");
    }
    assert_eq!(user.mse(&["man", "pages"]).code, 0);
    let page = fs::read_to_string(user.path("pages/mse-deploy.1")).unwrap();
    assert!(page.contains("untrusted"));
    assert!(user.path("pages/mse.1").is_file());
}
