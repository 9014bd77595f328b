//! A service: a program whose arguments, environment and files come only from a CAS.
//!
//! ```text
//! launch ─▶ tree (measured digest) ─▶ cas (root, evidence, release) ─▶ configuration ─▶ sandbox
//!                                      ├────────── renewal, while the program runs ──────┤
//!                                      └────────── volumes, recorded at each commit ─────┘
//! ```
//!
//! Nothing is asked of the CAS before the tree, or the copy of the image's root file system, has the
//! measured digest, and nothing runs before the CAS has released. `docs/services.md` is the operator's page.

mod cas;
mod configuration;
mod health;
mod image;
mod renewal;
mod shield;
mod source;
mod tree;
mod volumes;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mse_workload::launch::{Phase, ServiceCheck, ServiceEnd, ServiceLaunch};
use mse_workload::{InvalidWorkload, Measured, ServiceWorkload};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::cas::{Cas, CasError, Lease, Standing};
use self::configuration::{ConfigurationError, Program};
use self::renewal::{Backoff, EndOfLease, Renewal};
use self::shield::Shielding;
use self::source::{Source, SourceError};
use self::volumes::{Keeper, Order as VolumeOrder, OrderError, Record, VolumeError};
use crate::lifecycle::{End, grace, launcher_gone, ordered_end};
use crate::output;
use crate::sandbox::{
    AppCommand, AppDirs, AppUid, CodeAccess, InvalidPath, InvalidPlan, LaunchPlan, PrivateDir,
    PrivateFilesWriter, ProcessLimits, ReleasedFiles, RootBase, SandboxError, SandboxExit,
    SandboxHandle, SandboxPath, SandboxPlan, Spawned, TreePlan,
};
use mse_shield::StartError;
use mse_tee::attester::{Attester, AttesterError, Machine, Wish};
use mse_tee::host::{HostLink, Order};

/// Where the program's tree lies in the sandbox.
const TREE: &str = "/app";
/// Where released files lie; the places where the program expects them are links.
const RELEASED: &str = "/run/mse";
/// An empty folder for the program to write to.
const HOME: &str = "/root";
/// Two generations of released files, each in whole pages.
const RELEASED_BYTES: u64 = 6 * mse_ratls::release::MAX_RELEASE as u64;
/// How long a program may take to stop when its release has ended.
const END_OF_LEASE_GRACE: Duration = Duration::from_secs(10);
/// How long the CAS is waited for to record the last changes to volumes, if nobody is in a hurry.
const LAST_COMMIT: Duration = Duration::from_secs(20);
/// And at least, if somebody is: one attempt.
const HASTY_COMMIT: Duration = Duration::from_secs(2);
/// How long the end of the program's output is waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What a sandbox that was killed counts as: 128 and SIGKILL.
const KILLED: u8 = 137;

/// Runs the service that the launcher asks for, to its end.
pub(crate) async fn run(
    host: &HostLink,
    launch: ServiceLaunch,
    orders: watch::Receiver<Order>,
    wish: Wish,
) -> ExitCode {
    let (end, phase) = match live(host, &launch, orders, wish).await {
        Ok(Ended::Ordered(end)) => {
            let reason = end.reason().to_owned();
            (None, Phase::Stopped { reason })
        }
        Ok(Ended::Program(exit)) => program_ended(exit),
        Err(error) => {
            let check = error.check();
            let reason = format!("check `{check}` failed: {error}");
            (
                Some(ServiceEnd::Refused { check }),
                Phase::Failed { reason },
            )
        }
    };
    if let Some(end) = end {
        host.service_ended(end);
    }
    host.phase(phase);
    ExitCode::from(end.map_or(0, ServiceEnd::exit_code))
}

fn program_ended(exit: SandboxExit) -> (Option<ServiceEnd>, Phase) {
    let code = match exit {
        SandboxExit::Command { cause, .. } => cause.shell_code(),
        SandboxExit::Killed => KILLED,
    };
    let phase = match code {
        0 => Phase::Stopped {
            reason: "the program ended with exit code 0".into(),
        },
        code => Phase::Failed {
            reason: format!("the program ended with exit code {code}"),
        },
    };
    (Some(ServiceEnd::Program { code }), phase)
}

