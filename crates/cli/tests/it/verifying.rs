//! `mse verify`: as a user who has no login, with what the owner gave away.

use std::fs;

use serde_json::Value;

use crate::support::{FakePlatform, Lie, User};

/// A deployed app, its owner, and a stranger with the code and an exported context.
struct Scene {
    platform: FakePlatform,
    owner: User,
    stranger: User,
    deployed: Value,
}

impl Scene {
    fn new() -> Self {
        let platform = FakePlatform::start();
        let owner = User::of(&platform);
        owner.project();
        let deployed = owner.deploy();
        let stranger = User::new();
        stranger.trust(&platform);
        stranger.project();
        let scene = Self {
            platform,
            owner,
            stranger,
            deployed,
        };
        scene.export(&[]);
        scene
    }

    /// Gives the stranger the owner's context.
    fn export(&self, options: &[&str]) {
        let id = self.deployed["id"].as_str().unwrap();
        let output = self
            .owner
            .mse(&[&["context", "--export", id, "--force"], options].concat());
        assert_eq!(output.code, 0, "{output:?}");
        fs::copy(
            self.owner.path("context.mse"),
            self.stranger.path("context.mse"),
        )
        .unwrap();
    }

    fn domain(&self) -> &str {
        self.deployed["domain_name"].as_str().unwrap()
    }

    /// `localhost` and the app's port.
    fn local(&self) -> String {
        let url = self.deployed["url"].as_str().unwrap();
        url.strip_prefix("https://").unwrap().to_owned()
    }

    fn pccs(&self) -> String {
        format!("{}/pccs", self.platform.url())
    }
}

const BY_CODE: [&str; 4] = ["--context", "context.mse", "--code", "mse_src"];

#[test]
fn a_stranger_verifies_with_the_code_and_a_context_without_key() {
    let scene = Scene::new();
    let output = scene
        .stranger
        .mse(&[&["verify", scene.domain()], &BY_CODE[..]].concat());
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stdout.contains("the source commitment agrees"),
        "{output:?}"
    );
    assert!(output.stdout.contains("SIMULATED"), "{output:?}");
    assert!(
        output
            .stdout
            .contains("The verified certificate has been saved at: cert.pem")
    );
    let certificate = fs::read_to_string(scene.stranger.path("cert.pem")).unwrap();
    let owners = scene.deployed["certificate"].as_str().unwrap();
    assert_eq!(certificate, fs::read_to_string(owners).unwrap());
}

#[test]
fn with_the_key_the_bundle_is_compared_as_well() {
    let scene = Scene::new();
    scene.export(&["--with-key"]);
    let words = [&["verify", scene.domain(), "--json"], &BY_CODE[..]].concat();
    let verdict = scene.stranger.mse(&words).json();
    assert_eq!(verdict["verdict"], "verified");
    assert_eq!(verdict["simulated"], true);
    assert!(verdict["source"]["bundle"].is_string());
    assert_eq!(verdict["fingerprint"], scene.deployed["fingerprint"]);
}

