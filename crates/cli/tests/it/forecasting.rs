//! `mse collateral forecast`, with real evidence and collateral of several days.

use std::path::{Path, PathBuf};

use crate::support::User;

/// A trust domain in Google's cloud: up to date under evaluation numbers 17 and 19, out of date
/// under 21, which Intel issued early.
const TDX: &str = "tdx-v4/teekit__tdx-v4-gcp__a6883976";

fn sample(file: &str) -> String {
    let root = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    );
    let path = root.join(TDX).join(file);
    assert!(
        path.exists(),
        "the sample `{}` is missing: put the evidence samples there, or set MSE_EVIDENCE_DIR to their folder",
        path.display()
    );
    path.to_str().unwrap().to_owned()
}

/// The samples under short names, in the user's own folder.
fn user_with_samples() -> User {
    let user = User::new();
    for (from, to) in [
        ("quote.bin", "quote.bin"),
        ("collateral-0.json", "march-2025.json"),
        ("collateral-1.json", "standard.json"),
        ("collateral-2.json", "early.json"),
    ] {
        std::fs::copy(sample(from), user.path(to)).unwrap();
    }
    user
}

#[test]
fn a_forecast_is_a_timeline_with_what_to_do() {
    let user = user_with_samples();
    user.write(
        "policy.toml",
        "format = \"mse-policy/1\"\n[[tdx.tolerate]]\nwhat = \"sept-ve\"\nreason = \"old launcher\"\nuntil = 2026-07-20\n",
    );
    let words = [
        "collateral",
        "forecast",
        "quote.bin",
        "--collateral",
        "standard.json",
        "--collateral",
        "early.json",
        "--policy",
        "policy.toml",
        "--at",
        "2026-06-15",
        "--until",
        "2027-06-15",
    ];
    insta::assert_snapshot!("forecast", user.mse(&words).shown());
    let json = user.mse(&[&words[..], &["--json"]].concat()).json();
    let forecast = &json["forecasts"][0];
    assert_eq!(forecast["evidence"], "quote.bin");
    let under: Vec<_> = forecast["collaterals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|under| {
            (
                under["evaluation_number"].as_u64().unwrap(),
                under["verdict"]["status"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(under, [(19, "UpToDate"), (21, "OutOfDate")]);
}

#[test]
fn what_a_forecast_cannot_read_is_said() {
    let user = user_with_samples();
    user.write("bad.json", "{}");
    let forecast = |words: &[&str]| user.mse(&[&["collateral", "forecast"], words].concat());
    forecast(&["nowhere.bin"]).failed_with(6, "there is no file `nowhere.bin`");
    forecast(&["bad.json"]).failed_with(3, "`bad.json` is no evidence");
    forecast(&["quote.bin", "--collateral", "bad.json"]).failed_with(3, "`bad.json`");
    forecast(&["quote.bin", "--at", "2027-01-02", "--until", "2027-01-01"])
        .failed_with(2, "name a later end");
    // Without collateral the verifier refuses, and the forecast says so.
    let none = forecast(&["quote.bin", "--at", "2025-03-10"]);
    assert_eq!(none.code, 0, "{none:?}");
    assert!(none.stdout.contains("without its collateral"), "{none:?}");
}