/// How a service ends when no check fails.
enum Ended {
    Ordered(End),
    Program(SandboxExit),
}

async fn live(
    host: &HostLink,
    launch: &ServiceLaunch,
    mut orders: watch::Receiver<Order>,
    wish: Wish,
) -> Result<Ended, ServiceError> {
    let mut prepared = tokio::select! {
        prepared = Prepared::from_cas(host, launch, wish) => prepared?,
        end = ordered_end(&mut orders) => return Ok(Ended::Ordered(end)),
    };
    host.phase(Phase::Starting);
    let Spawned {
        handle,
        files,
        logs,
    } = prepared.spawn().await?;
    let printing = tokio::task::spawn_blocking(move || output::print(logs));
    let ended = prepared.attend(host, handle, files, orders).await;
    // No process of the sandbox is left, but what it wrote last may be on its way.
    let _ = timeout(LAST_WORDS, printing).await;
    ended
}

async fn stop(handle: &SandboxHandle, grace: Duration) {
    match handle.stop(grace).await {
        Ok(exit) => tracing::info!(%exit, "the program was stopped"),
        Err(error) => tracing::warn!(%error, "the program could not be stopped"),
    }
}

/// A service whose program was checked, and to which the CAS has released.
struct Prepared<'a> {
    launch: &'a ServiceLaunch,
    workload: ServiceWorkload,
    source: Source,
    cas: Arc<Cas>,
    attester: Arc<Attester>,
    lease: Lease,
    program: Program,
    volumes: Vec<VolumeOrder>,
}

impl<'a> Prepared<'a> {
    /// Everything before the sandbox: first the program, then the CAS, then what it released.
    async fn from_cas(
        host: &HostLink,
        launch: &'a ServiceLaunch,
        wish: Wish,
    ) -> Result<Self, ServiceError> {
        let workload = ServiceWorkload::from_json(launch.workload.as_bytes())?;
        let source = Source::check(launch, &workload).await?;
        let attester = Machine::at(Path::new("/"))
            .attester(wish, Some(host.clone()))
            .await
            .map_err(AttesterError::from)?;
        attester.check_workload(&workload).await?;
        tracing::info!(
            attester = attester.name(),
            session = workload.session,
            service = workload.service,
            "the program is the measured one; asking the CAS"
        );
        let cas = Cas::new(&launch.cas, &workload)?.with_access_token(launch.access_token.clone());
        host.phase(Phase::AwaitingProvisioning);
        let lease = first_release(&cas, &attester, launch).await?;
        let program = Program::of(&lease.configuration, &workload.base, launch)?;
        let volumes = VolumeOrder::list(&lease.configuration.volumes, &launch.volumes)?;
        let hidden = volumes
            .iter()
            .find(|volume| source.has_below(volume.place()));
        if let Some(volume) = hidden {
            return Err(ServiceError::VolumeOverTree(volume.place().clone()));
        }
        source.check_key(program.image_key.as_ref())?;
        tracing::info!(
            session_hash = lease.configuration.session_hash,
            "the CAS released the configuration"
        );
        Ok(Self {
            launch,
            workload,
            source,
            cas: Arc::new(cas),
            attester: Arc::new(attester),
            lease,
            program,
            volumes,
        })
    }

    /// Makes the sandbox, or the rest of it.
    async fn spawn(&mut self) -> Result<Spawned, ServiceError> {
        let plan = self.plan()?;
        Ok(self.source.spawn(&plan).await?)
    }

