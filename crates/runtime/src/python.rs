//! The Python environment of a curated runtime: made once from the image's lock file, kept under
//! a cache directory, and from then on only read.
//!
//! An environment is a virtual environment that holds exactly the locked packages and the serve
//! shim. It may be mounted read-only; mounted at its own path, so that tracebacks find their
//! source. Its interpreter is a link into [`PythonEnvironment::base_prefix`], which therefore has
//! to be visible as well.

mod build;
mod interpreter;

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

use crate::images::Image;

pub use interpreter::{Interpreter, PythonVersion};

/// A finished environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonEnvironment {
    root: PathBuf,
    base_prefix: PathBuf,
    version: PythonVersion,
    digest: Digest,
}

impl PythonEnvironment {
    /// The environment of `image` under `cache_dir`, which is built if it is not there yet.
    ///
    /// Looks for an interpreter first, which takes longer than all the rest when the environment
    /// is there: who calls this often keeps an [`Interpreter`] and calls [`Self::ensure_with`].
    pub async fn ensure(cache_dir: &Path, image: &Image) -> Result<Self, PythonError> {
        Self::ensure_with(cache_dir, image, &Interpreter::find().await?).await
    }

    /// The environment of `image` for `interpreter` under `cache_dir`, which is built if it is not
    /// there yet: by one builder at a time, whatever the number of processes that want it.
    pub async fn ensure_with(
        cache_dir: &Path,
        image: &Image,
        interpreter: &Interpreter,
    ) -> Result<Self, PythonError> {
        // Links and compiled files name it, and a working directory may change.
        let cache_dir = std::path::absolute(cache_dir).during("resolve", cache_dir)?;
        let environment = Self {
            root: cache_dir.join(format!(
                "{}-{}-{}",
                image.name(),
                image.digest().short(),
                interpreter.version()
            )),
            base_prefix: interpreter.base_prefix().to_owned(),
            version: interpreter.version(),
            digest: image.digest(),
        };
        let marker = Marker::of(&environment);
        if marker.is_in(&environment.root) {
            return Ok(environment);
        }
        fs::create_dir_all(&cache_dir).during("create", &cache_dir)?;
        let _only_builder = lock(environment.root.with_added_extension("lock")).await?;
        if !marker.is_in(&environment.root) {
            build::build(image, interpreter, &environment.root, &marker).await?;
        }
        Ok(environment)
    }

    /// The directory of the environment.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The interpreter of the environment.
    pub fn python(&self) -> PathBuf {
        self.root.join("bin/python")
    }

    /// The serve shim.
    pub fn shim(&self) -> PathBuf {
        self.root.join(SHIM)
    }

    /// Where the interpreter and the standard library live: `/usr` for the system's Python.
    pub fn base_prefix(&self) -> &Path {
        &self.base_prefix
    }

    /// The folders that the interpreter needs besides `/usr`, which every sandbox has.
    pub fn prefixes(&self) -> Vec<PathBuf> {
        let base = Some(&self.base_prefix).filter(|base| *base != Path::new("/usr"));
        base.cloned().into_iter().collect()
    }

    /// The version of the interpreter.
    pub fn version(&self) -> PythonVersion {
        self.version
    }

    /// The digest of the image that the environment was made from.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The command that installs what the code's `requirements.txt` asks for beyond the
    /// environment to `deps`. It does nothing without such a file.
    pub fn prepare_command(&self, app_dir: &Path, deps: &Path) -> Vec<OsString> {
        let mut command = self.shim_command(app_dir, deps);
        command.push("--prepare".into());
        command
    }

    /// The command that serves `application`, which is `module:variable`, by plain HTTP/1.1 on the
    /// UNIX socket `socket`.
    pub fn serve_command(
        &self,
        application: &str,
        socket: &Path,
        app_dir: &Path,
        deps: &Path,
    ) -> Vec<OsString> {
        let mut command = self.shim_command(app_dir, deps);
        command.extend(["--app".into(), application.into()]);
        command.extend(["--uds".into(), socket.into()]);
        // For the owner's own machine: in an enclave the log is the operator's.
        command.push("--show-source".into());
        command
    }