#[test]
fn a_context_says_itself_where_its_app_is() {
    let scene = Scene::new();
    let words = ["verify", "context.mse", "--code", "mse_src", "--json"];
    let verdict = scene.stranger.mse(&words).json();
    assert_eq!(verdict["verdict"], "verified");
    assert_eq!(verdict["simulated"], true);
    assert_eq!(verdict["fingerprint"], scene.deployed["fingerprint"]);

    // Without the code nothing is said about it.
    let output = scene.stranger.mse(&["verify", "context.mse"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stderr.contains("the code was NOT compared"));
    assert!(output.stdout.contains("no code was compared"));
    let verdict = scene
        .stranger
        .mse(&["verify", "context.mse", "--json"])
        .json();
    assert_eq!(verdict["verdict"], "as-context-says");

    scene.stranger.write("mse_src/app.py", "app = 1\n");
    let output = scene.stranger.mse(&words);
    output.failed_with(1, "is not the code that runs");
}

/// The name of an app of one's own, as `mse status` and `mse logs` take it.
#[test]
fn an_app_of_ones_own_is_verified_by_its_name() {
    let scene = Scene::new();
    let output = scene
        .owner
        .mse(&["verify", "hello", "--code", "mse_src", "--json"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.json()["verdict"], "verified");
    let unknown = scene.stranger.mse(&["verify", "hello"]);
    unknown.failed_with(6, "no context of a running app named `hello`");
    assert!(unknown.stderr.contains("`--context FILE`"), "{unknown:?}");
}

#[test]
fn a_context_leaves_nothing_open_that_an_option_could_say() {
    let user = User::new();
    for (words, message) in [
        (
            &[
                "verify",
                "context.mse",
                "--context",
                "b.mse",
                "--code",
                "src",
            ][..],
            "`--context` is for a domain",
        ),
        (
            &["verify", "context.mse", "--at", "1"],
            "`--at` is for evidence in a file",
        ),
        (
            &["verify", "localhost", "--code", "mse_src"],
            "`--code` was given without `--context`",
        ),
    ] {
        user.mse(words).failed_with(2, message);
    }
    let missing = user.mse(&["verify", "context.mse"]);
    assert_ne!(missing.code, 0);
    assert!(missing.stderr.contains("context.mse"), "{missing:?}");
}

#[test]
fn other_code_is_refused_before_anything_is_asked() {
    let scene = Scene::new();
    let calls = scene.platform.calls().len();
    for (path, text) in [
        ("mse_src/app.py", "app = 1\n"),
        ("mse_src/sub/data.txt", "date"),
        ("mse_src/new.py", ""),
    ] {
        scene.stranger.project();
        scene.stranger.write(path, text);
        for key in [&[][..], &["--with-key"]] {
            scene.export(key);
            let words = [&["verify", scene.domain()], &BY_CODE[..]].concat();
            let output = scene.stranger.mse(&words);
            output.failed_with(1, "is not the code that runs");
        }
        let _ = fs::remove_file(scene.stranger.path("mse_src/new.py"));
    }
    assert_eq!(scene.platform.calls().len(), calls);
    assert!(!scene.stranger.path("cert.pem").exists());
}

#[test]
fn code_that_is_not_there_is_missing_once() {
    let scene = Scene::new();
    let output = scene
        .stranger
        .mse(&["verify", "context.mse", "--code", "nodir"]);
    output.failed_with(6, "there is no folder `nodir` with code");
    assert_eq!(output.stderr.matches("nodir").count(), 1, "{output:?}");
}

/// §10.2 (11): a certificate that was not verified never gets onto the disk.
#[test]
fn defect_11_a_refused_certificate_is_not_saved() {
    let scene = Scene::new();
    let wrong = "00".repeat(32);
    let output = scene.stranger.mse(&[
        "verify",
        &scene.local(),
        "--fingerprint",
        &wrong,
        "--pccs",
        &scene.pccs(),
    ]);
    output.failed_with(1, "mr-enclave");
    assert!(!scene.stranger.path("cert.pem").exists());
}

#[test]
fn a_fingerprint_needs_neither_context_nor_code() {
    let scene = Scene::new();
    let fingerprint = scene.deployed["fingerprint"].as_str().unwrap();
    let output = scene.stranger.mse(&[
        "verify",
        &scene.local(),
        "--fingerprint",
        fingerprint,
        "--pccs",
        &scene.pccs(),
        "--json",
    ]);
    assert_eq!(output.json()["verdict"], "verified");
    let output = scene
        .stranger
        .mse(&["verify", "localhost", "--fingerprint", "00000000"]);
    output.failed_with(2, "64 hexadecimal digits");
}

#[test]
fn with_nothing_to_compare_the_answer_says_so() {
    let scene = Scene::new();
    let words = ["verify", &scene.local(), "--pccs", &scene.pccs()];
    let output = scene.stranger.mse(&words);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stderr.contains("the code was NOT compared"),
        "{output:?}"
    );
    assert!(output.stdout.contains("code not compared"), "{output:?}");
    let verdict = scene
        .stranger
        .mse(&[&words[..], &["--json"]].concat())
        .json();
    assert_eq!(verdict["verdict"], "appraised");
}

/// §10.2 (1) and invariant 4: nobody accepts simulated evidence unasked.
#[test]
fn defect_1_simulated_evidence_is_refused_by_default() {
    let scene = Scene::new();
    let newcomer = User::new();
    let words = ["verify", &scene.local(), "--pccs", &scene.pccs()];
    let output = newcomer.mse(&[&words[..], &["--json"]].concat());
    assert_eq!(output.code, 1, "{output:?}");
    assert_eq!(output.error()["details"]["reason"], "simulated-evidence");
    newcomer.write("anchor.toml", &scene.platform.trust_anchor());
    let output = newcomer.mse(&[&words[..], &["--simulated", "anchor.toml"]].concat());
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn another_enclave_program_is_refused() {
    let scene = Scene::new();
    let words = [&["verify", scene.domain()], &BY_CODE[..]].concat();
    scene.stranger.write("mse-enclave", "another program");
    scene.stranger.mse(&words).failed_with(1, "mr-enclave");
}

#[test]
fn the_enclave_of_another_app_is_refused() {
    let scene = Scene::new();
    let manifest = fs::read_to_string(scene.owner.path("mse.toml")).unwrap();
    scene
        .owner
        .write("mse.toml", &manifest.replace("\"hello\"", "\"other\""));
    let other = scene.owner.deploy();
    let url = other["url"].as_str().unwrap();
    let there = url.strip_prefix("https://").unwrap();
    let words = [&["verify", there], &BY_CODE[..]].concat();
    scene.stranger.mse(&words).failed_with(1, "mr-enclave");
}

#[test]
fn kept_collateral_serves_without_a_platform() {
    let scene = Scene::new();
    let local = scene.local();
    let words = [
        "verify",
        &local,
        "--pccs",
        &scene.pccs(),
        "--save-collateral",
        "c.json",
    ];
    assert_eq!(scene.stranger.mse(&words).code, 0);
    let calls = scene.platform.calls().len();
    let words = [&["verify", &local, "--collateral", "c.json"], &BY_CODE[..]].concat();
    let output = scene.stranger.mse(&words);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(
        scene.platform.calls().len(),
        calls,
        "offline but for the app"
    );
}

#[test]
fn an_explanation_shows_every_field_and_check() {
    let scene = Scene::new();
    let words = [&["verify", scene.domain(), "--explain"], &BY_CODE[..]].concat();
    let output = scene.stranger.mse(&words);
    assert_eq!(output.code, 0, "{output:?}");
    for part in [
        "Evidence made for this connection",
        "report.mrenclave",
        "Evidence in the certificate",
        "source_commitment",
        "passed  root-of-trust",
        "passed  mr-enclave",
        "passed  report-data",
        "hello.mse.localhost",
    ] {
        assert!(output.stdout.contains(part), "{part}: {}", output.stdout);
    }
    let json = scene
        .stranger
        .mse(&[&words[..], &["--json"]].concat())
        .json();
    let explanation = &json["explanation"];
    assert_eq!(explanation["workload"]["application"], "app:app");
    assert!(explanation["checks"].as_array().unwrap().len() > 15);
    assert!(explanation["challenge_evidence"].as_array().unwrap().len() > 20);
}

#[test]
fn a_file_that_is_no_enclaves_certificate_is_not_overwritten() {
    let scene = Scene::new();
    scene.stranger.write("cert.pem", "my own certificate");
    let words = [&["verify", scene.domain()], &BY_CODE[..]].concat();
    let output = scene.stranger.mse(&words);
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stderr.contains("the certificate was not saved"),
        "{output:?}"
    );
    let kept = fs::read_to_string(scene.stranger.path("cert.pem")).unwrap();
    assert_eq!(kept, "my own certificate");
}

#[test]
fn what_does_not_answer_is_asked_after() {
    let scene = Scene::new();
    let id = scene.deployed["id"].as_str().unwrap().to_owned();
    assert_eq!(scene.owner.mse(&["stop", &id]).code, 0);
    let words = [&["verify", scene.domain()], &BY_CODE[..]].concat();
    scene.stranger.mse(&words).failed_with(5, "still running?");
}

#[test]
fn a_context_that_was_tampered_with_is_refused() {
    let scene = Scene::new();
    let path = scene.stranger.path("context.mse");
    let text = fs::read_to_string(&path).unwrap();
    let words = [&["verify", scene.domain()], &BY_CODE[..]].concat();
    // The image's digest is the catalogue's, whatever the context says.
    let at = text.find("\\\"image\\\":{\\\"digest\\\":\\\"").unwrap() + 26;
    let mut changed = text.clone();
    let other = if &text[at..=at] == "0" { "1" } else { "0" };
    changed.replace_range(at..=at, other);
    fs::write(&path, changed).unwrap();
    scene.stranger.mse(&words).failed_with(1, "has the digest");

    fs::write(
        &path,
        text.replace("enclave_size = 4096", "enclave_size = 8192"),
    )
    .unwrap();
    scene
        .stranger
        .mse(&words)
        .failed_with(3, "contradicts the workload");
}

#[test]
fn a_platform_that_serves_other_collateral_is_no_danger() {
    let scene = Scene::new();
    scene.platform.tell(Lie::OtherRoot);
    let words = [&["verify", scene.domain()], &BY_CODE[..]].concat();
    let output = scene.stranger.mse(&words);
    assert_eq!(output.code, 1, "{output:?}");
}

#[test]
fn context_and_code_belong_together() {
    let user = User::new();
    user.mse(&["verify", "localhost", "--context", "context.mse"])
        .failed_with(2, "--code");
    user.mse(&["verify", "localhost", "--code", "mse_src"])
        .failed_with(2, "--context");
    let both = [
        &["verify", "localhost", "--fingerprint", "00"],
        &BY_CODE[..],
    ]
    .concat();
    assert_eq!(user.mse(&both).code, 2);
}
