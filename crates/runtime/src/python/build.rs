//! Building an environment.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::{During, Interpreter, Marker, PythonError, SHIM, tail};
use crate::images::{Image, SERVE_SHIM};

/// Builds the environment beside `root` and moves it there when it is whole. The caller holds the
/// environment's lock.
pub(super) async fn build(
    image: &Image,
    interpreter: &Interpreter,
    root: &Path,
    marker: &Marker,
) -> Result<(), PythonError> {
    let site = root.with_added_extension("building");
    // Left by a builder that was killed, or made from another base prefix.
    remove_dir(&site)?;
    remove_dir(root)?;
    tracing::info!(image = image.name(), python = %interpreter.version(), "building the Python environment");

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
            Command::new(interpreter.executable())
                .args(["-I", "-m", "venv"])
                .arg(&installer),
        )
        .await?;
    build
        .run(
            "making a virtual environment",
            Command::new(interpreter.executable())
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

const STEP_TIMEOUT: Duration = Duration::from_mins(15);

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
}