    fn shim_command(&self, app_dir: &Path, deps: &Path) -> Vec<OsString> {
        vec![
            self.python().into(),
            // Isolated: neither PYTHON* variables nor the current directory choose what is run.
            "-I".into(),
            // Unbuffered, so that the last words before a crash are in the logs.
            "-u".into(),
            // The code is read-only: do not try to write compiled files next to it.
            "-B".into(),
            self.shim().into(),
            "--app-dir".into(),
            app_dir.into(),
            "--deps".into(),
            deps.into(),
        ]
    }
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// No candidate can be used.
    #[error(
        "no Python 3.11 to 3.13 was found: install one, on Debian and Ubuntu with `apt install python3 python3-venv`. Tried:\n  {tried}"
    )]
    NotFound {
        /// One line for each candidate and what is wrong with it.
        tried: String,
    },
    /// It cannot be run, or is not Python.
    #[error("`{}` cannot be used: {problem}", command.display())]
    Unusable {
        /// What was run.
        command: PathBuf,
        /// What happened.
        problem: String,
    },
    /// The images have no packages for this version.
    #[error("`{}` is Python {version}, but 3.11, 3.12 or 3.13 is needed", command.display())]
    Unsupported {
        /// What was run.
        command: PathBuf,
        /// Its version.
        version: PythonVersion,
    },
    /// Debian and Ubuntu package the venv and ensurepip modules apart.
    #[error("`{}` (Python {version}) has no venv module: install it with `apt install python{}.{}-venv`", executable.display(), version.0[0], version.0[1])]
    NoVenv {
        /// The interpreter.
        executable: PathBuf,
        /// Its version.
        version: PythonVersion,
    },
    /// A program that takes part in the build failed.
    #[error("the environment of image `{image}` could not be built: {step} failed: {problem}")]
    Build {
        /// The image.
        image: String,
        /// The part of the build.
        step: &'static str,
        /// The end of what the program wrote, or why it could not be run.
        problem: String,
    },
    /// The file system refused.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// The last file of an environment: with it, the environment is whole.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    image: Digest,
    python: PythonVersion,
    base_prefix: PathBuf,
}

impl Marker {
    fn of(environment: &PythonEnvironment) -> Self {
        Self {
            image: environment.digest,
            python: environment.version,
            base_prefix: environment.base_prefix.clone(),
        }
    }

    fn is_in(&self, root: &Path) -> bool {
        fs::read(root.join(MARKER)).is_ok_and(|bytes| {
            serde_json::from_slice::<Self>(&bytes).is_ok_and(|found| found == *self)
        })
    }

    fn write_to(&self, root: &Path) -> Result<(), PythonError> {
        // After a power cut the marker must not be there without the files it vouches for.
        let directory = File::open(root).during("open", root)?;
        rustix::fs::syncfs(&directory)
            .map_err(io::Error::from)
            .during("flush", root)?;
        let path = root.join(MARKER);
        let text = serde_json::to_vec(self)
            .map_err(io::Error::other)
            .during("write", &path)?;
        fs::write(&path, text).during("write", &path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644)).during("open up", &path)
    }
}

/// Holds the lock until the file is dropped. The kernel drops it for a process that dies.
async fn lock(path: PathBuf) -> Result<File, PythonError> {
    let waiting_at = path.clone();
    tokio::task::spawn_blocking(move || {
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    })
    .await
    .unwrap_or_else(|error| Err(io::Error::other(error)))
    .during("lock", &waiting_at)
}

/// The end of what a program wrote: that is where it says why it stopped.
fn tail(output: &[u8]) -> String {
    let start = output.len().saturating_sub(MAX_TAIL);
    String::from_utf8_lossy(&output[start..]).trim().to_owned()
}

/// Says in an error what was being done to which file.
trait During<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, PythonError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: &'static str, path: &Path) -> Result<T, PythonError> {
        self.map_err(|source| PythonError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

const SHIM: &str = "mse_serve.py";
const MARKER: &str = "mse-environment.json";
const MAX_TAIL: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_package_with_another_hash_is_refused_and_leaves_no_environment() {
        let image = Image::for_test(
            "tampered",
            "click==8.1.8 --hash=sha256:\
             0000000000000000000000000000000000000000000000000000000000000000\n",
        );
        let cache = tempfile::tempdir().unwrap();
        let error = PythonEnvironment::ensure(cache.path(), &image)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("DO NOT MATCH THE HASHES"),
            "{error}"
        );
        let interpreter = Interpreter::find().await.unwrap();
        let root = format!(
            "tampered-{}-{}",
            image.digest().short(),
            interpreter.version()
        );
        assert!(!cache.path().join(root).exists());
    }

    /// A sandbox refuses a second `/usr`.
    #[test]
    fn the_systems_own_python_needs_no_further_folder() {
        let of = |base: &str| PythonEnvironment {
            root: "/cache/e".into(),
            base_prefix: base.into(),
            version: PythonVersion([3, 13, 1]),
            digest: Digest::of(b"image"),
        };
        assert!(of("/usr").prefixes().is_empty());
        assert_eq!(of("/opt/python").prefixes(), [Path::new("/opt/python")]);
    }

    #[test]
    fn a_missing_venv_module_names_the_package_to_install() {
        let error = PythonError::NoVenv {
            executable: "/usr/bin/python3.12".into(),
            version: PythonVersion([3, 12, 3]),
        };
        assert!(error.to_string().ends_with("`apt install python3.12-venv`"));
    }

    #[test]
    fn a_long_report_is_cut_to_its_end() {
        let long = format!("{}the reason\n", "x".repeat(10_000));
        let kept = tail(long.as_bytes());
        assert!(kept.len() <= MAX_TAIL && kept.ends_with("the reason"));
    }
}
