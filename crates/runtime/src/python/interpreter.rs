//! Finding the machine's Python.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{PythonError, tail};

/// A Python interpreter of this machine that can make environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    executable: PathBuf,
    base_prefix: PathBuf,
    version: PythonVersion,
}

impl Interpreter {
    /// The first supported interpreter among `python3`, `python3.13`, `python3.12` and
    /// `python3.11` on the PATH and `/usr/bin/python3`.
    pub async fn find() -> Result<Self, PythonError> {
        let mut refused = Vec::new();
        for candidate in CANDIDATES {
            match Self::at(Path::new(candidate)).await {
                Ok(interpreter) => return Ok(interpreter),
                Err(error) => refused.push(error),
            }
        }
        // One package away is nearer than no interpreter at all.
        let (without_venv, others): (Vec<_>, Vec<_>) = refused
            .into_iter()
            .partition(|error| matches!(error, PythonError::NoVenv { .. }));
        Err(without_venv
            .into_iter()
            .next()
            .unwrap_or_else(|| PythonError::NotFound {
                tried: others
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n  "),
            }))
    }

    /// The interpreter that `command` starts: a path, or a name on the PATH. Version managers put
    /// scripts there and virtual environments links, so it is asked where it really lives.
    pub async fn at(command: &Path) -> Result<Self, PythonError> {
        let unusable = |problem: String| PythonError::Unusable {
            command: command.to_owned(),
            problem,
        };
        let output = Command::new(command)
            .args(["-I", "-c", PROBE])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PROBE_TIMEOUT, output)
            .await
            .map_err(|_| unusable("it does not answer".to_owned()))?
            .map_err(|error| unusable(error.to_string()))?;
        if !output.status.success() {
            return Err(unusable(tail(&output.stderr)));
        }
        let probe: Probe = serde_json::from_slice(&output.stdout)
            .map_err(|_| unusable("it is not a Python 3 interpreter".to_owned()))?;
        let version = PythonVersion(probe.version);
        if !version.is_supported() {
            return Err(PythonError::Unsupported {
                command: command.to_owned(),
                version,
            });
        }
        if !probe.venv {
            return Err(PythonError::NoVenv {
                executable: probe.executable,
                version,
            });
        }
        Ok(Self {
            executable: probe.executable,
            base_prefix: probe.base_prefix,
            version,
        })
    }

    /// The interpreter's own file, with all links followed.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// Where the interpreter and the standard library live.
    pub fn base_prefix(&self) -> &Path {
        &self.base_prefix
    }

    /// The version.
    pub fn version(&self) -> PythonVersion {
        self.version
    }
}

/// A version of Python: major, minor, micro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PythonVersion(pub [u16; 3]);

impl PythonVersion {
    /// Whether the images are locked for it and tested with it: 3.11, 3.12 or 3.13.
    pub fn is_supported(self) -> bool {
        let Self([major, minor, _]) = self;
        major == 3 && (11..=13).contains(&minor)
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, micro]) = self;
        write!(f, "{major}.{minor}.{micro}")
    }
}

/// What [`PROBE`] prints.
#[derive(Deserialize)]
struct Probe {
    executable: PathBuf,
    base_prefix: PathBuf,
    version: [u16; 3],
    venv: bool,
}

const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

const CANDIDATES: &[&str] = &[
    "python3",
    "python3.13",
    "python3.12",
    "python3.11",
    "/usr/bin/python3",
];

/// Run with `-I`. `_base_executable` sees through a virtual environment, `realpath` through links.
const PROBE: &str = "
import importlib.util, json, os, sys
print(json.dumps({
    'executable': os.path.realpath(getattr(sys, '_base_executable', sys.executable)),
    'base_prefix': os.path.realpath(sys.base_prefix),
    'version': list(sys.version_info[:3]),
    'venv': all(importlib.util.find_spec(name) for name in ('venv', 'ensurepip')),
}))
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tested_versions_are_supported() {
        for minor in 11..=13 {
            assert!(PythonVersion([3, minor, 0]).is_supported());
        }
        for other in [[2, 12, 0], [3, 10, 13], [3, 14, 0], [4, 11, 0]] {
            assert!(!PythonVersion(other).is_supported());
        }
    }

    #[tokio::test]
    async fn what_is_no_interpreter_is_refused_by_name() {
        let error = Interpreter::at(Path::new("/bin/echo")).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "`/bin/echo` cannot be used: it is not a Python 3 interpreter"
        );
        let error = Interpreter::at(Path::new("/nowhere/python"))
            .await
            .unwrap_err();
        assert!(matches!(error, PythonError::Unusable { .. }), "{error}");
    }
}
