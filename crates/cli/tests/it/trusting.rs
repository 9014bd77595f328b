//! `mse trust`.

use crate::support::{FakePlatform, User};

#[test]
fn anchors_come_and_go() {
    let platform = FakePlatform::start();
    let user = User::new();
    let output = user.mse(&["trust", "list"]);
    assert!(
        output
            .stdout
            .starts_with("No simulated platform is trusted")
    );
    user.write("anchor.toml", &platform.trust_anchor());
    let output = user.mse(&["trust", "add", "anchor.toml"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stderr.contains("no hardware stands behind it"),
        "{output:?}"
    );
    let list = user.mse(&["trust", "list", "--json"]).json();
    let id = list["anchors"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(list["anchors"][0]["tee"], "simulated");
    assert!(user.mse(&["trust", "list"]).stdout.contains("SIMULATED"));
    assert_eq!(user.mse(&["trust", "remove", &id]).code, 0);
    user.mse(&["trust", "remove", &id])
        .failed_with(6, "there is no trust anchor");
    user.mse(&["trust", "add", "nowhere.toml"])
        .failed_with(6, "`nowhere.toml`");
    user.write("bad.toml", "tee = 1");
    user.mse(&["trust", "add", "bad.toml"])
        .failed_with(3, "is no trust anchor");
}
