//! From a service manifest and a Meshfile to a running, attested service, at the command line: the
//! real `mse`, `mse-cas` and `mse-enclave`, with images built from Debian's packages.

mod changes;
mod connections;
mod owner;

use std::fs;
use std::path::{Path, PathBuf};

use mse_tests::kubernetes::{documents, printed, tool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::owner::{Owner, PROGRAM, text};

#[test]
fn two_clean_machines_build_the_same_image() {
    let (one, other) = (Owner::new(), Owner::new());
    let digest = one.built();
    assert_eq!(one.built(), digest, "a second time on the same machine");
    assert_eq!(other.built(), digest, "on another machine");
    let changed = PROGRAM.replace("hello", "hallo");
    fs::write(other.path("hello.py"), changed).unwrap();
    assert_ne!(other.built(), digest);
}

#[test]
fn old_manifests_become_a_running_attested_service() {
    let owner = Owner::with_cas();
    owner.built();

    // What it gives up is called out, and not done unless told to.
    let refused = owner.ran(&["apply", "-f", "mesh.yaml", "--cas", "here", "--no-pull"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    for part in ["NO PROTECTION", "any-enclave", "--allow-insecure-cas"] {
        assert!(text(&refused.stderr).contains(part), "{part}");
    }
    for tolerance in [
        "any-enclave",
        "debug-mode",
        "any-signer",
        "configuration-needed",
        "outdated-tcb",
        "software-hardening-needed",
    ] {
        let error = text(&refused.stderr);
        let called_out = error.matches(&format!("`{tolerance}`: ")).count();
        assert_eq!(called_out, 1, "{tolerance}: {error}");
        let named = error
            .lines()
            .filter(|line| line.contains(tolerance))
            .count();
        assert_eq!(named, 1, "{tolerance}: {error}");
    }
    assert!(!owner.path("target").exists());

    assert_eq!(
        owner.applied(),
        [
            "create namespace",
            "create access",
            "create security",
            "create image",
            "create secrets",
            "create service",
        ]
    );
    assert!(owner.applied().iter().all(|one| one.starts_with("same ")));

    owner.up();
    owner.logs_with(|logs| logs.contains("hello myself, 10 characters"));
    let lines = owner.done(&["mesh", "logs", "--json"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (of, part) in [("program", "10 characters"), ("enclave", "asking the CAS")] {
        let found = lines
            .iter()
            .find(|one| one["of"] == of && one["text"].as_str().unwrap().contains(part));
        assert_eq!(found.unwrap()["service"], "pythonapp", "{lines:?}");
    }
    let again = owner.ran(&["mesh", "up", "--detach"]);
    assert_eq!(again.status.code(), Some(12), "{}", text(&again.stderr));

    // One that is killed comes back, with the same password.
    let pid = owner.service()["pid"].as_i64().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    owner.wait_for(|one| one["standing"] == "healthy" && one["restarts"] == 1);
    let is_digest = |line: &&str| line.len() == 64;
    let logs = owner.logs_with(|logs| logs.lines().filter(is_digest).count() == 2);
    let passwords: Vec<_> = logs.lines().filter(is_digest).collect();
    assert_eq!(passwords[0], passwords[1]);

    owner.done(&["mesh", "down"]);
    assert_eq!(owner.service()["standing"], "stopped");
}

#[test]
fn an_applied_mesh_is_a_chart_that_helm_takes() {
    let owner = Owner::with_cas();
    owner.built();
    // What an earlier mesh had is gone.
    let old = owner.path("target/helm/charts/old");
    fs::create_dir_all(&old).unwrap();
    fs::write(owner.path("target/helm/.made-by-mse"), "").unwrap();
    owner.applied();
    assert!(!old.exists());
    let chart = owner.path("target/helm");
    printed(tool("helm").args(["lint", "--strict"]).arg(&chart));
    let objects = printed(tool("helm").args(["template", "mesh"]).arg(&chart));
    assert!(
        objects.contains("value: \"helloMesh/pythonapp\""),
        "{objects}"
    );
    assert!(objects.contains("port: 443"), "{objects}");
    assert!(objects.contains("mse.dev/simulated: \"true\""), "{objects}");
    // What the program is told.
    assert!(
        !objects.contains("myself") && !objects.contains("hello.py"),
        "{objects}"
    );
    assert!(!owner.path("target/manifests").exists());

    let anchor = owner.anchor();
    let mut apply = vec!["apply", "-f", "mesh.yaml", "-o", "yaml", "--cas", "here"];
    apply.extend(["--allow-insecure-cas", "--no-pull", "--simulated", &anchor]);
    owner.done(&apply);
    let objects = documents(&owner.path("target/manifests/pythonapp.yaml"));
    let kinds: Vec<_> = objects
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["NetworkPolicy", "ServiceAccount", "Service", "Deployment"]
    );
}

#[test]
fn a_new_version_runs_when_the_mesh_is_applied_and_a_changed_one_never() {
    let owner = Owner::with_cas();
    owner.built();
    owner.applied();
    let changed = PROGRAM.replace("hello {user}", "hello again {user}");
    fs::write(owner.path("hello.py"), changed).unwrap();
    owner.built();
    let changes = owner.applied();
    let updated: Vec<_> = changes
        .iter()
        .filter(|one| one.starts_with("update"))
        .collect();
    assert_eq!(updated, ["update image"], "{changes:?}");
    owner.up();
    owner.logs_with(|logs| logs.contains("hello again myself"));
    owner.done(&["mesh", "down"]);

    // Somebody changes the program on the machine.
    let file = find(&owner.path("cache/images/unpacked"), "hello.py");
    let mut spoilt = fs::read_to_string(&file).unwrap();
    spoilt.push_str("\nprint(password)\n");
    fs::write(&file, spoilt).unwrap();
    let refused = owner.ran(&["mesh", "up", "--detach", "--wait", "120"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    let service = owner.service();
    assert_eq!(service["standing"], "failed");
    let why = service["why"].as_str().unwrap();
    assert!(why.contains("check `tree` failed"), "{why}");
}

/// The file with this name below a folder.
fn find(folder: &Path, name: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|found| found == name) {
                return path;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    panic!("no `{name}` below `{}`", folder.display())
}
