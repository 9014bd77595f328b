//! Commands that show what the platform says: `list`, `status`, `logs`.

use mse_api::AppStatus;

use crate::support::{FakePlatform, User, some_app};

fn platform_with_apps() -> (FakePlatform, User) {
    let platform = FakePlatform::start();
    platform.add_app(some_app(1, "shop", AppStatus::Running));
    platform.add_app(some_app(2, "a-longer-name", AppStatus::Running));
    platform.add_app(some_app(3, "shop", AppStatus::Stopped));
    let user = User::new();
    user.log_in(&platform);
    (platform, user)
}

#[test]
fn lists_show_what_lives_or_all() {
    let (_platform, user) = platform_with_apps();
    insta::assert_snapshot!("list", user.mse(&["list"]).shown());
    insta::assert_snapshot!("list_all", user.mse(&["list", "default", "--all"]).shown());
    insta::assert_snapshot!("list_json", user.mse(&["list", "--json"]).shown());
    user.mse(&["list", "notexist"])
        .failed_with(6, "Project notexist does not exist");
}

#[test]
fn an_empty_list_says_what_to_do() {
    let platform = FakePlatform::start();
    let user = User::new();
    user.log_in(&platform);
    assert_eq!(
        user.mse(&["list"]).stdout,
        "No app is running; `mse deploy` starts one\n"
    );
}

#[test]
fn status_shows_all_of_it_by_id_or_name() {
    let (_platform, user) = platform_with_apps();
    insta::assert_snapshot!("status", user.mse(&["status", "shop"]).shown());
    let stopped = user.mse(&["status", "00000000-0000-0000-0000-000000000003"]);
    insta::assert_snapshot!("status_stopped", stopped.shown());
    let json = user.mse(&["status", "a-longer-name", "--json"]).json();
    assert_eq!(json["simulated"], true);
    assert_eq!(json["metrics"]["cpu_usage"][1], 1.5);
    user.mse(&["status", "nobody"])
        .failed_with(6, "no app named `nobody` is running");
    let nobody = uuid::Uuid::nil().to_string();
    user.mse(&["status", &nobody])
        .failed_with(6, "Cannot find the app with id");
}

#[test]
fn logs_are_shown_or_followed() {
    let (_platform, user) = platform_with_apps();
    assert_eq!(user.mse(&["logs", "shop"]).stdout, "one\ntwo\n");
    assert_eq!(
        user.mse(&["logs", "shop", "--json"]).json()["stdout"],
        "one\ntwo\n"
    );
    let ended = "00000000-0000-0000-0000-000000000003";
    assert_eq!(
        user.mse(&["logs", "-f", ended]).stdout,
        "one\n[enclave] two\n"
    );
    let lines = user.mse(&["logs", "-f", ended, "--json"]).stdout;
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["text"], "two");
}

#[test]
fn a_name_that_several_apps_have_is_asked_back() {
    let (platform, user) = platform_with_apps();
    platform.add_app(some_app(4, "shop", AppStatus::Initializing));
    user.mse(&["logs", "shop"])
        .failed_with(2, "several apps are named `shop`");
}
