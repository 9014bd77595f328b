//! `mse verify FILE`: real evidence from public projects, as a script would have it verified.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::User;

/// The samples of `shared/evidence`: see `crates/attest/tests/corpus`.
struct Corpus {
    root: PathBuf,
    manifest: toml::Table,
}

impl Corpus {
    fn open() -> Self {
        let root = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
            PathBuf::from,
        );
        let file = root.join("MANIFEST.toml");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!(
                "the evidence samples are not at `{}` ({error}): put them there, or set MSE_EVIDENCE_DIR to their folder",
                file.display()
            )
        });
        Self {
            root,
            manifest: text.parse().unwrap(),
        }
    }

    fn samples(&self, kind: &str) -> Vec<&toml::Table> {
        self.manifest["sample"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(toml::Value::as_table)
            .filter(|sample| sample["kind"].as_str() == Some(kind))
            .collect()
    }

    fn path(&self, path: &toml::Value) -> String {
        let path = self.root.join(path.as_str().unwrap());
        path.to_str().unwrap().to_owned()
    }

    fn files(&self, sample: &toml::Table) -> Vec<String> {
        sample["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| self.path(&file["path"]))
            .collect()
    }
}

/// The verdict, and that exit code, `accepted` and `failed` say the same.
fn verify(user: &User, words: &[&str]) -> Value {
    let output = user.mse(&[&["verify"], words, &["--json"]].concat());
    let verdict: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {output:?}"));
    let accepted = verdict["accepted"].as_bool().unwrap();
    assert_eq!(output.code, i32::from(!accepted), "{output:?}");
    assert_eq!(verdict["failed"].is_null(), accepted, "{output:?}");
    assert_eq!(verdict["simulated"], false, "{output:?}");
    verdict
}

fn assert_claims(verdict: &Value, sample: &toml::Table) {
    for (name, expected) in sample["claims"].as_table().unwrap() {
        let expected = serde_json::to_value(expected).unwrap();
        assert_eq!(verdict["claims"][name], expected, "{} {name}", sample["id"]);
    }
}

#[test]
fn intel_quotes_get_the_status_of_their_manifest() {
    let (corpus, user) = (Corpus::open(), User::new());
    for (kind, tee) in [("sgx-v3", "sgx"), ("tdx-v4", "tdx"), ("tdx-v5", "tdx")] {
        for sample in corpus.samples(kind) {
            let quote = &corpus.files(sample)[0];
            let cases = sample.get("case").and_then(toml::Value::as_array);
            for case in cases.into_iter().flatten() {
                let now = case["now"].to_string();
                let collateral = corpus.path(&case["collateral"]);
                let words = [quote, "--collateral", &collateral, "--at", &now];
                let verdict = verify(&user, &words);
                assert_claims(&verdict, sample);
                assert_eq!(verdict["tee"], tee);
                match case.get("expected_status") {
                    Some(status) => {
                        assert_eq!(verdict["status"], status.as_str().unwrap(), "{collateral}");
                        let is_debug = sample["claims"]["debug"].as_bool().unwrap();
                        let may_pass = status.as_str() == Some("UpToDate") && !is_debug;
                        assert!(may_pass || verdict["accepted"] == false, "{collateral}");
                    }
                    None => assert_eq!(verdict["accepted"], false, "{collateral}"),
                }
            }
        }
    }
}

#[test]
fn snp_reports_are_accepted_with_their_chain_only() {
    let (corpus, user) = (Corpus::open(), User::new());
    let mut accepted = 0;
    for sample in corpus.samples("snp") {
        let files = corpus.files(sample);
        // Any time in the life of the VEK: here the end of the day on which it was issued.
        let at = sample.get("vek_not_before").map_or_else(
            || "2026-01-01T00:00:00Z".to_owned(),
            |date| format!("{}T23:59:59Z", date.as_str().unwrap()),
        );
        let mut words = vec![files[0].as_str(), "--at", &at];
        for file in &files[1..] {
            words.extend(["--endorsement", file]);
        }
        let verdict = verify(&user, &words);
        assert_claims(&verdict, sample);
        assert_eq!(verdict["tee"], "snp");
        let is_good = sample["expected"].as_str().unwrap().starts_with("accept")
            && !sample.contains_key("expected_policy_note");
        assert_eq!(verdict["accepted"], is_good, "{}: {verdict}", sample["id"]);
        accepted += usize::from(is_good);
        if files.len() > 1 && is_good {
            let alone = verify(&user, &[&files[0], "--at", &at]);
            assert_eq!(alone["accepted"], false);
        }
    }
    assert!(accepted >= 18, "only {accepted}");
}

#[test]
fn nitro_documents_are_accepted_at_their_time_only() {
    let (corpus, user) = (Corpus::open(), User::new());
    let mut accepted = 0;
    for sample in corpus.samples("nitro") {
        let file = &corpus.files(sample)[0];
        let now = sample["now"].to_string();
        let verdict = verify(&user, &[file, "--at", &now]);
        assert_claims(&verdict, sample);
        assert_eq!(verdict["tee"], "nitro");
        let is_good = sample["expected"].as_str() == Some("accept")
            && !sample["claims"]["debug"].as_bool().unwrap();
        assert_eq!(verdict["accepted"], is_good, "{}: {verdict}", sample["id"]);
        accepted += usize::from(is_good);
        assert_eq!(
            verify(&user, &[file])["accepted"],
            false,
            "{}",
            sample["id"]
        );
    }
    assert!(accepted >= 14, "only {accepted}");
}

#[test]
fn negatives_are_refused() {
    let (corpus, user) = (Corpus::open(), User::new());
    let negatives = corpus.manifest["negative"].as_array().unwrap();
    for negative in negatives.iter().filter_map(toml::Value::as_table) {
        let id = negative["id"].as_str().unwrap();
        let files = corpus.files(negative);
        let now = negative
            .get("now")
            .map_or_else(|| "1795132800".to_owned(), ToString::to_string);
        let mut words = vec![files[0].as_str(), "--at", &now];
        for (file, entry) in files
            .iter()
            .zip(negative["files"].as_array().unwrap())
            .skip(1)
        {
            let option = match entry["role"].as_str() {
                Some("collateral") => "--collateral",
                _ => "--endorsement",
            };
            words.extend([option, file]);
        }
        let verdict = verify(&user, &words);
        let expected = negative["expected"].as_str().unwrap();
        if expected.starts_with("reject") {
            assert_eq!(verdict["accepted"], false, "{id}: {verdict}");
        } else if expected == "accept" {
            assert_eq!(verdict["accepted"], true, "{id}: {verdict}");
        }
    }
}

#[test]
fn evidence_is_read_as_hexadecimal_and_base64_too() {
    use base64::Engine;

    let (corpus, user) = (Corpus::open(), User::new());
    let sample = corpus.samples("nitro")[0];
    let document = fs::read(&corpus.files(sample)[0]).unwrap();
    let now = sample["now"].to_string();
    let base64 = base64::engine::general_purpose::STANDARD.encode(&document);
    for (name, text) in [
        ("document.hex", format!("0x{}\n", hex::encode(&document))),
        ("document.txt", base64),
    ] {
        user.write(name, &text);
        assert_eq!(
            verify(&user, &[name, "--at", &now])["accepted"],
            true,
            "{name}"
        );
    }
}

#[test]
fn a_verdict_for_people_says_what_was_not_compared() {
    let (corpus, user) = (Corpus::open(), User::new());
    let sample = corpus.samples("nitro")[0];
    let file = &corpus.files(sample)[0];
    let now = sample["now"].to_string();
    let output = user.mse(&["verify", file, "--at", &now]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.starts_with("accepted\n"), "{output:?}");
    assert!(output.stderr.contains("NOT compared"), "{output:?}");

    let explained = user.mse(&["verify", file, "--at", &now, "--explain"]);
    assert!(
        explained.stdout.contains("Checks, in the order"),
        "{explained:?}"
    );
    assert!(explained.stdout.contains("root-of-trust"), "{explained:?}");
}

#[test]
fn what_is_used_wrongly_is_no_verdict() {
    let user = User::new();
    user.write("quote.bin", "no quote");
    for (words, code, why) in [
        (
            &["verify", "missing.bin"][..],
            6,
            "there is no file `missing.bin`",
        ),
        (
            &["verify", "quote.bin", "--at", "yesterday"],
            2,
            "unix seconds",
        ),
        (
            &["verify", "quote.bin", "--report-data", "00"],
            2,
            "`2` hexadecimal digits instead of 128",
        ),
        (
            &["verify", "localhost:20000", "--at", "1"],
            2,
            "`--at` is for evidence in a file",
        ),
    ] {
        user.mse(words).failed_with(code, why);
    }
    user.mse(&["verify", "quote.bin"])
        .failed_with(1, "evidence-format");
}
