//! `mse collateral`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{FakePlatform, User};

/// FMSPC of every simulated platform.
const FMSPC: &str = "53494D000001";

/// The folder of genuine samples, which is no part of this repository.
fn samples() -> PathBuf {
    let dir = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    );
    let dir = dir.canonicalize().unwrap_or(dir);
    assert!(
        dir.join("MANIFEST.toml").is_file(),
        "the evidence samples are not in `{}`; name their folder with MSE_EVIDENCE_DIR",
        dir.display()
    );
    dir
}

fn sample(path: &str) -> String {
    samples().join(path).to_str().unwrap().to_owned()
}

#[test]
fn collateral_is_fetched_shown_and_bundled() {
    let platform = FakePlatform::start();
    let user = User::new();
    let source = format!("{}/pccs", platform.url());
    let fetch = |more: &[&str]| {
        let words = [
            &["collateral", "fetch", "--source", &source, "-o", "sim.json"],
            more,
        ]
        .concat();
        user.mse(&words)
    };
    let fetched = fetch(&["--fmspc", FMSPC, "--json"]).json();
    assert_eq!(fetched["freshness"], "fetched");
    assert_eq!(fetched["platform"]["fmspc"], FMSPC);
    assert_eq!(fetched["documents"].as_array().unwrap().len(), 4);
    let text = fetch(&["--fmspc", FMSPC]).stdout;
    assert!(
        text.contains("The collateral for `sgx 53494D000001 platform` has been saved at: sim.json"),
        "{text}"
    );

    let shown = user
        .mse(&["collateral", "show", "sim.json", "--json"])
        .json();
    let documents = &shown["entries"][0]["documents"];
    assert_eq!(documents[0]["document"], "TCB info");
    assert_eq!(documents[0]["tcb_evaluation_data_number"], 1);
    for document in documents.as_array().unwrap() {
        assert_eq!(document["state"], "in force", "{document}");
    }

    let tdx = sample("tdx-v4/attestation-rs__live-evidence__140cbd8c/collateral-0.json");
    let words = ["collateral", "bundle", "sim.json", &tdx, "-o", "both.json"];
    let bundled = user.mse(&words);
    assert_eq!(bundled.code, 0, "{bundled:?}");
    insta::assert_snapshot!("collateral_bundle", bundled.stdout);
    // Again, with itself: nothing is doubled.
    let words = [
        "collateral",
        "bundle",
        "both.json",
        &tdx,
        "-o",
        "both.json",
        "--json",
    ];
    let again = user.mse(&words).json();
    assert_eq!(again["platforms"].as_array().unwrap().len(), 2);
    let entries = user
        .mse(&["collateral", "show", "both.json", "--json"])
        .json();
    assert_eq!(entries["entries"][1]["platform"]["tee"], "tdx");
}

#[test]
fn genuine_collateral_is_shown_in_its_own_words() {
    let user = User::new();
    let collateral = sample("tdx-v4/attestation-rs__live-evidence__140cbd8c/collateral-0.json");
    insta::assert_snapshot!(
        "collateral_show",
        user.mse(&["collateral", "show", &collateral]).stdout
    );
    let shown = user
        .mse(&["collateral", "show", &collateral, "--json"])
        .json();
    let shown: Value = shown["entries"][0]["documents"][0].clone();
    // The order of members depends on a feature of serde_json that other crates may switch on.
    insta::with_settings!({sort_maps => true}, {
        insta::assert_json_snapshot!("collateral_show_json", shown);
    });
}

#[test]
fn what_cannot_be_fetched_is_said_with_a_reason() {
    let platform = FakePlatform::start();
    let user = User::new();
    let source = format!("{}/pccs", platform.url());
    let fetch = |more: &[&str]| {
        let words = [&["collateral", "fetch", "-o", "x.json"], more].concat();
        user.mse(&words)
    };
    let at = ["--source", &source];
    fetch(&[&at[..], &["--fmspc", "00606A000000"]].concat())
        .failed_with(6, "the service does not know this platform");
    fetch(&[&at[..], &["nowhere.bin"]].concat()).failed_with(6, "there is no file `nowhere.bin`");
    user.write("text.bin", "not evidence");
    fetch(&[&at[..], &["text.bin"]].concat()).failed_with(3, "`text.bin` is no evidence");
    fetch(&["--source", "http://127.0.0.1:1", "--fmspc", FMSPC])
        .failed_with(5, "cannot be reached");
    fetch(&["--source", "http://pccs.example.com", "--fmspc", FMSPC]).failed_with(2, "use `https`");
    fetch(&[&at[..], &["--fmspc", "zz"]].concat()).failed_with(2, "12 hexadecimal digits");
    fetch(&at).failed_with(2, "EVIDENCE-FILE");
    fetch(&[
        "--chip-id",
        &"ab".repeat(64),
        "--product",
        "Milan",
        "--tcb",
        "1,2,3,4,5",
    ])
    .failed_with(2, "four numbers");
    assert!(!user.path("x.json").exists());

    user.write("garbage.json", "[]");
    user.mse(&["collateral", "show", "garbage.json"])
        .failed_with(3, "`garbage.json`");
    user.write("empty.json", r#"{"format":"mse-collateral/1"}"#);
    user.mse(&["collateral", "bundle", "empty.json", "-o", "b.json"])
        .failed_with(3, "does not say which platform");
    user.mse(&["collateral", "show", "none.json"])
        .failed_with(6, "there is no collateral file");
}

#[test]
fn a_quote_names_its_own_platform() {
    let platform = FakePlatform::start();
    let user = User::new();
    let quote = sample("tdx-v4/attestation-rs__live-evidence__140cbd8c/quote.bin");
    let source = format!("{}/pccs", platform.url());
    let words = [
        "collateral",
        "fetch",
        &quote,
        "--source",
        &source,
        "-o",
        "x.json",
    ];
    let failed = user.mse(&words);
    assert_eq!(failed.code, 6, "{failed:?}");
    assert!(
        failed.stderr.contains("/tdx/certification/v4/"),
        "{failed:?}"
    );
}

#[test]
fn every_part_has_a_help_with_an_example() {
    let user = User::new();
    for part in ["fetch", "bundle", "show"] {
        let help = user.mse(&["collateral", part, "--help"]).stdout;
        assert!(help.contains("Examples:"), "{part}");
        insta::assert_snapshot!(format!("collateral_{part}_help"), help);
    }
}
