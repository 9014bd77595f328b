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

/// What to install.
pub(crate) enum Requirements<'a> {
    /// What this file says.
    File(&'a Path),
    /// Exactly these.
    Locked(&'a [PythonPackage]),
}

/// Installs into the image at `root`, and says what. `pip` is pip as a wheel; `scratch` an empty
/// folder.
pub(crate) fn install(
    root: &Path,
    pip: &Path,
    requirements: &Requirements<'_>,
    scratch: &Path,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Vec<PythonPackage>, PythonError> {
    let text = match requirements {
        Requirements::File(path) => fs::read_to_string(path)
            .map_err(|source| PythonError::Read(path.to_path_buf(), source))?,
        Requirements::Locked(packages) => locked(packages),
    };
    let file = scratch.join("requirements.txt");
    fs::write(&file, text).map_err(|source| PythonError::Read(file.clone(), source))?;
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
    let mut command = vec!["python3", "/tmp/.mse/pip.whl/pip", "install"];
    command.extend([
        "--break-system-packages",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "--no-compile",
        "--no-input",
        "--no-warn-script-location",
        "--progress-bar=off",
        "--root-user-action=ignore",
        "--report=/tmp/.mse/work/report.json",
        "--requirement=/tmp/.mse/work/requirements.txt",
    ]);
    if matches!(requirements, Requirements::Locked(_)) {
        command.extend(["--no-deps", "--require-hashes"]);
    }
    Sandbox {
        root,
        network: StepNetwork::On,
        folder: "/tmp/.mse/work",
        mounts,
        environment,
    }
    .run(&command, progress, cancel)?;
    let report = scratch.join("report.json");
    let report = fs::read(&report).map_err(|source| PythonError::Read(report, source))?;
    installed(&report)
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
