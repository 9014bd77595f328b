//! The tests of a project: a virtual environment with what they require, and their command.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mse_crypto::digest::Hasher;
use mse_runtime::python::Interpreter;
use tokio::process::Command;

use crate::conf_dir::cache_dir;
use crate::context::Tests;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::words;

/// Written last: an environment without it was not finished.
const MARKER: &str = ".mse-complete";

/// Runs `tests` with `environment` added to the user's own. Their output is the user's to see;
/// with `--json` it goes to standard error, all of it.
pub(crate) async fn run(
    ui: &Ui,
    tests: &Tests,
    environment: &[(&str, String)],
) -> Result<Verdict, Failure> {
    let words = words::split(&tests.command).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`tests_cmd` is `{}`, which {error}", tests.command),
        )
        .with_hint("it is split into words as a shell does, but no shell runs it")
    })?;
    let Some((program, arguments)) = words.split_first() else {
        return Ok(Verdict::NoTests);
    };
    if !tests.folder.is_dir() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("there is no folder `{}` with tests", tests.folder.display()),
        )
        .with_hint("correct `cloud.tests` in `mse.toml`"));
    }
    let bin = environment_for(ui, tests).await?;
    let mut command = Command::new(find(program, &bin));
    command
        .args(arguments)
        .current_dir(&tests.folder)
        .env("PATH", path_with(&bin))
        .env("VIRTUAL_ENV", bin.parent().unwrap_or(&bin))
        .env_remove("PYTHONHOME")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if ui.is_json() {
        command.stdout(std::io::stderr());
    }
    let status = command.status().await.map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("the tests' program `{program}` cannot be started: {error}"),
        )
        .with_hint("name in `tests_requirements` the package that has it")
    })?;
    if status.success() {
        return Ok(Verdict::Passed);
    }
    Err(Failure::new(
        Exit::TestsFailed,
        format!("the tests failed: `{}` ended with {status}", tests.command),
    ))
}

/// How tests came out that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// `tests_cmd` is empty.
    NoTests,
}

/// The `bin` folder of a virtual environment with what `tests` require: made once for the same
/// requirements and interpreter.
async fn environment_for(ui: &Ui, tests: &Tests) -> Result<PathBuf, Failure> {
    let interpreter = Interpreter::find()
        .await
        .map_err(|error| Failure::other(error.to_string()))?;
    let mut hasher = Hasher::with_domain("mse-tests-environment-v1");
    hasher.update_field(interpreter.version().to_string().as_bytes());
    hasher.update_field(interpreter.executable().as_os_str().as_encoded_bytes());
    for requirement in &tests.requirements {
        hasher.update_field(requirement.as_bytes());
    }
    let root = cache_dir()?.join("tests").join(hasher.finish().short());
    let bin = root.join("bin");
    if root.join(MARKER).is_file() {
        return Ok(bin);
    }
    let step = ui.step("Installing what the tests require");
    let lock = root.with_extension("lock");
    let _only_builder = wait_for_lock(lock).await?;
    if !root.join(MARKER).is_file() {
        build(&interpreter, &root, &tests.requirements).await?;
    }
    step.done("What the tests require is installed");
    Ok(bin)
}

/// Makes the environment at `root`. It names its own path, so it is made in its place.
async fn build(
    interpreter: &Interpreter,
    root: &Path,
    requirements: &[String],
) -> Result<(), Failure> {
    let io = |error: std::io::Error| Failure::file("prepare", root, &error);
    if root.exists() {
        std::fs::remove_dir_all(root).map_err(io)?;
    }
    let mut venv: Vec<OsString> = vec!["-m".into(), "venv".into(), root.into()];
    if requirements.is_empty() {
        venv.push("--without-pip".into());
    }
    run_quietly(interpreter.executable(), &venv).await?;
    if !requirements.is_empty() {
        let mut install: Vec<OsString> = ["-m", "pip", "install", "--quiet", "--no-input"]
            .map(OsString::from)
            .into();
        install.extend(["--disable-pip-version-check".into(), "--".into()]);
        install.extend(requirements.iter().map(OsString::from));
        run_quietly(&root.join("bin/python"), &install).await?;
    }
    std::fs::write(root.join(MARKER), "").map_err(io)
}

/// One builder at a time, whatever the number of processes.
async fn wait_for_lock(path: PathBuf) -> Result<File, Failure> {
    let locking = tokio::task::spawn_blocking(move || {
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| File::create(&path))
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| Failure::file("lock", &path, &error))
    });
    locking
        .await
        .map_err(|error| Failure::other(format!("waiting for a lock broke off: {error}")))?
}

async fn run_quietly(program: &Path, arguments: &[OsString]) -> Result<(), Failure> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| Failure::file("run", program, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(if output.stderr.is_empty() {
        &output.stdout
    } else {
        &output.stderr
    })
    .trim()
    .to_owned();
    Err(Failure::other(format!(
        "what the tests require cannot be installed: {said}"
    ))
    .with_hint("correct `tests_requirements` in `mse.toml`"))
}

/// The environment's own program of this name, else whatever the PATH has.
fn find(program: &str, bin: &Path) -> PathBuf {
    let own = bin.join(program);
    if !program.contains('/') && own.is_file() {
        own
    } else {
        PathBuf::from(program)
    }
}

fn path_with(bin: &Path) -> OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(bin.to_owned()).chain(std::env::split_paths(&rest));
    std::env::join_paths(all).unwrap_or_else(|_| bin.into())
}