    /// Fills the sandbox, starts the program, and stays with it to its end.
    async fn attend(
        mut self,
        host: &HostLink,
        handle: SandboxHandle,
        files: PrivateFilesWriter,
        mut orders: watch::Receiver<Order>,
    ) -> Result<Ended, ServiceError> {
        let record = Record {
            cas: Arc::clone(&self.cas),
            attester: Arc::clone(&self.attester),
            standing: Arc::new(Standing::of(&self.lease)),
        };
        let standing = Arc::clone(&record.standing);
        let (released, keeper, shielding) = tokio::select! {
            filled = self.fill(&handle, files, record) => filled?,
            end = ordered_end(&mut orders) => return Ok(Ended::Ordered(end)),
        };
        // No order cuts this short: the program may run already, and is then ended in order.
        host.confinement(output::confinement(handle.report().await?));
        handle.serving().await?;
        let mut keeping = keeper.start(released.pauses());
        let check = self.program.health.take();
        if check.is_some() {
            host.health(false);
        }
        host.phase(Phase::Running);
        let way = shielding.way();
        let tell = |is_well| {
            if is_well {
                shielding.open()?;
            }
            host.health(is_well);
            Ok::<_, ServiceError>(())
        };
        let watching = async {
            match &check {
                Some(check) => check.watch(&way, tell).await,
                None => std::future::pending().await,
            }
        };
        let renewal = Renewal {
            cas: &self.cas,
            attester: &self.attester,
            standing: &standing,
            host: self.launch,
            base: &self.workload.base,
            program: self.program,
            released,
            shielding: &shielding,
        };
        let mut patience = LAST_COMMIT;
        let ended = tokio::select! {
            exit = handle.wait() => exit.map(Ended::Program).map_err(ServiceError::from),
            end = ordered_end(&mut orders) => {
                shielding.close().await;
                let mut grace = grace(*orders.borrow());
                if keeping.is_needed() {
                    // The other half is for the last commit.
                    grace /= 2;
                    patience = grace.clamp(HASTY_COMMIT, LAST_COMMIT);
                }
                tokio::select! {
                    () = stop(&handle, grace) => {}
                    () = launcher_gone(&mut orders) => stop(&handle, Duration::ZERO).await,
                }
                Ok(Ended::Ordered(end))
            }
            end = renewal.keep_up(self.lease) => {
                stop(&handle, END_OF_LEASE_GRACE).await;
                Err(end.into())
            }
            Err(error) = watching => {
                stop(&handle, END_OF_LEASE_GRACE).await;
                Err(error)
            }
            () = keeping.failed() => {
                stop(&handle, END_OF_LEASE_GRACE).await;
                Ok(Ended::Ordered(End::Asked))
            }
        };
        // No process of the program is left.
        let (kept, ()) = tokio::join!(keeping.finish(patience), shielding.finish());
        match (ended, kept) {
            (Ok(_), Err(error)) => Err(error.into()),
            (ended, _) => ended,
        }
    }

    /// Returns when everything that the program needs is there: it starts by itself.
    async fn fill(
        &mut self,
        handle: &SandboxHandle,
        mut files: PrivateFilesWriter,
        record: Record,
    ) -> Result<(ReleasedFiles, Keeper, Shielding), ServiceError> {
        let volumes = std::mem::take(&mut self.volumes);
        let directories = if volumes.is_empty() {
            Arc::default()
        } else {
            handle.volumes().await?
        };
        let keeper = Keeper::fill(volumes, directories, self.memory(), record).await?;
        let image_key = self.program.image_key.take();
        self.source.fill(&mut files, image_key).await?;
        for file in self.program.files.iter() {
            files.release(file.place, file.mode, file.content).await?;
        }
        let shielding = Shielding::start(&self.program, handle).await?;
        let released = files.finish().await?;
        Ok((released, keeper, shielding))
    }

    /// In bytes.
    fn memory(&self) -> u64 {
        u64::from(self.workload.resources.memory_mib) << 20
    }

