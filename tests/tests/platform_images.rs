//! The platform's own images, built by the real `mse` of the static programs, and read by others.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mse_tests::kubernetes::printed;
use mse_tests::programs::{layer_cache, program, static_program};
use mse_tests::registry::ImageRegistry;
use serde_json::Value;

/// `mse image platform`, with a cache that other tests share.
fn platform(folder: &Path, words: &[&str]) -> Command {
    command(folder, &layer_cache(), words)
}

fn command(folder: &Path, layers: &Path, words: &[&str]) -> Command {
    let cache = folder.join("cache/images");
    if !cache.join("build").exists() {
        fs::create_dir_all(layers).unwrap();
        fs::create_dir_all(&cache).unwrap();
        std::os::unix::fs::symlink(layers, cache.join("build")).unwrap();
    }
    let mut mse = Command::new(program("mse"));
    mse.current_dir(folder)
        .env("MSE_CONF_PATH", folder.join("conf"))
        .env("MSE_CACHE_PATH", folder.join("cache"))
        .env("MSE_IMAGE_PROGRAMS", programs())
        .stdin(Stdio::null())
        .args(["image", "platform"])
        .args(words);
    mse
}

fn programs() -> std::path::PathBuf {
    let enclave = static_program("mse-enclave");
    enclave.parent().unwrap().to_owned()
}

fn digests(built: &str) -> Vec<(String, String)> {
    let built: Value = serde_json::from_str(built).unwrap();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap().to_owned();
    let all = built.as_array().unwrap().iter();
    all.map(|one| (text(one, "name"), text(one, "digest")))
        .collect()
}

#[test]
fn clean_folders_build_the_same_images() {
    let digests = ["022", "077"].map(|mask| {
        let folder = tempfile::tempdir().unwrap();
        let words = ["build", "mse-server", "mse-flask", "--json"];
        let layers = folder.path().join("layers");
        let mse = command(folder.path(), &layers, &words);
        // Whoever else builds it may keep files to themselves.
        let mut masked = Command::new("sh");
        masked
            .args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", mask])
            .arg(mse.get_program())
            .args(mse.get_args())
            .current_dir(folder.path());
        for (name, value) in mse.get_envs() {
            masked.env(name, value.unwrap());
        }
        digests(&printed(&mut masked))
    });
    assert_eq!(digests[0].len(), 2);
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn the_images_are_pushed_and_hold_what_the_chart_starts() {
    let folder = tempfile::tempdir().unwrap();
    let registry = ImageRegistry::start();
    let place = format!("{}/team", registry.address());
    let words = ["build", "--push", &place];
    let values = printed(platform(folder.path(), &words).args(["--plain-http", "--sign", "k.pem"]));
    let file = folder.path().join("values.yaml");
    fs::write(&file, &values).unwrap();
    let values = &mse_tests::kubernetes::documents(&file)[0];
    for (name, value, user, start) in [
        (
            "mse-server",
            "/server/image",
            "65532:65532",
            "/mse/bin/mse-server",
        ),
        ("mse-cas", "/cas/image", "65532:65532", "/mse/bin/mse"),
        (
            "mse-flask",
            "/apps/images/mse-flask",
            "0",
            "/mse/bin/mse-launch",
        ),
    ] {
        let image = values.pointer(value).and_then(Value::as_str).unwrap();
        assert!(
            image.starts_with(&format!("{place}/{name}@sha256:")),
            "{image}"
        );
        let inspect = ["inspect", "--tls-verify=false", "--config"];
        let config = printed(
            Command::new("skopeo")
                .args(inspect)
                .arg(format!("docker://{image}")),
        );
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["config"]["User"], user, "{name}");
        assert_eq!(config["config"]["Entrypoint"][0], start, "{name}");
        // Where everybody looks for signatures, and for what is in it.
        for attached in ["sig", "sbom"] {
            let (name, digest) = image.split_once("@sha256:").unwrap();
            let tagged = format!("docker://{name}:sha256-{digest}.{attached}");
            printed(Command::new("skopeo").args([
                "inspect",
                "--raw",
                "--tls-verify=false",
                &tagged,
            ]));
        }
    }

    // What they start runs from what they hold, without anything of this machine.
    let run = |name: &str, command: &[&str]| {
        let root = folder.path().join(format!("root-{name}"));
        if !root.exists() {
            let layout = folder.path().join("target/images").join(name);
            printed(
                Command::new(program("mse"))
                    .args(["image", "unpack"])
                    .arg(layout)
                    .arg(&root),
            );
        }
        printed(
            Command::new("bwrap")
                .args(["--unshare-all", "--unshare-user", "--bind"])
                .arg(&root)
                .args(["/", "--dev", "/dev", "--proc", "/proc"])
                .args(command),
        )
    };
    for (name, program) in [("mse-server", "mse-server"), ("mse-cas", "mse")] {
        let version = run(name, &[&format!("/mse/bin/{program}"), "--version"]);
        assert!(version.starts_with(program), "{version}");
    }
    for (name, modules) in [
        ("mse-flask", "flask, granian, pip"),
        ("mse-fastapi", "fastapi, granian, pip"),
        (
            "mse-ds",
            "sklearn.svm, numpy, pandas, scipy, flask, granian, pip",
        ),
    ] {
        let runtime = run(name, &["cat", "/mse/runtime.json"]);
        let runtime: Value = serde_json::from_str(&runtime).unwrap();
        let python = runtime["interpreter"].as_str().unwrap();
        let script = format!("import {modules}; print(pip.__file__)");
        let found = run(name, &[python, "-I", "-c", &script]);
        let environment = runtime["environment"].as_str().unwrap();
        assert!(found.starts_with(environment), "{found}");
    }
}

#[test]
fn somebody_s_folder_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("out/mse-server/work");
    fs::create_dir_all(&work).unwrap();
    let ran = platform(folder.path(), &["build", "mse-server", "--output", "out"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(
        !ran.status.success() && said.contains("`out/mse-server` is there, and is no image"),
        "{said}"
    );
    assert!(work.exists());
}
