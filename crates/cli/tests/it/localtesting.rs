//! `mse localtest`: no platform, no login, the real runtime.

use std::fs;

use crate::support::{SECRET_CANARY, User};

/// A scaffolded project whose tests need nothing to be installed.
fn project() -> User {
    let user = User::new();
    assert_eq!(user.mse(&["scaffold", "hello"]).code, 0);
    for file in fs::read_dir(user.path("hello")).unwrap() {
        let file = file.unwrap();
        fs::rename(file.path(), user.path("").join(file.file_name())).unwrap();
    }
    set_tests(&user, "python3 -m unittest", "");
    user.write("tests/test_app.py", TESTS);
    user.write(
        "secrets.json",
        &format!(r#"{{"login": "{SECRET_CANARY}"}}"#),
    );
    user
}

const TESTS: &str = r#"
import json, os, unittest, urllib.request

opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

class App(unittest.TestCase):
    def ask(self, path):
        return opener.open(os.environ["TEST_REMOTE_URL"] + path).read().decode()

    def test_greets(self):
        self.assertEqual(self.ask("/"), "Hello world")

    def test_has_its_secrets(self):
        self.assertEqual(json.loads(self.ask("/whoami")), {"login": "secret-canary-77aa"})
"#;

fn set_tests(user: &User, command: &str, requirements: &str) {
    let manifest = fs::read_to_string(user.path("mse.toml")).unwrap();
    let lines: Vec<String> = manifest
        .lines()
        .map(|line| {
            if line.starts_with("tests_cmd") {
                format!("tests_cmd = {command:?}")
            } else if line.starts_with("tests_requirements") {
                format!("tests_requirements = [{requirements}]")
            } else {
                line.to_owned()
            }
        })
        .collect();
    user.write("mse.toml", &(lines.join("\n") + "\n"));
}

#[test]
fn the_app_runs_with_its_secrets_and_the_tests_decide() {
    let user = project();
    let output = user.mse(&["localtest"]);
    assert_eq!(output.code, 0, "{output:?}");
    assert_eq!(output.stdout, "Tests successful\n");
    assert!(output.stderr.contains("Ran 2 tests"), "{output:?}");
    // Nothing is left beside the code.
    assert!(!user.path("mse_src/__pycache__").exists());

    // §10.2 (13): tests that fail are a failure, and what the app wrote is shown.
    let app = fs::read_to_string(user.path("mse_src/app.py")).unwrap();
    user.write("mse_src/app.py", &app.replace("Hello world", "Hullo world"));
    let output = user.mse(&["localtest", "--json"]);
    assert_eq!(output.code, 8, "{output:?}");
    assert!(
        output.stderr.contains(r#""code":"tests-failed""#),
        "{output:?}"
    );

    set_tests(&user, "", "");
    assert_eq!(user.mse(&["localtest", "--json"]).json()["tests"], "none");
}

#[test]
fn an_app_that_does_not_start_shows_why() {
    let user = project();
    user.write("mse_src/app.py", "import nothing_of_that_name\n");
    let output = user.mse(&["localtest"]);
    output.failed_with(8, "nothing_of_that_name");
    assert!(output.stderr.contains("Traceback"), "{output:?}");
}

#[test]
fn what_is_ignored_is_missing_here_as_it_will_be_there() {
    let user = project();
    user.write("mse_src/helper.py", "");
    let app = fs::read_to_string(user.path("mse_src/app.py")).unwrap();
    user.write("mse_src/app.py", &format!("import helper\n{app}"));
    assert_eq!(user.mse(&["localtest"]).code, 0);
    user.write("mse_src/.mseignore", "helper.py\n");
    user.mse(&["localtest"])
        .failed_with(8, "No module named 'helper'");
}

#[test]
fn a_wrong_manifest_is_told_before_anything_runs() {
    let user = project();
    let manifest = fs::read_to_string(user.path("mse.toml")).unwrap();
    user.write("mse.toml", &manifest.replace("mse-flask:", "mse-ruby:"));
    user.mse(&["localtest"])
        .failed_with(3, "image `mse-ruby` is not known");
    user.mse(&["localtest", "--path", "no.toml"])
        .failed_with(3, "no.toml");
}
