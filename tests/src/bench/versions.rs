//! What was compared with what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use mse_runtime::images::Catalogue;
use serde::Serialize;

use crate::enclave::FASTAPI;

/// Programs and packages by name.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Versions(BTreeMap<String, String>);

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self
            .0
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        write!(f, "Versions: {}", all.join(", "))
    }
}

/// Those of both sides; `python` is the interpreter of the other side's environment.
pub(super) fn find(python: &Path) -> anyhow::Result<Versions> {
    let mut versions: BTreeMap<String, String> = theirs(python)?;
    versions.extend(ours().0);
    versions.insert("granian".into(), granian()?);
    versions.insert("wrk".into(), wrk()?);
    Ok(Versions(versions))
}

/// Those of our side alone.
pub(super) fn ours() -> Versions {
    let own = ("mse".into(), env!("CARGO_PKG_VERSION").into());
    Versions([own].into())
}

const THEIRS: &str = r#"
import importlib.metadata, json, platform
packages = ["fastapi", "flask", "hypercorn", "pynacl", "uvloop"]
found = {name: importlib.metadata.version(name) for name in packages}
print(json.dumps({"python": platform.python_version(), **found}))
"#;

fn theirs(python: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let output = Command::new(python)
        .args(["-c", THEIRS])
        .output()
        .with_context(|| format!("`{}` cannot be run", python.display()))?;
    ensure!(
        output.status.success(),
        "the environment of `{}` is not complete; remove it, and ./x bench makes it again:\n{}",
        python.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The server of our images.
fn granian() -> anyhow::Result<String> {
    let image = Catalogue::builtin().resolve(FASTAPI)?;
    image
        .lock()
        .lines()
        .find_map(|line| line.strip_prefix("granian=="))
        .and_then(|rest| rest.split(' ').next())
        .map(str::to_owned)
        .context("the image's lock file does not pin `granian`")
}

fn wrk() -> anyhow::Result<String> {
    let output = Command::new("wrk")
        .arg("-v")
        .output()
        .context("`wrk` cannot be run; ./x bench installs it")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    text.split_whitespace()
        .nth(1)
        .map(str::to_owned)
        .context("`wrk -v` does not say its version")
}
