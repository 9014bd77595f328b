//! `mse login` and `mse logout`.

use std::fs;

use crate::support::{FakePlatform, User};

#[test]
fn a_token_or_a_password_logs_in() {
    let platform = FakePlatform::start();
    let user = User::new();
    user.mse(&["login", "--whoami"])
        .failed_with(4, "you are not logged in");
    let server = platform.url();
    let output = user.mse(&["login", "--server", &server, "--token", "wrong"]);
    output.failed_with(4, "the token or the password is wrong");
    assert!(!user.conf().join("login.toml").exists());

    let by_password = ["login", "--server", &server, "--email", "owner@localhost"];
    user.mse_with(&by_password, &[("MSE_PASSWORD", "wrong")])
        .failed_with(4, "is wrong");
    user.mse(&by_password).failed_with(
        2,
        "hint: give it in the environment variable `MSE_PASSWORD`",
    );
    let output = user.mse_with(&by_password, &[("MSE_PASSWORD", "right")]);
    assert_eq!(output.code, 0, "{output:?}");

    let output = user.mse(&["cloud", "login", "--whoami"]);
    assert_eq!(
        output.stdout,
        format!("You are currently logged in as owner@localhost at {server}\n")
    );
    // Logged in already: nothing to do.
    assert!(user.mse(&["login"]).stdout.contains("currently logged in"));

    let output = user.mse(&["logout"]);
    assert_eq!(
        output.stdout,
        "You are now logged out; you were owner@localhost\n"
    );
    assert_eq!(platform.count("POST", "/logout"), 1);
    assert!(!user.conf().join("login.toml").exists());
    assert_eq!(user.mse(&["logout"]).stdout, "You were not logged in\n");
}

#[test]
fn a_platform_that_is_gone_does_not_keep_one_logged_in() {
    let platform = FakePlatform::start();
    let user = User::new();
    user.log_in(&platform);
    drop(platform);
    let output = user.mse(&["logout"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("only on this machine"), "{output:?}");
    assert!(!user.conf().join("login.toml").exists());
}

#[test]
fn a_login_that_the_platform_no_longer_takes_asks_for_a_new_one() {
    let platform = FakePlatform::start();
    let user = User::new();
    user.log_in(&platform);
    let file = user.conf().join("login.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("access-token", "another")).unwrap();
    let output = user.mse(&["list"]);
    output.failed_with(4, "the login is not valid");
    assert!(
        output
            .stderr
            .contains("hint: log in again: `mse login --token TOKEN`"),
        "{output:?}"
    );
}

#[test]
fn plain_http_over_the_network_is_refused() {
    let user = User::new();
    let output = user.mse(&[
        "login",
        "--server",
        "http://mse.example.com",
        "--token",
        "x",
    ]);
    output.failed_with(2, "in clear over the network");
    user.mse(&["login"])
        .failed_with(2, "nothing says how to log in");
}

#[test]
fn the_scheme_that_is_missing_or_wrong_is_named() {
    let platform = FakePlatform::start();
    let user = User::new();
    let plain = platform.url();
    let address = plain.strip_prefix("http://").unwrap();
    let login = |server: &str| user.mse(&["login", "--server", server, "--token", "x"]);
    login(address).failed_with(2, &format!("write `{plain}`"));
    login(&format!("https://{address}")).failed_with(
        5,
        &format!("it does not speak TLS: it is probably `{plain}`"),
    );
}
