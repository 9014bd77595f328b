//! `mse apply` and `mse mesh`, as far as they need neither a CAS nor an image.

use std::fmt::Write;

use crate::support::User;

const SERVICE: &str = "
apiVersion: mse/v1
kind: genservice
environment: {}
build: {name: web, kind: python, to: 'r.example/web:1', pwd: /web, command: python3 web.py, copy: [web.py]}
";

const MESH: &str = "
apiVersion: mse/v1
kind: mesh
cas: [{cas_url: cas.example}]
policy: {namespace: shop}
env: []
services: [{name: web, image: 'r.example/web:1'}]
";

fn user() -> User {
    let user = User::new();
    for (name, text) in [
        ("service.yaml", SERVICE),
        ("mesh.yaml", MESH),
        ("open.yaml", &MESH.replace("shop", "$NAMESPACE")),
        ("typo.yaml", &SERVICE.replace("pwd:", "pwdd:")),
        (
            "java8.yaml",
            &SERVICE.replace("kind: python", "kind: java8"),
        ),
        (
            "base.yaml",
            &SERVICE.replace("kind: python", "kind: sconify_image"),
        ),
        (
            "mode.yaml",
            &MESH.replace("cas.example", "cas.example, mode: SignOnline"),
        ),
    ] {
        std::fs::write(user.path(name), text).unwrap();
    }
    // Programs that are never run.
    std::fs::create_dir(user.path("programs")).unwrap();
    for name in ["mse-launch", "mse-enclave"] {
        std::fs::write(user.path("programs").join(name), name).unwrap();
    }
    user
}

#[test]
fn what_cannot_be_applied_says_why_and_what_to_do() {
    let user = user();
    let mut shown = String::new();
    for (what, words) in [
        ("a typo", &["apply", "-f", "typo.yaml"][..]),
        ("a variable without value", &["apply", "-f", "open.yaml"]),
        ("no file", &["apply", "-f", "none.yaml"]),
        (
            "no programs",
            &["apply", "-f", "service.yaml", "--programs", "none"],
        ),
        (
            "a Java that Debian has not",
            &["apply", "-f", "java8.yaml", "--programs", "programs"],
        ),
        (
            "no base",
            &["apply", "-f", "base.yaml", "--programs", "programs"],
        ),
        ("a mode that is not served", &["apply", "-f", "mode.yaml"]),
        ("no image", &["apply", "-f", "mesh.yaml", "--no-pull"]),
        ("no mesh", &["mesh", "up"]),
        ("none that ran", &["mesh", "ps"]),
    ] {
        let output = user.mse(words);
        assert_ne!(output.code, 0, "{what}");
        writeln!(shown, "# {what}: {}\n{}", output.code, output.stderr).unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_dry_run_says_what_would_be_built() {
    let output = user().mse(&[
        "apply",
        "-f",
        "service.yaml",
        "--programs",
        "programs",
        "--dry-run",
    ]);
    insta::assert_snapshot!(output.stdout);
}
