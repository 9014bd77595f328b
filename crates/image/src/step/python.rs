//! Installing the Python packages of a requirements file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use serde::Deserialize;

use super::sandbox::{Mount, Sandbox, StepError};
use crate::lock::{PythonPackage, is_plain};
use crate::progress::{Cancel, Progress};
use crate::spec::StepNetwork;

/// Settings of pip and of proxies that a build takes over from whoever starts it.
const TAKEN_OVER: &[&str] = &[
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_DEFAULT_TIMEOUT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];
/// The machine's authorities: a company's proxy or package index may have one of its own.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What pip reads.
const REQUIREMENTS: &str = "requirements.txt";

/// What to install.
pub(crate) enum Requirements<'a> {
    /// What this file says.
    File(&'a Path),
    /// Exactly these.
    Locked(&'a [PythonPackage]),
}

/// What installs, and where.
pub(crate) struct Pip<'a> {
    /// pip as a wheel.
    pub(crate) wheel: &'a Path,
    /// The folder of a virtual environment to make; else it is the system's packages.
    pub(crate) environment: Option<&'a str>,
}

/// Installs into the image at `root`, and says what. `scratch` is an empty folder.
///
/// What a requirements file means is first only asked for, and then installed by its digests: so a
/// first build and one by its lock do the same.
pub(crate) fn install(
    root: &Path,
    pip: &Pip<'_>,
    requirements: &Requirements<'_>,
    scratch: &Path,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Vec<PythonPackage>, PythonError> {
    let (sandbox, file) = (
        sandbox(root, pip.wheel, scratch),
        scratch.join(REQUIREMENTS),
    );
    let python = match pip.environment {
        None => "python3".to_owned(),
        Some(folder) => {
            let make = [
                "python3",
                "-I",
                "-m",
                "venv",
                "--without-pip",
                "--symlinks",
                folder,
            ];
            sandbox.run(&make, progress, cancel)?;
            format!("{folder}/bin/python")
        }
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PythonError::Read(path, source)
    };
    let packages = match requirements {
        Requirements::Locked(packages) => packages.to_vec(),
        Requirements::File(path) => {
            fs::copy(path, &file).map_err(failed(path))?;
            let command = command(
                &python,
                &["--dry-run", "--report=/tmp/.mse/work/report.json"],
            );
            sandbox.run(&command, progress, cancel)?;
            let report = scratch.join("report.json");
            installed(&fs::read(&report).map_err(failed(&report))?)?
        }
    };
    fs::write(&file, locked(&packages)).map_err(failed(&file))?;
    let command = command(&python, &["--no-deps", "--require-hashes"]);
    sandbox.run(&command, progress, cancel)?;
    Ok(packages)
}

fn command<'a>(python: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut command = vec![
        python,
        "/tmp/.mse/pip.whl/pip",
        "install",
        "--break-system-packages",
        "--cache-dir=/tmp/.mse/work/cache",
        "--disable-pip-version-check",
        "--no-compile",
        "--no-input",
        "--no-warn-script-location",
        "--progress-bar=off",
        "--root-user-action=ignore",
        "--requirement=/tmp/.mse/work/requirements.txt",
    ];
    command.extend(more);
    command
}

fn sandbox<'a>(root: &'a Path, pip: &Path, scratch: &Path) -> Sandbox<'a> {
    let mut mounts = vec![
        Mount::read(pip, "/tmp/.mse/pip.whl"),
        Mount::write(scratch, "/tmp/.mse/work"),
    ];
    let mut environment: Vec<(String, OsString)> = TAKEN_OVER
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)))
        .collect();
    if Path::new(AUTHORITIES).is_file() {
        mounts.push(Mount::read(Path::new(AUTHORITIES), "/tmp/.mse/ca.pem"));
        environment.push(("PIP_CERT".into(), "/tmp/.mse/ca.pem".into()));
    }
    environment.push(("PYTHONDONTWRITEBYTECODE".into(), "1".into()));
    Sandbox {
        root,
        network: StepNetwork::On,
        folder: "/tmp/.mse/work",
        mounts,
        environment,
    }
}

fn locked(packages: &[PythonPackage]) -> String {
    let mut text = String::new();
    for package in packages {
        let PythonPackage {
            name,
            version,
            sha256,
        } = package;
        let _ = writeln!(text, "{name}=={version} --hash=sha256:{sha256}");
    }
    text
}

/// What pip's report says that it installed, by name.
fn installed(report: &[u8]) -> Result<Vec<PythonPackage>, PythonError> {
    #[derive(Deserialize)]
    struct Report {
        install: Vec<Installed>,
    }
    #[derive(Deserialize)]
    struct Installed {
        download_info: Download,
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
        version: String,
    }
    #[derive(Deserialize)]
    struct Download {
        #[serde(default)]
        archive_info: Option<Archive>,
    }
    #[derive(Deserialize)]
    struct Archive {
        #[serde(default)]
        hash: Option<String>,
        #[serde(default)]
        hashes: BTreeMap<String, String>,
    }
    let report: Report = serde_json::from_slice(report)?;
    let mut packages = report
        .install
        .into_iter()
        .map(
            |Installed {
                 download_info,
                 metadata,
             }| {
                let Metadata { name, version } = metadata;
                let sha256: Option<Digest> = download_info.archive_info.and_then(|archive| {
                    archive
                        .hashes
                        .get("sha256")
                        .cloned()
                        .or_else(|| archive.hash?.strip_prefix("sha256=").map(ToOwned::to_owned))?
                        .parse()
                        .ok()
                });
                match sha256 {
                    Some(sha256) if is_plain(&name) && is_plain(&version) => Ok(PythonPackage {
                        name,
                        version,
                        sha256,
                    }),
                    _ => Err(PythonError::NoDigest(name)),
                }
            },
        )
        .collect::<Result<Vec<_>, _>>()?;
    packages.sort();
    Ok(packages)
}

/// Why Python packages could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// A file cannot be read or written.
    #[error("`{at}` cannot be read or written: {1}", at = .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// pip failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// pip's report is not as it was.
    #[error("pip's report is not understood: {0}")]
    Report(#[from] serde_json::Error),
    /// Something that came from no archive.
    #[error(
        "`{0}` was not installed from an archive: its bytes cannot be recorded; name a version instead of a folder or repository"
    )]
    NoDigest(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_installed_is_read_from_pips_report() {
        let digest = Digest::of(b"wheel");
        let report = |archive: serde_json::Value| {
            serde_json::json!({"version": "1", "install": [{
                "download_info": {"url": "https://x", "archive_info": archive},
                "metadata": {"name": "flask", "version": "3.1.3"},
            }]})
            .to_string()
        };
        let expected = [PythonPackage {
            name: "flask".into(),
            version: "3.1.3".into(),
            sha256: digest,
        }];
        for archive in [
            serde_json::json!({"hashes": {"sha256": digest.to_string()}}),
            serde_json::json!({"hash": format!("sha256={digest}")}),
        ] {
            assert_eq!(installed(report(archive).as_bytes()).unwrap(), expected);
        }
        let none = report(serde_json::json!({}));
        assert!(matches!(
            installed(none.as_bytes()),
            Err(PythonError::NoDigest(_))
        ));
        assert_eq!(
            locked(&expected),
            format!("flask==3.1.3 --hash=sha256:{digest}\n")
        );
    }
}
