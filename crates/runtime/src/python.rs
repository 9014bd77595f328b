//! The Python environment of a curated runtime: made once from the image's lock file, kept under
//! a cache directory, and from then on only read.
//!
//! An environment is a virtual environment that holds exactly the locked packages and the serve
//! shim. It may be mounted read-only; mounted at its own path, so that tracebacks find their
//! source. Its interpreter is a link into [`PythonEnvironment::base_prefix`], which therefore has
//! to be visible as well.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::images::{Image, SERVE_SHIM};

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
                interpreter.version
            )),
            base_prefix: interpreter.base_prefix.clone(),
            version: interpreter.version,
            digest: image.digest(),
        };
        let marker = Marker::of(&environment);
        if marker.is_in(&environment.root) {
            return Ok(environment);
        }
        fs::create_dir_all(&cache_dir).during("create", &cache_dir)?;
        let _only_builder = lock(environment.root.with_added_extension("lock")).await?;
        if !marker.is_in(&environment.root) {
            build(image, interpreter, &environment.root, &marker).await?;
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

/// Builds the environment beside `root` and moves it there when it is whole. The caller holds the
/// environment's lock.
async fn build(
    image: &Image,
    interpreter: &Interpreter,
    root: &Path,
    marker: &Marker,
) -> Result<(), PythonError> {
    let site = root.with_added_extension("building");
    // Left by a builder that was killed, or made from another base prefix.
    remove_dir(&site)?;
    remove_dir(root)?;
    tracing::info!(image = image.name(), python = %interpreter.version, "building the Python environment");

    let environment = site.join("environment");
    fs::create_dir(&site).during("create", &site)?;
    let lock_file = site.join("requirements.lock");
    fs::write(&lock_file, image.lock()).during("write", &lock_file)?;
    let build = Build {
        image,
        home: site.join("home"),
    };
    // pip comes from a virtual environment of its own, so that the one we keep has what the lock
    // names and nothing besides.
    let installer = site.join("installer");
    build
        .run(
            "making a virtual environment",
            Command::new(&interpreter.executable)
                .args(["-I", "-m", "venv"])
                .arg(&installer),
        )
        .await?;
    build
        .run(
            "making a virtual environment",
            Command::new(&interpreter.executable)
                .args(["-I", "-m", "venv", "--without-pip", "--symlinks"])
                .arg(&environment),
        )
        .await?;
    build
        .run(
            "installing the locked packages",
            Command::new(installer.join("bin/python"))
                .args(["-I", "-m", "pip", "--python"])
                .arg(environment.join("bin/python"))
                .args(["install", "--require-hashes", "--no-deps", "--no-compile"])
                .args(["--only-binary", ":all:", "--no-input", "--quiet"])
                .args(["--disable-pip-version-check", "--no-warn-script-location"])
                .arg("--requirement")
                .arg(&lock_file),
        )
        .await?;
    let shim = environment.join(SHIM);
    fs::write(&shim, SERVE_SHIM).during("write", &shim)?;
    remove_scripts(&environment.join("bin"))?;
    // Once read-only, nothing is compiled any more, and times may change on the way: hence files
    // that are never compared with their sources. They name the path they will have.
    build
        .run(
            "compiling the packages",
            Command::new(environment.join("bin/python"))
                .args(["-I", "-m", "compileall", "-q", "-j", "0"])
                .args(["--invalidation-mode", "unchecked-hash", "-s"])
                .arg(&environment)
                .arg("-p")
                .arg(root)
                .arg(environment.join("lib")),
        )
        .await?;
    make_readable(&environment)?;
    marker.write_to(&environment)?;
    fs::rename(&environment, root).during("create", root)?;
    remove_dir(&site)
}

/// Runs the programs of one build in an environment that holds nothing of the host's but what
/// finding and fetching packages needs.
struct Build<'a> {
    image: &'a Image,
    /// An empty home.
    home: PathBuf,
}

impl Build<'_> {
    async fn run(&self, step: &'static str, command: &mut Command) -> Result<(), PythonError> {
        let failed = |problem: String| PythonError::Build {
            image: self.image.name().to_owned(),
            step,
            problem,
        };
        command
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| {
                name.to_str()
                    .is_some_and(|name| INHERITED.contains(&name.to_ascii_uppercase().as_str()))
            }))
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(STEP_TIMEOUT, command.output())
            .await
            .map_err(|_| failed(format!("no end after {} s", STEP_TIMEOUT.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        // venv and compileall report on stdout.
        let said = if output.stderr.trim_ascii().is_empty() {
            &output.stdout
        } else {
            &output.stderr
        };
        Err(failed(format!("{}: {}", output.status, tail(said))))
    }
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

/// What [`PROBE`] prints.
#[derive(Deserialize)]
struct Probe {
    executable: PathBuf,
    base_prefix: PathBuf,
    version: [u16; 3],
    venv: bool,
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

/// Removes the scripts that `venv` and pip wrote: they begin with the path of the building site.
fn remove_scripts(bin: &Path) -> Result<(), PythonError> {
    for entry in fs::read_dir(bin).during("list", bin)? {
        let entry = entry.during("list", bin)?;
        // The links are the interpreter under its names.
        if !entry.file_type().during("inspect", bin)?.is_symlink() {
            fs::remove_file(entry.path()).during("remove", &entry.path())?;
        }
    }
    Ok(())
}

/// Lets every user read: an enclave runs as one of its own, and the umask here may be narrow.
fn make_readable(path: &Path) -> Result<(), PythonError> {
    let metadata = fs::symlink_metadata(path).during("inspect", path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    let search = if metadata.is_dir() { 0o111 } else { 0 };
    fs::set_permissions(path, Permissions::from_mode(mode | 0o444 | search))
        .during("open up", path)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).during("list", path)? {
            make_readable(&entry.during("list", path)?.path())?;
        }
    }
    Ok(())
}

fn remove_dir(path: &Path) -> Result<(), PythonError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).during("remove", path),
        _ => Ok(()),
    }
}

/// The end of what a program wrote: that is where it says why it stopped.
fn tail(output: &[u8]) -> String {
    let start = output.len().saturating_sub(MAX_TAIL);
    String::from_utf8_lossy(&output[start..]).trim().to_owned()
}

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
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
const STEP_TIMEOUT: Duration = Duration::from_mins(15);

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

/// Variables that say where packages come from and whom to trust for it. What pip accepts is
/// fixed by the hashes all the same. Options that say where packages go are not among them.
const INHERITED: &[&str] = &[
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "PIP_CACHE_DIR",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CONFIG_FILE",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_RETRIES",
    "PIP_TIMEOUT",
    "PIP_TRUSTED_HOST",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

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

    #[test]
    fn a_missing_venv_module_names_the_package_to_install() {
        let error = PythonError::NoVenv {
            executable: "/usr/bin/python3.12".into(),
            version: PythonVersion([3, 12, 3]),
        };
        assert!(error.to_string().ends_with("`apt install python3.12-venv`"));
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

    #[test]
    fn readable_means_every_file_and_directory_and_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let file = inner.join("file");
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("/nowhere", inner.join("link")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o700)).unwrap();
        make_readable(dir.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o644);
        assert_eq!(mode(&inner), 0o755);
    }

    #[test]
    fn a_long_report_is_cut_to_its_end() {
        let long = format!("{}the reason\n", "x".repeat(10_000));
        let kept = tail(long.as_bytes());
        assert!(kept.len() <= MAX_TAIL && kept.ends_with("the reason"));
    }
}