    fn plan(&self) -> Result<SandboxPlan, ServiceError> {
        let program = &self.program;
        let memory = self.memory();
        let private = |target: &str, max_bytes| -> Result<PrivateDir, ServiceError> {
            Ok(PrivateDir {
                target: target.try_into()?,
                max_bytes,
            })
        };
        let (base, read_only) = match &self.source {
            Source::Tree(_) => {
                let own = AppDirs {
                    code: private(TREE, memory)?,
                    code_access: CodeAccess::ReadOnly,
                    home: private(HOME, memory)?,
                };
                (RootBase::Machine(own), Vec::new())
            }
            Source::Image(image) => {
                let unmeasured = image.unmeasured().map_err(SourceError::from)?;
                (RootBase::Image, unmeasured)
            }
        };
        let plan = SandboxPlan {
            tree: TreePlan {
                app_uid: app_uid(self.launch)?,
                base,
                secrets: private(RELEASED, RELEASED_BYTES)?,
                tmp_bytes: memory / 4,
                shm_bytes: memory / 4,
                read_only,
                socket_dir: None,
                released: program.files.places().cloned().collect(),
                volumes: self
                    .volumes
                    .iter()
                    .map(|volume| PrivateDir {
                        target: volume.place().clone(),
                        max_bytes: memory,
                    })
                    .collect(),
                network: shield::network(program),
            },
            launch: LaunchPlan {
                prepare: Vec::new(),
                serve: AppCommand {
                    program: program.name.clone(),
                    args: program
                        .arguments
                        .iter()
                        .map(|one| one.as_str().to_owned())
                        .collect(),
                    env: program
                        .environment
                        .iter()
                        .map(|(name, value)| (name.clone(), value.as_str().to_owned()))
                        .collect(),
                    cwd: program.directory.clone(),
                },
                limits: ProcessLimits {
                    open_files: 16 * 1024,
                    processes: 1024,
                },
            },
        };
        plan.validate()?;
        Ok(plan)
    }
}

fn app_uid(launch: &ServiceLaunch) -> Result<AppUid, InvalidPlan> {
    launch.app_uid.map_or(Ok(AppUid::nth(0)), TryInto::try_into)
}

/// Asks until the CAS answers, at most as long as the launcher wants to wait.
async fn first_release(
    cas: &Cas,
    attester: &Attester,
    launch: &ServiceLaunch,
) -> Result<Lease, ServiceError> {
    let patience = Duration::from_secs(launch.release_seconds);
    let deadline = Instant::now() + patience.min(LONGEST_PATIENCE);
    let mut backoff = Backoff::new();
    let mut last = None;
    loop {
        let asked = cas.release(attester, launch.one_time_password.as_deref());
        match timeout_at(deadline, asked).await {
            Ok(Ok(lease)) => return Ok(lease),
            Ok(Err(error)) if !error.is_transient() => return Err(error.into()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "no release yet; asking again");
                last = Some(error);
            }
            Err(_) => {}
        }
        let pause = backoff.next();
        if Instant::now() + pause >= deadline {
            return Err(last.map_or(ServiceError::NoAnswer(launch.release_seconds), Into::into));
        }
        sleep(pause).await;
    }
}

/// Longer than a day nobody waits; a launcher's number must not overflow a clock.
const LONGEST_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a service does not run, or runs no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    #[error(transparent)]
    Workload(#[from] InvalidWorkload),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("no evidence: {0}")]
    Attester(#[from] AttesterError),
    #[error(transparent)]
    Cas(#[from] CasError),
    #[error("the CAS did not answer within {0} seconds")]
    NoAnswer(u64),
    #[error("the released configuration: {0}")]
    Configuration(#[from] ConfigurationError),
    #[error("the released configuration: {0}")]
    Plan(#[from] InvalidPlan),
    #[error("the released configuration: {0}")]
    Path(#[from] InvalidPath),
    #[error("the released configuration: {0}")]
    Volumes(#[from] OrderError),
    #[error(
        "the released configuration: a volume cannot be mounted at `{0}`, where the program's tree has files; choose another place"
    )]
    VolumeOverTree(SandboxPath),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("the network shield: {0}")]
    Shield(#[from] StartError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    EndOfLease(#[from] EndOfLease),
}

impl ServiceError {
    fn check(&self) -> ServiceCheck {
        match self {
            Self::Workload(_) => ServiceCheck::Launch,
            Self::Attester(_) | Self::Sandbox(_) | Self::Shield(StartError::Port { .. }) => {
                ServiceCheck::Machine
            }
            Self::Source(error) => error.check(),
            Self::Cas(error) => error.check(),
            Self::NoAnswer(_) => ServiceCheck::CasReachable,
            Self::Configuration(_)
            | Self::Plan(_)
            | Self::Path(_)
            | Self::Volumes(_)
            | Self::Shield(_)
            | Self::VolumeOverTree(_) => ServiceCheck::Configuration,
            Self::Volume(error) => error.check(),
            Self::EndOfLease(EndOfLease::Refused(_)) => ServiceCheck::Revocation,
            Self::EndOfLease(EndOfLease::Lapsed { .. }) => ServiceCheck::Renewal,
        }
    }
}
