//! A CAS and its users at the command line: the real `mse-cas` on a simulated platform, and `mse`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use mse_api::cas::{SESSIONS, StoredSession, Upload};
use mse_crypto::Digest;
use mse_tests::cas_program::{CasMachine, Person, RunningCas};
use mse_tests::programs::{program, repository};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Somebody with a configuration folder.
struct User {
    folder: TempDir,
}

impl User {
    /// With the key of `person`, if it is somebody.
    fn new(person: Option<&Person>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("conf/cas")).unwrap();
        if let Some(person) = person {
            fs::write(folder.path().join("conf/cas-client.pem"), &person.pem).unwrap();
        }
        Self { folder }
    }

    /// Another one, who knows the same CASes.
    fn with_pins_of(other: &Self, person: Option<&Person>) -> Self {
        let user = Self::new(person);
        for pin in fs::read_dir(other.conf("cas")).unwrap() {
            let pin = pin.unwrap().path();
            if pin.extension().is_some_and(|kind| kind == "toml") {
                let name = pin.file_name().unwrap();
                fs::copy(&pin, user.conf("cas").join(name)).unwrap();
            }
        }
        user
    }

    fn conf(&self, name: &str) -> PathBuf {
        self.folder.path().join("conf").join(name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(program("mse"));
        command
            .current_dir(self.folder.path())
            .env("MSE_CONF_PATH", self.folder.path().join("conf"))
            .env("MSE_CAS", program("mse-cas"))
            .env_remove("MSE_SIMULATED")
            .env_remove("MSE_CAS_NAME")
            .stdin(Stdio::null())
            .args(words);
        command
    }

    fn ran(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn done(&self, words: &[&str]) -> String {
        let output = self.ran(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, words: &[&str]) -> Value {
        let told = self.done(&[words, &["--json"]].concat());
        serde_json::from_str(&told).unwrap()
    }

    fn refused(&self, words: &[&str], code: i32, says: &str) {
        let output = self.ran(words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {output:?}");
        assert!(told.contains(says), "`{says}` is not in: {told}");
    }

    /// A key for signatures in the file; gives the public half as it stands in a session.
    fn keygen(&self, file: &str, indent: &str) -> String {
        let pem = self.done(&["session", "keygen", "--output", file]);
        pem.trim().replace('\n', &format!("\n{indent}"))
    }

    fn attest(&self, machine: &CasMachine, cas: &RunningCas, name: &str) {
        let measurement = machine.measure(&machine.workload()).to_string();
        let owner = machine.owner.hash.to_string();
        let anchor = machine.folder.path().join("tee/trust-anchor.toml");
        let words = ["cas", "attest", &cas.address, "--pccs", &machine.pccs];
        let what = ["--measurement", &measurement, "--owner", &owner];
        let trust = ["--name", name, "--simulated", anchor.to_str().unwrap()];
        // Simulated evidence is accepted only when told.
        self.refused(&[&words[..], &what, &trust[..2]].concat(), 1, "simulated");
        self.done(&[&words[..], &what, &trust].concat());
    }

    /// The CAS has moved.
    fn moved(&self, name: &str, from: &RunningCasAddress, to: &RunningCas) {
        let pin = self.conf("cas").join(format!("{name}.toml"));
        let text = fs::read_to_string(&pin).unwrap();
        let moved = text.replace(&from.0, &to.address);
        assert_ne!(moved, text);
        fs::write(&pin, moved).unwrap();
    }
}

struct RunningCasAddress(String);

/// A CAS, and its owner who has attested it.
async fn started() -> (CasMachine, RunningCas, User) {
    let machine = CasMachine::new(&program("mse-cas")).await;
    let cas = machine.create().await;
    let owner = User::new(Some(&machine.owner));
    (machine, cas, owner)
}

async fn blocking(test: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(test).await.unwrap();
}

fn session(name: &str, rest: &str) -> String {
    format!("name: {name}\nversion: '0.3.12'\nservices: []\n{rest}")
}

/// The line of the secret in a list of secrets.
fn password(list: &Value) -> &Value {
    let lines = list["secrets"].as_array().unwrap();
    lines
        .iter()
        .find(|line| line["name"] == "password")
        .unwrap()
}

const SECRETS: &str = "secrets:
- {name: password, kind: ascii, size: 20}
- {name: ca, kind: x509-ca, common_name: Shop, export_public: true}
";

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_created_updated_read_and_revoked() {
    let (machine, cas, owner) = started().await;
    blocking(move || sessions(&machine, &cas, &owner)).await;
}

fn sessions(machine: &CasMachine, cas: &RunningCas, owner: &User) {
    owner.refused(&["session", "list"], 6, "mse cas attest");
    owner.attest(machine, cas, "here");
    owner.refused(&["session", "list", "--cas", "nobody"], 6, "nobody");
    owner.write("team.yml", &session("team", ""));
    owner.write("shop.yml", &session("team/$NAME", SECRETS));

    // What is wrong is found here, and shown as `check` shows it.
    owner.write("wrong.yml", &session("team", "acess_policy: {}\n"));
    owner.refused(&["session", "create", "wrong.yml"], 3, "error[unknown-key]");
    let shop = ["session", "create", "shop.yml", "-e", "NAME=shop"];
    owner.refused(&shop, 3, "the namespace `team` does not exist");
    owner.done(&["session", "create", "team.yml"]);
    let made = owner.json(&[&shop[..], &["--hash-file", "shop.hash"]].concat());
    assert_eq!(made["name"], "team/shop");
    assert_eq!(made["number"], 1);
    let first = owner.text("shop.hash").trim().to_owned();
    assert_eq!(made["hash"], *first);
    owner.refused(&shop, 12, "exists");
    owner.refused(&[&shop[..], &["--json"]].concat(), 12, "\"conflict\"");

    // What an update would change: nothing that the CAS has filled in.
    owner.write(
        "next.yml",
        &session(
            "team/shop",
            &format!("{SECRETS}- {{name: new, kind: ascii, size: 9}}\n"),
        ),
    );
    let changes = owner.json(&["session", "diff", "cas:team/shop", "next.yml"]);
    let paths: Vec<_> = changes["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["predecessor", "secrets[new]"]);
    owner.refused(&["session", "diff", "cas:", "next.yml"], 2, "cas:NAME");
    owner.refused(&["session", "diff", "team/shop", "next.yml"], 6, "cas:NAME");

    // An update says what it replaces.
    owner.refused(&["session", "update", "next.yml"], 3, "--latest");
    let update = ["session", "update", "next.yml", "--latest"];
    let updated = owner.json(&[&update[..], &["--hash-file", "shop.hash"]].concat());
    assert_eq!(
        (&updated["number"], &updated["predecessor"]),
        (&json!(2), &json!(first))
    );
    let second = owner.text("shop.hash").trim().to_owned();
    owner.write(
        "stale.yml",
        &session("team/shop", &format!("predecessor: {first}\n")),
    );
    owner.refused(&["session", "create", "stale.yml"], 3, "it is an update");
    owner.refused(&["session", "update", "stale.yml"], 12, "is at version");

    // Every version is there, and its text is a session.
    let history = owner.json(&["session", "history", "team/shop"]);
    assert_eq!(history["hashes"], json!([first, second]));
    let read = ["session", "read", "team/shop", "--hash", &first];
    owner.done(&[&read[..], &["-o", "first.json"]].concat());
    let hashed = owner.json(&["session", "hash", "first.json"]);
    assert_eq!(hashed["hash"], *first);
    assert_eq!(owner.json(&read)["is_current"], false);
    owner.refused(&[&read[..], &["-o", "first.json"]].concat(), 12, "exists");
    owner.refused(
        &["session", "read", "team/shop", "--hash", &"0".repeat(64)],
        6,
        "no session",
    );
    let listed = owner.json(&["session", "list", "team"]);
    let names: Vec<_> = listed["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["name"])
        .collect();
    assert_eq!(names, ["team", "team/shop"]);

    encrypted(owner);
    others(cas, owner);

    // Revoked for good.
    let revoke = ["session", "revoke", "team/shop", "--hash", &first];
    owner.refused(&revoke, 2, "--yes");
    owner.refused(&[&revoke[..], &["--yes"]].concat(), 12, "is at version");
    let revoke = ["session", "revoke", "team/shop", "--hash", &second, "--yes"];
    owner.done(&revoke);
    owner.refused(&revoke, 12, "revoked");
    let listed = owner.json(&["session", "list", "team/shop"]);
    assert_eq!(listed["sessions"][0]["state"], "revoked");
    owner.refused(&update, 12, "revoked");
}

/// Encrypted to this CAS, and to another one.
fn encrypted(owner: &User) {
    let key = owner.json(&["cas", "list"])["cases"][0]["session_encryption_key"].clone();
    let me = owner.json(&["cas", "whoami"])["key_hash"].clone();
    let creator = format!("creator: {{key: {}}}\n", me.as_str().unwrap());
    owner.write("unclaimed.yml", &session("sealed", ""));
    owner.write("sealed.yml", &session("sealed", &creator));
    let here = key.as_str().unwrap();
    let other = Digest::of(b"x").to_string();
    for (from, key, file) in [
        ("sealed.yml", here, "sealed"),
        ("sealed.yml", &other, "other"),
        ("unclaimed.yml", here, "unclaimed"),
    ] {
        owner.done(&["session", "encrypt", from, "--to", key, "--output", file]);
    }
    // Whoever carries it could be who brings it.
    owner.refused(&["session", "create", "unclaimed"], 3, "mse cas whoami");
    owner.refused(&["session", "create", "other"], 3, "another CAS");
    owner.done(&["session", "create", "sealed"]);
    owner.refused(
        &["session", "update", "sealed", "--latest"],
        3,
        "nothing can be filled in",
    );
}

/// Who may not, and who is not the CAS.
fn others(cas: &RunningCas, owner: &User) {
    let stranger = User::with_pins_of(owner, Some(&Person::new()));
    stranger.refused(&["session", "read", "team/shop"], 13, "may not");
    stranger.write("mine.yml", &session("mine", ""));
    stranger.refused(&["session", "create", "mine.yml"], 13, "hint:");
    assert_eq!(stranger.json(&["session", "list"]), json!({"sessions": []}));
    let nobody = User::with_pins_of(owner, None);
    nobody.write("mine.yml", &session("mine", ""));
    nobody.refused(&["session", "create", "mine.yml"], 13, "mse cas keygen");
    stranger.refused(&["cas", "backup"], 13, "owner");
    stranger.refused(&["cas", "audit", "fetch", "-o", "log"], 13, "owner");
    assert!(!stranger.path("log").exists());

    // Somebody else at the address of the CAS.
    let pin = fs::read_to_string(owner.conf("cas/here.toml")).unwrap();
    let other = pin.replace(&cas.key.to_string(), &Digest::of(b"another").to_string());
    assert_ne!(other, pin);
    fs::write(owner.conf("cas/fake.toml"), other).unwrap();
    owner.refused(&["session", "list"], 2, "fake, here");
    owner.refused(&["session", "list", "--cas", "fake"], 1, "not the CAS");
    let mut by_environment = owner.command(&["session", "list"]);
    let listed = by_environment.env("MSE_CAS_NAME", "here").output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    owner.done(&["cas", "forget", "fake"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_listed_rotated_given_and_public_ones_read() {
    let (machine, cas, owner) = started().await;
    blocking(move || secrets(&machine, &cas, &owner)).await;
}

fn secrets(machine: &CasMachine, cas: &RunningCas, owner: &User) {
    owner.attest(machine, cas, "here");
    let alice = owner.keygen("alice.pem", "      ");
    owner.keygen("mallory.pem", "");
    let policy = format!(
        "{SECRETS}access_policy:\n  read: [CREATOR]\n  update:\n  - CREATOR\n  - signer: |\n      {alice}\n"
    );
    owner.write("shop.yml", &session("shop", &policy));
    owner.done(&["session", "create", "shop.yml"]);
    let line = |list: &Value| password(list).clone();
    let listed = owner.json(&["secret", "list", "shop"]);
    assert_eq!(line(&listed)["name"], "password");
    assert_eq!(line(&listed)["version"], 1);

    let rotated = owner.json(&["secret", "rotate", "shop", "password", "--grace", "10m"]);
    assert_eq!(line(&rotated)["version"], 2);
    assert!(line(&rotated)["grace_until"].is_string());
    owner.refused(&["secret", "rotate", "shop", "none"], 6, "none");
    owner.refused(
        &["secret", "rotate", "shop", "password", "--grace", "10"],
        2,
        "10m",
    );

    // The value is in no word of the command line, and in nothing that is printed.
    owner.write("value", "correct horse battery\n");
    let set = [
        "secret",
        "set",
        "shop",
        "password",
        "--value-file",
        "value",
        "--key",
    ];
    owner.refused(&set[..6], 2, "--key");
    let given = owner.ran(&[&set[..], &["alice.pem", "--json"]].concat());
    assert!(given.status.success(), "{given:?}");
    let told = String::from_utf8(given.stdout).unwrap();
    assert!(!told.contains("horse"));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&line(&told)["version"], &line(&told)["source"]),
        (&json!(3), &json!("given"))
    );
    owner.refused(
        &[
            "secret",
            "set",
            "shop",
            "none",
            "--value-file",
            "value",
            "--key",
            "alice.pem",
        ],
        6,
        "none",
    );
    owner.refused(
        &[&set[..4], &["--value-file", "no", "--key", "alice.pem"]].concat(),
        6,
        "no",
    );
    owner.refused(
        &[&set[..4], &["--stdin", "--key", "alice.pem"]].concat(),
        3,
        "empty",
    );
    // The owner may update by the key of TLS; a stranger, by no key.
    let stranger = User::with_pins_of(owner, Some(&Person::new()));
    fs::copy(owner.path("mallory.pem"), stranger.path("mallory.pem")).unwrap();
    stranger.write("value", "x");
    stranger.refused(&[&set[..], &["mallory.pem"]].concat(), 13, "may not");

    // What is for all is for all, and nothing else is.
    let nobody = User::with_pins_of(owner, None);
    let value = nobody.done(&["secret", "get", "shop", "ca"]);
    assert!(value.starts_with("-----BEGIN CERTIFICATE-----"), "{value}");
    for hidden in ["password", "none"] {
        nobody.refused(&["secret", "get", "shop", hidden], 6, hidden);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_approve_what_they_were_shown() {
    let (machine, cas, owner) = started().await;
    blocking(move || governance(&machine, &cas, &owner)).await;
}

fn governance(machine: &CasMachine, cas: &RunningCas, owner: &User) {
    owner.attest(machine, cas, "here");
    let mut members = String::new();
    for file in ["a.pem", "b.pem", "c.pem"] {
        let pem = owner.keygen(file, "        ");
        members = format!("{members}    - signer: |\n        {pem}\n");
    }
    owner.keygen("stranger.pem", "");
    let policy =
        format!("access_policy:\n  read: [CREATOR]\n  update:\n  - require-at-least-2:\n{members}");
    owner.write("board.yml", &session("board", &policy));
    let first = owner.json(&["session", "create", "board.yml"])["hash"].clone();
    let first = first.as_str().unwrap();

    // Nobody alone changes it, the creator neither; and who is not named does not even propose.
    let next = session("board", &format!("{SECRETS}{policy}"));
    owner.write("next.yml", &next);
    owner.refused(
        &["session", "update", "next.yml", "--latest"],
        13,
        "may not",
    );
    owner.refused(
        &["session", "propose", "next.yml", "--latest"],
        13,
        "access_policy.update",
    );
    owner.refused(&["session", "propose", "next.yml"], 3, "--latest");

    // One of the three proposes: her signature is an approval.
    let creator = machine.owner.hash;
    let complete = format!("{next}predecessor: {first}\ncreator: {{key: '{creator}'}}\n");
    owner.write("signable.yml", &complete);
    owner.done(&[
        "session",
        "sign",
        "signable.yml",
        "--key",
        "a.pem",
        "--output",
        "signed",
    ]);
    let proposed = owner.json(&["session", "propose", "signed", "--expires", "2d"]);
    let id = proposed["id"].as_str().unwrap().to_owned();
    assert_eq!(proposed["state"], "open");
    assert_eq!(proposed["approvals"].as_array().unwrap().len(), 1);
    owner.refused(
        &["session", "propose", "signed", "--expires", "31d"],
        3,
        "expires_in",
    );
    let listed = owner.json(&["session", "proposals", "board"]);
    assert_eq!(listed["proposals"][0]["id"], *id);
    let shown = owner.json(&["session", "proposal", "board", &id, "--diff"]);
    assert_eq!(shown["diff"]["new"]["hash"], proposed["hash"]);
    assert!(
        owner
            .done(&["session", "proposal", "board", &id])
            .contains("password")
    );

    // She takes it back, and cannot be made to have given it.
    let vote = |what: &'static str, key: &'static str| {
        let mut words = vec!["session", what, "board", &id, "--key", key];
        if what == "approve" {
            words.push("--yes");
        }
        words
    };
    owner.refused(
        &["session", "approve", "board", &id, "--key", "b.pem"],
        2,
        "--yes",
    );
    owner.refused(&vote("approve", "stranger.pem"), 13, "may not");
    owner.refused(&vote("withdraw", "b.pem"), 12, "no approval of this signer");
    owner.done(&vote("withdraw", "a.pem"));
    owner.refused(&vote("approve", "a.pem"), 12, "took the approval back");
    let told = owner.done(&vote("approve", "b.pem"));
    assert!(told.contains("secrets"), "the change is shown: {told}");
    assert_eq!(
        owner.json(&["session", "history", "board"])["hashes"],
        json!([first])
    );
    let taken = owner.json(&vote("approve", "c.pem"));
    assert_eq!(taken["state"], "taken");
    let history = owner.json(&["session", "history", "board"]);
    assert_eq!(history["hashes"], json!([first, taken["hash"]]));
    owner.refused(&vote("approve", "a.pem"), 6, "no proposal");
    owner.refused(&["session", "propose", "signed"], 12, "is at version");

    let second = taken["hash"].as_str().unwrap();
    dropped(owner, &complete.replace(first, second));
}

/// A proposal is dropped by who proposed it: known by the key of TLS.
fn dropped(owner: &User, complete: &str) {
    owner.write("signable.yml", complete);
    owner.done(&[
        "session",
        "sign",
        "signable.yml",
        "--key",
        "b.pem",
        "--output",
        "again",
    ]);
    let proposed = owner.json(&["session", "propose", "again"]);
    let id = proposed["id"].as_str().unwrap();
    owner.done(&["session", "drop", "board", id]);
    assert_eq!(
        owner.json(&["session", "proposals", "board"]),
        json!({"proposals": []})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_fetched_and_watched_and_a_store_that_was_set_back_is_found_out() {
    let (machine, cas, owner) = started().await;
    fill_the_log(&machine, &cas).await;
    let (cas, owner, machine) = tokio::task::spawn_blocking(move || {
        logs(&machine, &cas, &owner);
        (cas, owner, machine)
    })
    .await
    .unwrap();

    // An old copy of the whole folder is put back.
    let address = RunningCasAddress(cas.address.clone());
    cas.stop().await;
    let old = machine.folder.path().join("old");
    copy(&machine.data(), &old);
    let cas = machine.open().await;
    owner.moved("here", &address, &cas);
    let owner = tokio::task::spawn_blocking(move || {
        owner.write("late.yml", &session("late", ""));
        owner.done(&["session", "create", "late.yml"]);
        owner.done(&["cas", "audit", "watch", "--witness", "seen.json"]);
        owner
    })
    .await
    .unwrap();
    let address = RunningCasAddress(cas.address.clone());
    cas.stop().await;
    fs::remove_dir_all(machine.data()).unwrap();
    copy(&old, &machine.data());
    let cas = machine.open().await;
    owner.moved("here", &address, &cas);
    blocking(move || {
        let seen = fs::read_to_string(owner.conf("cas/here.position")).unwrap();
        for words in [
            &["cas", "position"][..],
            &["session", "list"],
            &["cas", "audit", "watch", "--witness", "seen.json"],
            &["cas", "position"],
        ] {
            owner.refused(words, 11, "ROLLED BACK");
        }
        let kept = fs::read_to_string(owner.conf("cas/here.position")).unwrap();
        assert_eq!(kept, seen);
        // Who has the witness alone finds it out, too.
        let auditor = User::with_pins_of(&owner, Some(&machine.owner));
        fs::copy(owner.path("seen.json"), auditor.path("seen.json")).unwrap();
        let watch = ["cas", "audit", "watch", "--witness", "seen.json"];
        auditor.refused(&watch, 18, "the log of here");
        owner.refused(&["cas", "position", "--accept"], 2, "--yes");
        owner.done(&["cas", "position", "--accept", "--yes"]);
        owner.done(&["session", "list"]);
        drop(cas);
    })
    .await;
}

/// More entries than are asked for at once, and a checkpoint.
async fn fill_the_log(machine: &CasMachine, cas: &RunningCas) {
    let mut client = cas.connect(Some(&machine.owner)).await.unwrap();
    let upload = Upload::Text(session("first", ""));
    let _: StoredSession = client.post(SESSIONS, &upload).await.unwrap();
    for _ in 0..700 {
        let _: Value = client.get("/v1/session?name=first").await.unwrap();
    }
}

fn logs(machine: &CasMachine, cas: &RunningCas, owner: &User) {
    owner.attest(machine, cas, "here");
    let position = owner.json(&["cas", "position"]);
    assert_eq!(position["seen_before"], Value::Null);
    for n in 0..5 {
        owner.write("s.yml", &session(&format!("s{n}"), ""));
        owner.done(&["session", "create", "s.yml"]);
    }
    let head = owner.json(&["cas", "audit", "head"]);
    assert!(head["tree_size"].as_u64().unwrap() > 700, "{head}");
    let fetch = [
        "cas",
        "audit",
        "fetch",
        "-o",
        "log.jsonl",
        "--key-file",
        "log.pem",
    ];
    owner.done(&fetch);
    let verify = ["cas", "audit", "verify", "log.jsonl", "--key", "log.pem"];
    let verified = owner.json(&verify);
    assert_eq!(verified["verdict"], "ok");
    assert!(verified["checkpoints"].as_u64().unwrap() >= 1, "{verified}");
    assert_eq!(verified["head"]["tree_size"], head["tree_size"]);
    let watch = [
        "cas",
        "audit",
        "watch",
        "--witness",
        "seen.json",
        "-o",
        "watched.jsonl",
    ];
    assert_eq!(owner.json(&watch)["witnessed"], Value::Null);
    assert!(owner.json(&watch)["witnessed"].as_u64().unwrap() >= 1);
    owner.done(&[&verify[..], &["--witness", "seen.json"]].concat());

    // Cut, at its end and in the middle; another key.
    let text = owner.text("log.jsonl");
    let lines: Vec<_> = text.lines().collect();
    owner.write(
        "log.jsonl",
        &format!("{}\n", lines[..lines.len() - 1].join("\n")),
    );
    owner.refused(&verify, 14, "log.jsonl");
    let gap = [&lines[..2], &lines[3..]].concat().join("\n");
    owner.write("log.jsonl", &format!("{gap}\n"));
    owner.refused(&verify, 17, "log.jsonl");
    let other = owner.done(&["session", "keygen", "--output", "other.pem"]);
    let pin = fs::read_to_string(owner.conf("cas/here.toml")).unwrap();
    let body = |pem: &str| pem.lines().nth(1).unwrap().to_owned();
    let changed = pin.replace(&body(&owner.text("log.pem")), &body(&other));
    assert_ne!(changed, pin);
    fs::write(owner.conf("cas/other.toml"), changed).unwrap();
    let fetch = ["cas", "audit", "fetch", "-o", "no.jsonl", "--cas", "other"];
    owner.refused(&fetch, 1, "not the attested CAS's");
    assert!(!owner.path("no.jsonl").exists());
    owner.done(&["cas", "forget", "other"]);
    assert!(!owner.conf("cas/other.position").exists());

    // A backup lies beside the store, as it was told.
    let made = owner.json(&["cas", "backup"]);
    let file = machine
        .data()
        .join("backups")
        .join(made["file"].as_str().unwrap());
    let digest = Digest::of(&fs::read(file).unwrap());
    assert_eq!(made["digest"], digest.to_string());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// `mse cas proxy`, until it is dropped.
struct Proxy {
    child: Child,
    url: String,
}

impl Proxy {
    fn start(user: &User) -> Self {
        let mut command = user.command(&["cas", "proxy", "--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let url = listening["url"].as_str().unwrap().to_owned();
        Self { child, url }
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_client_reaches_the_cas_through_the_proxy_as_its_user() {
    let (machine, cas, owner) = started().await;
    let (machine, cas, owner) = tokio::task::spawn_blocking(move || {
        owner.attest(&machine, &cas, "here");
        owner.write("shop.yml", &session("shop", SECRETS));
        owner.done(&["session", "create", "shop.yml"]);
        owner.refused(&["cas", "proxy", "--listen", "0.0.0.0:0"], 2, "in clear");
        (machine, cas, owner)
    })
    .await
    .unwrap();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let proxy = Proxy::start(&owner);
    let client = reqwest::Client::new();
    let at = |path: &str| format!("{}{path}", proxy.url);
    let asked = client
        .get(at("/v1/session?name=shop"))
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 200);
    assert!(asked.headers().contains_key("mse-position"));
    let view: Value = asked.json().await.unwrap();
    assert_eq!(view["name"], "shop");
    let rotation = json!({"session": "shop", "secret": "password"});
    for version in [2, 3] {
        let rotate = client.post(at("/v1/secrets/rotate")).json(&rotation);
        let list: Value = rotate.send().await.unwrap().json().await.unwrap();
        assert_eq!(password(&list)["version"], version);
    }
    // Statuses and refusals come through as they are.
    let upload = json!({"text": session("new", "")});
    let created = client.post(at("/v1/sessions")).json(&upload).send();
    assert_eq!(created.await.unwrap().status(), 201);
    let again = client.post(at("/v1/sessions")).json(&upload).send().await;
    let again = again.unwrap();
    assert_eq!(again.status(), 409);
    assert_eq!(again.json::<Value>().await.unwrap()["code"], "exists");
    let document = client.get(at("/v1/openapi.json")).send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    let checked_in = fs::read_to_string(repository().join("openapi/mse-cas.json")).unwrap();
    assert_eq!(
        document,
        serde_json::from_str::<Value>(&checked_in).unwrap()
    );
    // A web page gets nothing done.
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("host", "evil.example", 421),
    ] {
        let asked = client.post(at("/v1/secrets/rotate")).json(&rotation);
        let answer = asked.header(name, value).send().await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
    }
    let list: Value = client
        .get(at("/v1/secrets?session=shop"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(password(&list)["version"], 3);

    // The CAS is gone.
    cas.stop().await;
    let answer = client.get(at("/v1/position")).send().await.unwrap();
    assert_eq!(answer.status(), 502);
    proxy.stop();
    tokio::task::spawn_blocking(move || {
        owner.refused(&["session", "list"], 5, "cannot be reached");
        drop(machine);
    })
    .await
    .unwrap();
}
