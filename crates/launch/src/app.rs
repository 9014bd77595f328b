//! `mse-launch app`: the enclave of an app that its owner provisions, in a pod.
//!
//! ```text
//! mse-server ─ HTTP: encrypted bundle ─▶ mse-launch app ─ launch socket ─▶ mse-enclave ◀─ TLS: owner, users
//!  │  /mse/app/workload.json (public)      │  digest checked
//!  └◀────────── the pod's output ──────────┘
//! ```
//!
//! Its curated runtime is in the image, which says in `/mse/runtime.json` where.

mod bundle;
mod environment;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use mse_api::LogStream;
use mse_runtime::images::{Catalogue, ImageError as RuntimeImageError, SERVE_SHIM};
use mse_runtime::process::guard::Guard;
use mse_runtime::process::{
    EnclaveEvent, LaunchError, LaunchSpec, ProcessRuntime, RunningEnclave, RuntimeError,
};
use mse_runtime::report::{Report, app_line};
use mse_workload::launch::{Phase, Python};
use mse_workload::{InvalidWorkload, Measured, Workload};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use self::bundle::{Bundle, BundleError};
use self::environment::AppEnvironment;
use crate::environment::EnvironmentError;
use crate::image::Image;
use crate::tee::{Evidence, TeeError};

/// What the first process calls itself with.
pub(crate) const APP: &str = "app";
/// How long an app may take to end; its pod has 15 seconds.
const GRACE: Duration = Duration::from_secs(8);
/// What is public about the app.
const WORKLOAD: &str = "/mse/app/workload.json";
const CERTIFICATE: &str = "/mse/app/certificate.pem";
/// Where the image has its Python.
const RUNTIME: &str = "/mse/runtime.json";
/// The folder for the bundle.
const BUNDLE: &str = "/mse/bundle";

/// Launches the enclave and stays with it to its end; gives the exit code.
pub(crate) fn run(
    image: &Image,
    variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<ExitCode, AppError> {
    let environment = AppEnvironment::read(variables)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AppError::Process)?
        .block_on(async {
            let mut terminated = signal(SignalKind::terminate()).map_err(AppError::Process)?;
            let enclave = tokio::select! {
                enclave = launch(image, &environment) => enclave?,
                _ = terminated.recv() => return Ok(ExitCode::SUCCESS),
            };
            follow(enclave, terminated).await
        })
}

async fn launch(image: &Image, environment: &AppEnvironment) -> Result<RunningEnclave, AppError> {
    let workload = Workload::from_json(&read(&image.at(WORKLOAD))?)?;
    let chain = image.at(CERTIFICATE);
    let certificate_chain = if chain.exists() {
        Some(String::from_utf8_lossy(&read(&chain)?).into_owned())
    } else {
        None
    };
    let python = python(image, &workload)?;
    let evidence = Evidence::find(environment.tee, &image.platform()).await?;
    let bundle = Bundle::fetch(&environment.bundle, &workload.bundle, &image.at(BUNDLE)).await?;
    let folder = image.run_folder();
    fs::create_dir_all(&folder).map_err(|source| AppError::Folder { folder, source })?;
    let runtime =
        ProcessRuntime::in_place(&image.run_folder(), &image.enclave(), evidence.quoting)?
            .with_guard(Guard::OwnProgram)
            .with_attester(evidence.attester);
    let id = workload.app_id;
    let enclave = runtime
        .launch(LaunchSpec {
            workload,
            bundle: bundle.path,
            certificate_chain,
            python,
            listen: Some(([0, 0, 0, 0], environment.port).into()),
            provisioning_timeout: environment.provisioning_timeout,
        })
        .await?;
    say(&format!(
        "launched {id} (TEE: {}, measurement {})",
        evidence.attester,
        enclave.measurement()
    ));
    Ok(enclave)
}

/// The curated runtime of the image. The enclave checks its lock and script against the workload.
fn python(image: &Image, workload: &Workload) -> Result<Python, AppError> {
    let path = image.at(RUNTIME);
    let runtime: RuntimeFile = serde_json::from_slice(&read(&path)?)
        .map_err(|source| AppError::RuntimeFile { path, source })?;
    let catalogued = Catalogue::builtin().resolve(&workload.image.name)?;
    if runtime.image != catalogued.name() {
        return Err(AppError::OtherRuntime {
            wanted: catalogued.name().to_owned(),
            found: runtime.image,
        });
    }
    Ok(Python {
        interpreter: runtime.interpreter,
        prefixes: runtime.prefixes,
        environment: runtime.environment,
        image: catalogued.name().to_owned(),
        lock: catalogued.lock().to_owned(),
        serve: SERVE_SHIM.to_owned(),
    })
}

/// `/mse/runtime.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuntimeFile {
    /// The name of the curated runtime.
    image: String,
    interpreter: PathBuf,
    /// Folders that it needs besides `/usr` and `/lib`.
    prefixes: Vec<PathBuf>,
    /// The virtual environment.
    environment: PathBuf,
}

/// Passes on what the enclave does until it ends. Kubernetes has one output for all lines.
async fn follow(
    mut enclave: RunningEnclave,
    mut terminated: tokio::signal::unix::Signal,
) -> Result<ExitCode, AppError> {
    let mut code = ExitCode::FAILURE;
    loop {
        let event = tokio::select! {
            event = enclave.next() => event,
            _ = terminated.recv() => { enclave.stop(GRACE); continue; }
        };
        match event {
            Some(EnclaveEvent::Log { stream, text }) => match stream {
                LogStream::App => say(&app_line(&text)),
                _ => say(&text),
            },
            Some(EnclaveEvent::Listening { port }) => report(&Report::Listening(port)),
            Some(EnclaveEvent::Confinement(all)) => report(&Report::Confinement(all)),
            Some(EnclaveEvent::Phase(phase)) => {
                if matches!(phase, Phase::Stopped { .. }) {
                    code = ExitCode::SUCCESS;
                }
                report(&Report::Phase(phase));
            }
            // Those of services, and of other runtimes.
            Some(
                EnclaveEvent::Health { .. }
                | EnclaveEvent::ServiceEnded(_)
                | EnclaveEvent::Waiting { .. },
            ) => {}
            Some(EnclaveEvent::Exited { how }) => {
                say(&format!("mse-enclave ended: {how}"));
                return Ok(code);
            }
            None => return Ok(code),
        }
    }
}

fn report(report: &Report) {
    say(&report.to_line());
}

/// A reader that went away is no reason to end.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn read(path: &Path) -> Result<Vec<u8>, AppError> {
    fs::read(path).map_err(|source| AppError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Why there is no app.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error(
        "`{path}` cannot be read: {source}; is this the image of a curated runtime, launched by mse-server?"
    )]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` is not valid: {source}; build the image with the same version as mse-launch")]
    RuntimeFile {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(transparent)]
    Runtime(#[from] RuntimeImageError),
    #[error(
        "this image holds the runtime `{found}`, and the app wants `{wanted}`; correct `[kubernetes.images]` of mse-server"
    )]
    OtherRuntime { wanted: String, found: String },
    #[error("`{WORKLOAD}`: {0}")]
    Workload(#[from] InvalidWorkload),
    #[error(transparent)]
    Tee(#[from] TeeError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(
        "the launcher's own folder `{folder}` cannot be written: {source}; where the root file system is read-only, mount a writable one there"
    )]
    Folder { folder: PathBuf, source: io::Error },
    #[error(transparent)]
    Enclave(#[from] RuntimeError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("the launcher itself cannot go on: {0}")]
    Process(#[source] io::Error),
}
