//! The service, from its start to its end.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use mse_api::LogStream;
use mse_runtime::process::guard::Guard;
use mse_runtime::process::{
    EnclaveEvent, LaunchError, ProcessRuntime, RunningEnclave, RuntimeError, ServiceSpec,
};
use mse_runtime::report::Report;
use mse_workload::launch::{Phase, ServiceEnd};
use mse_workload::{InvalidWorkload, Measured, SERVICE_FORMAT, ServiceWorkload};
use tokio::signal::unix::{SignalKind, signal};

use crate::environment::Environment;
use crate::health::Health;
use crate::image::{Image, ImageError};
use crate::tee::{Evidence, TeeError};

/// How long a program may take to end. Engines commonly kill a container 10 seconds after SIGTERM.
const GRACE: Duration = Duration::from_secs(8);
/// How long the enclave tries to get its release: an orchestrator starts it again after that.
const RELEASE: Duration = Duration::from_secs(120);

/// Launches the service and stays with it to its end; gives its exit code.
pub(crate) fn service(image: &Image, environment: Environment) -> Result<ExitCode, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(RunError::Process)?
        .block_on(async {
            let enclave = launch(image, environment).await?;
            Follower::new(image, enclave)?.follow().await
        })
}

async fn launch(image: &Image, environment: Environment) -> Result<RunningEnclave, RunError> {
    let facts = image.facts()?;
    let workload = ServiceWorkload {
        format: SERVICE_FORMAT,
        tree: facts.root,
        base: facts.base(),
        cas_key: environment.cas_key,
        session: environment.session,
        service: environment.service,
        resources: environment.resources,
    };
    workload.check()?;
    let evidence = Evidence::find(environment.tee, &image.platform()).await?;
    let folder = image.run_folder();
    std::fs::create_dir_all(&folder).map_err(|source| RunError::Folder { folder, source })?;
    let runtime =
        ProcessRuntime::in_place(&image.run_folder(), &image.enclave(), evidence.quoting)?
            .with_guard(Guard::OwnProgram)
            .with_attester(evidence.attester);
    let spec = ServiceSpec {
        workload,
        tree: image.root().to_owned(),
        cas: environment.cas,
        arguments: environment.arguments,
        environment: environment.variables,
        one_time_password: None,
        access_token: None,
        volumes: image.volumes()?,
        // The container's network has names.
        hosts: std::collections::BTreeMap::new(),
        release_timeout: RELEASE,
    };
    let enclave = runtime.launch_service(spec).await?;
    eprintln!(
        "launched {} (TEE: {}, measurement {})",
        facts.name,
        evidence.attester,
        enclave.measurement()
    );
    Ok(enclave)
}

/// Passes on what an enclave does until it ends.
struct Follower {
    enclave: RunningEnclave,
    health: Health,
    end: Option<ServiceEnd>,
    was_stopped: bool,
}

impl Follower {
    fn new(image: &Image, enclave: RunningEnclave) -> Result<Self, RunError> {
        let folder = image.run_folder();
        Ok(Self {
            enclave,
            health: Health::begin(image).map_err(|source| RunError::Folder { folder, source })?,
            end: None,
            was_stopped: false,
        })
    }

    async fn follow(mut self) -> Result<ExitCode, RunError> {
        let mut terminated = signal(SignalKind::terminate()).map_err(RunError::Process)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(RunError::Process)?;
        loop {
            let event = tokio::select! {
                event = self.enclave.next() => event,
                _ = terminated.recv() => { self.enclave.stop(GRACE); continue; }
                _ = interrupted.recv() => { self.enclave.stop(GRACE); continue; }
            };
            match event {
                Some(EnclaveEvent::Log { stream, text }) => pass(stream, &text),
                Some(EnclaveEvent::Phase(phase)) => self.phase(&phase),
                Some(EnclaveEvent::Health { well }) => {
                    self.health.tell_check(well);
                    eprintln!("{}", Report::Health { well }.to_line());
                }
                Some(EnclaveEvent::ServiceEnded(end)) => {
                    eprintln!("{}", Report::Ended(end).to_line());
                    self.end = Some(end);
                }
                Some(
                    EnclaveEvent::Confinement(_)
                    | EnclaveEvent::Listening { .. }
                    | EnclaveEvent::Waiting { .. },
                ) => {}
                Some(EnclaveEvent::Exited { how }) => return Ok(self.ended(&how)),
                None => return Ok(self.ended("no word of how")),
            }
        }
    }

    fn phase(&mut self, phase: &Phase) {
        self.health.tell(phase);
        eprintln!("{}", Report::Phase(phase.clone()).to_line());
        match phase {
            Phase::Failed { reason } => eprintln!("the service ended: {reason}"),
            Phase::Stopped { reason } => {
                self.was_stopped = true;
                eprintln!("the service ended: {reason}");
            }
            Phase::AwaitingProvisioning | Phase::Starting | Phase::Running => {}
        }
    }

    fn ended(&self, how: &str) -> ExitCode {
        match self.end {
            Some(end) => ExitCode::from(end.exit_code()),
            None if self.was_stopped => ExitCode::SUCCESS,
            None => {
                eprintln!("error: mse-enclave ended without a word: {how}");
                ExitCode::FAILURE
            }
        }
    }
}

/// What the program writes is the container's output, what the enclave writes its error output. A
/// reader that went away is no reason to end.
fn pass(stream: LogStream, text: &str) {
    let _ = match stream {
        LogStream::App => writeln!(io::stdout(), "{text}"),
        _ => writeln!(io::stderr(), "{text}"),
    };
}

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the environment: {0}")]
    Workload(#[from] InvalidWorkload),
    #[error(transparent)]
    Tee(#[from] TeeError),
    #[error(
        "the launcher's own folder `{folder}` cannot be written: {source}; where the root file system is read-only, mount a writable one there"
    )]
    Folder { folder: PathBuf, source: io::Error },
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("the launcher itself cannot go on: {0}")]
    Process(#[source] io::Error),
}
