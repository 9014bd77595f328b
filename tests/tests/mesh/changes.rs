//! What applying a Meshfile would change, and what it must not.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::owner::{Owner, text};

/// One service, of the image that [`Owner::built`] builds.
fn mesh(namespace: &str, more: &str, user: &str) -> String {
    format!(
        "
apiVersion: mse/v1
kind: mesh
cas: [{{cas_url: localhost, trust: {{simulated: this-machine}}}}]
policy: {{namespace: {namespace}{more}}}
env: [{{service: global, env: [{{name: API_USER, value: {user}}}]}}]
services: [{{name: pythonapp, image: 'registry.example:5050/team/python_hello_user:latest'}}]
"
    )
}

const FILE: [&str; 5] = ["-f", "mesh.yaml", "--cas", "here", "--no-pull"];

fn write(owner: &Owner, mesh: &str) {
    fs::write(owner.path("mesh.yaml"), mesh).unwrap();
}

fn apply(owner: &Owner) {
    owner.done(&[&["apply"][..], &FILE].concat());
}

fn diff(owner: &Owner, more: &[&str]) -> Value {
    owner.json(&[&["mesh", "diff"][..], &FILE, more].concat())
}

fn changed(diff: &Value) -> Vec<String> {
    let sessions = diff["sessions"].as_array().unwrap().iter();
    let changed = sessions.filter(|one| one["change"] != "same");
    changed
        .map(|one| {
            format!(
                "{} {}",
                one["change"].as_str().unwrap(),
                one["role"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn a_diff_says_what_applying_would_change_and_changes_nothing() {
    let owner = Owner::with_cas();
    owner.built();
    write(&owner, &mesh("hello", "", "canary-one"));
    let all = diff(&owner, &[]);
    assert_eq!(all["changed"], true);
    assert_eq!(changed(&all).len(), 6, "{all}");
    assert!(changed(&all).iter().all(|one| one.starts_with("create ")));
    assert!(!owner.path("target").exists());
    let words = [&["mesh", "diff", "--exit-code"][..], &FILE].concat();
    assert_eq!(owner.ran(&words).status.code(), Some(24));

    apply(&owner);
    let none = diff(&owner, &[]);
    assert_eq!(none["changed"], false, "{none}");
    assert!(changed(&none).is_empty());
    assert_eq!(owner.ran(&words).status.code(), Some(0));
    // Nothing was made by looking.
    assert!(changed(&diff(&owner, &[])).is_empty());

    // A value and a port: one policy, and what Kubernetes is told.
    let other = mesh("hello", "", "canary-two").replace("latest'}", "latest', ports: [8080]}");
    write(&owner, &other);
    let some = diff(&owner, &[]);
    assert_eq!(changed(&some), ["update service"], "{some}");
    let session = some["sessions"].as_array().unwrap();
    let session = session.iter().find(|one| one["role"] == "service").unwrap();
    let paths: Vec<_> = session["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["services[python3].environment.API_USER"], "{some}");
    let files = some["files"].to_string();
    assert!(
        files.contains("helm/charts/pythonapp/values.yaml"),
        "{files}"
    );
    assert!(files.contains("mesh.json"), "{files}");
    // What the program is told is shown to who asks for it.
    assert!(!some.to_string().contains("canary"), "{some}");
    let shown = diff(&owner, &["--show-values"]).to_string();
    assert!(
        shown.contains("canary-one") && shown.contains("canary-two"),
        "{shown}"
    );
    let people = owner.done(&[&["mesh", "diff"][..], &FILE].concat());
    assert!(
        people.contains("~ session hello/pythonapp (service)"),
        "{people}"
    );
    assert!(!people.contains("canary"), "{people}");
}

#[test]
fn another_cas_at_the_pinned_address_is_told_apart_before_its_evidence_is_asked_for() {
    let owner = Owner::with_cas();
    owner.built();
    write(&owner, &mesh("one", "", "a"));
    let pin = owner.path("conf/cas/here.toml");
    let known = fs::read_to_string(&pin).unwrap();
    let key = owner.json(&["cas", "list"])["cases"][0]["cas_key"].clone();
    fs::write(&pin, known.replace(key.as_str().unwrap(), &"0f".repeat(32))).unwrap();
    let output = owner.ran(&[&["apply"][..], &FILE].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("another CAS is at `"), "{error}");
    assert!(error.contains("--name here --replace"), "{error}");
    assert!(!error.contains("mse trust add"), "{error}");

    // Nobody is known there: the address at hand is named.
    let elsewhere = mesh("one", "", "a").replace("cas_url: localhost", "cas_url: localhost:12345");
    write(&owner, &elsewhere);
    let output = owner.ran(&["apply", "-f", "mesh.yaml", "--no-pull"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{error}");
    assert!(
        error.contains("`mse cas attest localhost:12345 --name NAME`"),
        "{error}"
    );
}

#[test]
fn an_old_curated_image_is_called_old_until_it_is_built_again() {
    let owner = Owner::with_cas();
    owner.json(&["image", "curated", "build", "memcached"]);
    let mesh = mesh("hello", "", "a");
    let (mesh, _) = mesh.split_once("services:").unwrap();
    let service = "services: [{name: cache, curated: memcached, connections: []}]\n";
    write(&owner, &format!("{mesh}{service}"));
    let looked = |more: &[&str]| {
        let words = [
            &["apply", "-f", "mesh.yaml", "--cas", "here", "--dry-run"],
            more,
        ]
        .concat();
        let output = owner.ran(&words);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let is_old = |said: &str| said.contains("`curated: memcached` was built 31 days ago");
    assert!(!is_old(&looked(&[])));
    // The store knows by the file of the name when that got its meaning.
    let then = SystemTime::now() - Duration::from_secs(31 * 24 * 3600);
    for name in fs::read_dir(owner.path("cache/images/names")).unwrap() {
        let file = fs::File::options().write(true).open(name.unwrap().path());
        file.unwrap().set_modified(then).unwrap();
    }
    let said = looked(&[]);
    assert!(is_old(&said), "{said}");
    for command in ["`mse apply --pull`", "`mse image curated build memcached`"] {
        assert!(said.contains(command), "{said}");
    }
    assert!(!is_old(&looked(&["--pull"])));
    assert!(!is_old(&looked(&[])), "it was built again");
}

#[test]
fn a_mesh_does_not_take_the_sessions_of_another() {
    let owner = Owner::with_cas();
    owner.built();
    let shared = ", image_policy_namespace: images";
    write(&owner, &mesh("one", shared, "a"));
    apply(&owner);
    let refused = |more: &[&str], parts: &[&str]| {
        let output = owner.ran(&[&["apply"][..], &FILE, more].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(12), "{error}");
        for part in parts {
            assert!(error.contains(part), "{part} in {error}");
        }
    };
    // An image's measurements are another mesh's.
    write(&owner, &mesh("two", shared, "a"));
    refused(
        &[],
        &[
            "is of the mesh `one@mesh`",
            "this is the mesh `two@mesh`",
            "image_policy_namespace",
        ],
    );
    // The namespace is another installation's.
    write(&owner, &mesh("one", shared, "a"));
    refused(
        &["--release", "second"],
        &[
            "is of the mesh `one@mesh`",
            "policy.namespace",
            "--take-over",
        ],
    );
    // A session that somebody wrote.
    write(&owner, &mesh("three", "", "a"));
    fs::write(
        owner.path("own.yml"),
        "name: three\nversion: '0.3.12'\nsalt: 101112131415161718191a1b1c1d1e1f\n",
    )
    .unwrap();
    owner.done(&["session", "create", "own.yml", "--cas", "here"]);
    let own = fs::read_to_string(owner.path("own.yml")).unwrap();
    let own = own.replace("name: three", "name: three/access");
    fs::write(owner.path("own.yml"), own).unwrap();
    owner.done(&["session", "create", "own.yml", "--cas", "here"]);
    refused(&[], &["`three/access` was not made by `mse apply`"]);

    // Nothing was lost, and who says so takes over.
    write(&owner, &mesh("one", shared, "a"));
    assert_eq!(diff(&owner, &[])["changed"], false);
    owner.done(&[&["apply", "--take-over", "--release", "second"][..], &FILE].concat());
    refused(&[], &["is of the mesh `one@second`"]);
}

/// Who edits a mesh sees what it takes back, and what it does not.
#[test]
fn a_service_that_is_removed_leaves_a_session_and_an_open_port_which_is_said() {
    let owner = Owner::with_cas();
    owner.built();
    let image = "image: 'registry.example:5050/team/python_hello_user:latest'";
    let back = format!("{{name: back, {image}, ports: [8000], connections: []}}");
    let front = format!("{{name: front, {image}, connections: [{{to: back, ports: [8000]}}]}}");
    let services = |list: &str| {
        let one = mesh("hello", "", "me");
        let (head, _) = one.split_once("services:").unwrap();
        write(&owner, &format!("{head}services: [{list}]\n"));
    };
    let warned = || {
        let applied = owner.json(&[&["apply"][..], &FILE].concat());
        applied["warnings"].to_string()
    };
    services(&format!("{back}, {front}"));
    let quiet = warned();
    assert!(
        !quiet.contains("everybody") && !quiet.contains("no more of this"),
        "{quiet}"
    );
    assert_eq!(warned(), quiet);

    services(&back);
    let told = warned();
    assert!(told.contains("`hello/back` opens to everybody"), "{told}");
    assert!(
        told.contains("`hello/front` is a session of the mesh"),
        "{told}"
    );
    assert!(
        told.contains("mse session revoke hello/front --hash "),
        "{told}"
    );
    // It is open already; the session is still there.
    let again = warned();
    assert!(!again.contains("opens to everybody"), "{again}");
    assert!(
        again.contains("`hello/front` is a session of the mesh"),
        "{again}"
    );
}

#[test]
fn an_image_that_was_not_built_here_needs_its_signer() {
    let owner = Owner::new();
    owner.built();
    write(&owner, &mesh("hello", "", "a"));
    owner.done(&["cas", "keygen"]);
    fs::write(
        owner.path("signer.pub"),
        mse_crypto::ecdsa::P256SigningKey::generate()
            .public()
            .to_pem(),
    )
    .unwrap();
    let words = [&["apply", "--image-signer", "signer.pub"][..], &FILE].concat();
    let refused = || text(&owner.ran(&words).stderr);
    // Built here: what is missing is the CAS.
    let error = refused();
    assert!(
        error.contains("there is no CAS `here`") || error.contains("`here`"),
        "{error}"
    );
    assert!(!error.contains("signature"), "{error}");
    // As if it had been pulled.
    fs::remove_dir_all(owner.path("cache/images/built")).unwrap();
    let error = refused();
    assert!(
        error.contains("its signature is in its registry"),
        "{error}"
    );
}

#[test]
fn a_signed_mesh_is_brought_by_anybody_and_changed_by_nobody() {
    let owner = Owner::with_cas();
    owner.built();
    let public = owner.done(&["session", "keygen", "--output", "board.pem"]);
    owner.write("board.pub", &public);
    let public = public
        .lines()
        .fold(String::new(), |text, line| text + "      " + line + "\n");
    fs::write(
        owner.path("team.yml"),
        format!(
            "name: team\nversion: '0.3.12'\nsalt: 101112131415161718191a1b1c1d1e1f\naccess_policy:\n  read: [CREATOR]\n  update: [CREATOR]\n  create_sessions:\n  - signer: |\n{public}"
        ),
    )
    .unwrap();
    owner.done(&["session", "create", "team.yml", "--cas", "here"]);
    let signed = mesh("team/hello", "", "a").replace(
        "cas_url: localhost",
        "cas_url: localhost, mode: SignedManifest",
    );
    write(&owner, &signed);
    let unsigned = owner.ran(&[&["apply"][..], &FILE].concat());
    assert!(
        text(&unsigned.stderr).contains("--session-key"),
        "{}",
        text(&unsigned.stderr)
    );
    let words = [&["apply", "--session-key", "board.pem"][..], &FILE].concat();
    // Somebody else, whom the CAS does not know, carries the files. The namespace is first, and is
    // alone until it is there: whoever created it instead would choose what the others refer to.
    let carrier = owner.carrier();
    owner.json(&words);
    let files = fs::read_dir(owner.path("target/session_files")).unwrap();
    let files: Vec<_> = files.map(|one| one.unwrap().file_name()).collect();
    assert_eq!(files, ["signed_team-hello.json"]);
    assert!(!owner.path("target/mesh.json").exists());
    let namespace = "target/session_files/signed_team-hello.json";
    let brought = owner.ran_by(&carrier, &["session", "create", namespace, "--cas", "here"]);
    assert!(brought.status.success(), "{}", text(&brought.stderr));

    let applied = owner.json(&words);
    let sessions = applied["sessions"].as_array().unwrap();
    assert_eq!(applied["delivery"], "signed");
    for session in sessions.iter().filter(|one| one["change"] == "create") {
        let name = session["name"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .replace(['_', ':', '/', '.'], "-");
        let file = format!("target/session_files/signed_{name}.json");
        if name == "team-hello-pythonapp" {
            let path = owner.path(&file);
            let whole = fs::read_to_string(&path).unwrap();
            fs::write(
                owner.path("changed.json"),
                whole.replace("python3", "python4"),
            )
            .unwrap();
            let refused = owner.ran_by(
                &carrier,
                &["session", "create", "changed.json", "--cas", "here"],
            );
            assert!(!refused.status.success());
        }
        let brought = owner.ran_by(&carrier, &["session", "create", &file, "--cas", "here"]);
        assert!(
            brought.status.success(),
            "{name}: {}",
            text(&brought.stderr)
        );
    }
    let read = owner.ran_by(
        &carrier,
        &["session", "read", "team/hello/pythonapp", "--cas", "here"],
    );
    assert_eq!(read.status.code(), Some(13), "{}", text(&read.stderr));
    // Who only looks needs no private key.
    for key in ["board.pem", "board.pub"] {
        let none = diff(&owner, &["--session-key", key]);
        assert_eq!(none["changed"], false, "{none}");
    }
    let signs = ["apply", "--session-key", "board.pub"];
    let refused = text(&owner.ran(&[&signs[..], &FILE].concat()).stderr);
    assert!(
        refused.contains("`board.pub` is no signing key"),
        "{refused}"
    );
    owner.done(&[&signs[..], &["--dry-run"], &FILE].concat());
    owner.json(&["mesh", "up", "--detach", "--wait", "120"]);
    owner.done(&["mesh", "down"]);

    // A change is signed, too.
    write(
        &owner,
        &signed.replace("API_USER, value: a", "API_USER, value: b"),
    );
    owner.json(&words);
    let file = "target/session_files/signed_team-hello-pythonapp.json";
    let brought = owner.ran_by(&carrier, &["session", "update", file, "--cas", "here"]);
    assert!(brought.status.success(), "{}", text(&brought.stderr));
    assert_eq!(
        diff(&owner, &["--session-key", "board.pem"])["changed"],
        false
    );
}
