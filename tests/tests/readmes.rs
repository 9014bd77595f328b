//! What the examples' READMEs print to be typed can be typed.

use std::fs;
use std::process::{Command, Stdio};

use mse_tests::owner::Owner;
use mse_tests::programs::{program, repository};

#[test]
fn the_commands_of_api_password_run_as_they_are_printed() {
    let example = repository().join("examples/api_password");
    let readme = fs::read_to_string(example.join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```").skip(1).step_by(2).collect();
    let [start, rest @ ..] = blocks.as_slice() else {
        panic!("no commands");
    };
    assert!(start.contains("mse cas run --data ./cas --create --accept-simulated this-machine"));
    let mut owner = Owner::new();
    owner.take(&example);
    // As `start` says, on a port that is free.
    let address = owner.run_cas("127.0.0.1:0");
    let script = rest.concat().replace("localhost:18765", &address);
    assert!(script.contains("mse cas attest"), "{script}");

    let revoke = readme
        .split('`')
        .find(|code| code.starts_with("mse session revoke"))
        .unwrap();
    let said = typed(&owner, &format!("{script}\n{revoke} --yes"));
    assert!(
        said.contains("user me - a password of 10 characters"),
        "{said}"
    );
    let listed = owner.json(&["session", "list", "api-password"]);
    assert_eq!(listed["sessions"][0]["state"], "revoked");
}

/// What a shell prints that is told `script`, all of which must succeed.
fn typed(owner: &Owner, script: &str) -> String {
    let mse = owner.command(&[]);
    let programs = program("mse");
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("sh");
    for (name, value) in mse.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let output = shell
        .args(["-eu", "-c", script])
        .env(
            "PATH",
            format!("{}:{path}", programs.parent().unwrap().display()),
        )
        .current_dir(owner.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
