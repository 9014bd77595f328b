//! Invariant 1: code, code key, secrets and TLS keys are found nowhere outside the owner's machine
//! and the enclave, after a full deployment.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mse_tests::platform::{Person, Server};
use mse_tests::rest::files_with;

const CODE: &str = "CANARY-in-the-code-7f3a";
const SECRET: &str = "CANARY-in-a-secret-91bd";

#[test]
fn no_canary_is_left_on_the_platform() {
    let server = Server::start();
    let owner = Person::owner(&server);
    let manifest = owner.take_example("fastapi_secrets");
    let source = manifest.with_file_name("mse_src").join("app.py");
    let mut code = fs::read_to_string(&source).unwrap();
    code.push_str(&["\n# ", CODE, "\n"].concat());
    fs::write(&source, code).unwrap();
    let secrets = manifest.with_file_name("secrets.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&secrets).unwrap()).unwrap();
    json["canary"] = SECRET.into();
    fs::write(&secrets, json.to_string()).unwrap();

    let deployed = owner.deploy(&manifest, &[]);
    let id = deployed["id"].as_str().unwrap();
    let context =
        fs::read_to_string(owner.conf().join("context").join(id).join("context.mse")).unwrap();
    let key = context
        .lines()
        .find_map(|line| line.strip_prefix("code_secret_key = "))
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let key_bytes = hex::decode(&key).unwrap();

    let needles: Vec<(&str, Vec<u8>)> = vec![
        ("code", CODE.into()),
        ("secret", SECRET.into()),
        ("code key in hex", key.clone().into()),
        ("code key in capital hex", key.to_uppercase().into()),
        ("code key in base64", STANDARD.encode(&key_bytes).into()),
        (
            "code key in base64url",
            URL_SAFE_NO_PAD.encode(&key_bytes).into(),
        ),
        ("code key", key_bytes),
    ];
    // The same search finds what is there, so that finding nothing means something.
    assert!(!files_with(&owner.conf(), key.as_bytes()).is_empty());
    assert!(!files_with(manifest.parent().unwrap(), CODE.as_bytes()).is_empty());

    // While the app runs, and again after it was stopped.
    search(&server, &needles);
    owner.run(&["stop", id]).succeeded();
    search(&server, &needles);
}

/// A traceback quotes lines of the code; the log that it lands in is the operator's.
#[test]
fn no_line_of_the_code_is_in_the_log_of_an_app_that_fails() {
    let server = Server::start();
    let owner = Person::owner(&server);
    for (name, code) in [
        (
            "an import that fails",
            format!("canary = '{CODE}'; raise ValueError(1)\n"),
        ),
        ("code that is none", format!("canary = = '{CODE}'\n")),
    ] {
        let manifest = owner.take_example("helloworld");
        fs::write(manifest.with_file_name("mse_src").join("app.py"), code).unwrap();
        let path = mse_tests::platform::path(&manifest);
        let ran = owner.run(&["deploy", "-y", "--path", path]);
        assert_ne!(ran.code, 0, "{name}");
        search(&server, &[(name, CODE.into())]);
    }
    // The log is there, and says where it went wrong.
    assert!(!files_with(&server.data(), b"app.py").is_empty());
}

fn search(server: &Server, needles: &[(&str, Vec<u8>)]) {
    let places = [
        server.data(),
        PathBuf::from("/dev/shm"),
        PathBuf::from("/run"),
    ];
    for (what, needle) in needles {
        for place in &places {
            let found = files_with(place, needle);
            assert!(found.is_empty(), "{what} found in {found:?}");
        }
        assert!(
            !contains(server.log().as_bytes(), needle),
            "{what} in the log"
        );
        for pid in server.enclave_processes() {
            for file in ["cmdline", "environ"] {
                let path = Path::new("/proc").join(pid.to_string()).join(file);
                let bytes = fs::read(&path).unwrap_or_default();
                assert!(!contains(&bytes, needle), "{what} in {path:?}");
            }
        }
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
