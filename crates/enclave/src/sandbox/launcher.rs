//! The side of `mse-enclave`: starts a sandbox, follows it, stops it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process as tokio_process;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::STAGE1;
use super::files::PrivateFilesWriter;
use super::logs::{self, LogLine, LogStream};
use super::network::InsideNetwork;
use super::plan::{InvalidPath, InvalidPlan, PrivatePath, SandboxPlan};
use super::released::Notice;
use super::report::{SandboxExit, SandboxReport};
use super::root::CopiedRoot;
use super::volumes::Up;
use super::wire::{self, Event, FrameReader, Kind, Launch, WireError};

/// Lines of the app's output that wait for their reader before the app does.
const LOG_BACKLOG: usize = 256;
/// How long events of a sandbox that ended are waited for.
const DRAIN: Duration = Duration::from_secs(2);

/// Starts sandboxes.
pub struct Sandbox {
    program: PathBuf,
}

impl Sandbox {
    /// Sandboxes whose stages are this program, which calls
    /// [`super::dispatch`] first thing in its `main`.
    pub fn new() -> Self {
        Self::with_program("/proc/self/exe".into())
    }

    /// Sandboxes whose stages are `program`: for tests.
    pub fn with_program(program: PathBuf) -> Self {
        Self { program }
    }

    /// Starts a sandbox, which then waits for its private files.
    ///
    /// Call it within a tokio runtime.
    pub async fn spawn(&self, plan: &SandboxPlan) -> Result<Spawned, SandboxError> {
        plan.validate()?;
        self.begin().await?.plan(plan).await
    }

    /// Starts stage 1, which then waits for its orders.
    pub(super) async fn begin(&self) -> Result<Begun, SandboxError> {
        let (ours, theirs) = UnixStream::pair().map_err(SandboxError::Spawn)?;
        let stage1 = self.start_stage1(theirs.into()).await?;

        let pidfd = Arc::new(stage1.pidfd);
        // Made before anything can fail, so that a failure ends the process.
        let kill_on_drop = KillOnDrop(Arc::clone(&pidfd));
        ours.set_nonblocking(true).map_err(SandboxError::Spawn)?;
        let (events, channel) = tokio::net::UnixStream::from_std(ours)
            .map_err(SandboxError::Spawn)?
            .into_split();
        let (state, progress) = watch::channel(Status::default());
        let progress = Progress(progress);
        tokio::spawn(follow(events, stage1.ended, state));

        let (lines, logs) = mpsc::channel(LOG_BACKLOG);
        let stdout =
            tokio_process::ChildStdout::from_std(stage1.stdout).map_err(SandboxError::Spawn)?;
        let stderr =
            tokio_process::ChildStderr::from_std(stage1.stderr).map_err(SandboxError::Spawn)?;
        tokio::spawn(logs::forward(stdout, LogStream::Stdout, lines.clone()));
        tokio::spawn(logs::forward(stderr, LogStream::Stderr, lines));
        Ok(Begun {
            pid: stage1.pid,
            pidfd,
            channel,
            progress,
            logs,
            kill_on_drop,
        })
    }

    /// The kernel ties a child to the *thread* that started it. A thread of its
    /// own, which waits for the child, lives exactly as long as it should.
    async fn start_stage1(&self, channel: OwnedFd) -> Result<Stage1, SandboxError> {
        let mut command = Command::new(&self.program);
        command
            .arg0("mse-sandbox")
            .arg(STAGE1)
            .arg(std::process::id().to_string())
            .env_clear()
            .stdin(Stdio::from(channel))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (started, start) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("sandbox".into())
            .spawn(move || {
                let child = command.spawn();
                // Our copy of the sandbox's end of the channel.
                drop(command);
                let mut child = match child {
                    Ok(child) => child,
                    Err(error) => return drop(started.send(Err(error))),
                };
                let parts = Pid::from_raw(child.id().cast_signed())
                    .ok_or(std::io::ErrorKind::NotFound.into())
                    .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
                    .and_then(|pidfd| match (child.stdout.take(), child.stderr.take()) {
                        (Some(stdout), Some(stderr)) => Ok((pidfd, stdout, stderr)),
                        _ => Err(std::io::ErrorKind::BrokenPipe.into()),
                    })
                    .map(|(pidfd, stdout, stderr)| Stage1 {
                        pid: child.id(),
                        pidfd,
                        stdout,
                        stderr,
                        ended,
                    });
                if parts.is_err() {
                    // Without a pidfd it could not be stopped later.
                    let _ = child.kill();
                }
                let _ = started.send(parts);
                let _ = child.wait();
                let _ = ended_sender.send(());
            })
            .map_err(SandboxError::Spawn)?;
        start
            .await
            .map_err(|_| SandboxError::Spawn(std::io::ErrorKind::BrokenPipe.into()))?
            .map_err(SandboxError::Spawn)
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

/// A stage 1 that waits for its orders. Dropping it ends it.
pub(super) struct Begun {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    channel: OwnedWriteHalf,
    pub(super) progress: Progress,
    logs: mpsc::Receiver<LogLine>,
    kill_on_drop: KillOnDrop,
}

impl Begun {
    /// Sends an order.
    pub(super) async fn send(
        &mut self,
        kind: Kind,
        order: &impl Serialize,
    ) -> Result<(), SandboxError> {
        let order = wire::encode(order).map_err(|error| SandboxError::Plan(error.to_string()))?;
        match wire::send_frame(&mut self.channel, kind, &order).await {
            Ok(()) => Ok(()),
            Err(WireError::Closed) => Err(self.progress.why_it_ended().await),
            Err(error) => Err(SandboxError::Channel(error.to_string())),
        }
    }

    /// Sends a plan that was validated; files are the next.
    pub(super) async fn plan(self, plan: &SandboxPlan) -> Result<Spawned, SandboxError> {
        let launch = Launch {
            plan: plan.launch.clone(),
            search: plan.tree.search(),
            writable: plan.tree.writable(),
            sockets: plan.tree.sockets(),
            released: plan
                .tree
                .has_released()
                .then(|| plan.tree.secrets.target.as_path().to_owned()),
        };
        let progress = self.progress;
        let files =
            PrivateFilesWriter::begin(self.channel, &plan.tree, &launch, progress.clone()).await?;
        Ok(Spawned {
            handle: SandboxHandle {
                pid: self.pid,
                pidfd: self.pidfd,
                progress,
                _kill_on_drop: self.kill_on_drop,
            },
            files,
            logs: self.logs,
        })
    }
}

/// A started sandbox.
pub struct Spawned {
    /// Follows and stops it. Dropping it kills the sandbox.
    pub handle: SandboxHandle,
    /// Takes the private files.
    pub files: PrivateFilesWriter,
    /// What the app writes to its outputs. Read it, or drop it: after 256
    /// unread lines the app waits. It ends when the sandbox does.
    pub logs: mpsc::Receiver<LogLine>,
}

/// A running sandbox. Dropping it kills every process in it.
pub struct SandboxHandle {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    progress: Progress,
    _kill_on_drop: KillOnDrop,
}

impl SandboxHandle {
    /// The process id of stage 1 on the host, parent of everything inside.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What contains the app. Known when the files are finished and before the
    /// first command runs.
    pub async fn report(&self) -> Result<SandboxReport, SandboxError> {
        let status = self.progress.until(|status| status.confined).await;
        if status.confined {
            Ok(status.report)
        } else {
            Err(status.error())
        }
    }

    /// Returns when the prepare steps have succeeded and the server was started.
    pub async fn serving(&self) -> Result<(), SandboxError> {
        let status = self.progress.until(|status| status.serving).await;
        if status.serving {
            Ok(())
        } else {
            Err(status.error())
        }
    }

    /// Directories of the plan's volumes, in its order, to be filled before the files are
    /// finished. They stay usable when the sandbox has ended.
    pub async fn volumes(&self) -> Result<Arc<Vec<OwnedFd>>, SandboxError> {
        let status = self.progress.until(|status| status.volumes.is_some()).await;
        match status.volumes {
            Some(volumes) => Ok(volumes),
            None => Err(status.error()),
        }
    }

    /// The app's own network, if the plan gives it one; there before any command runs.
    pub async fn network(&self) -> Result<InsideNetwork, SandboxError> {
        let status = self.progress.until(|status| status.network.is_some()).await;
        match status.network {
            Some(descriptors) => InsideNetwork::receive(&descriptors),
            None => Err(status.error()),
        }
    }

    /// Returns when no process of the sandbox is left, and says how it ended.
    pub async fn wait(&self) -> Result<SandboxExit, SandboxError> {
        let status = self.progress.until(|_| false).await;
        match status.failure {
            Some(failure) => Err(failure.into()),
            None => Ok(status.exit),
        }
    }

    /// Asks the app to end (SIGTERM), and kills the sandbox after `grace`. As after
    /// [`Self::wait`], no process is left.
    pub async fn stop(&self, grace: Duration) -> Result<SandboxExit, SandboxError> {
        // Fails only for a sandbox that has ended already.
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
        if let Ok(exit) = timeout(grace, self.wait()).await {
            return exit;
        }
        let _ = pidfd_send_signal(&self.pidfd, Signal::HUP);
        if let Ok(exit) = timeout(DRAIN, self.wait()).await {
            return exit;
        }
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.wait().await
    }
}

/// Why a sandbox could not be made or filled.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The plan contradicts itself.
    #[error(transparent)]
    InvalidPlan(#[from] InvalidPlan),
    /// A file has no place.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// Released files could not be replaced: those from before are in force.
    #[error("the released files could not be replaced: {0}")]
    NotReplaced(String),
    /// The plan cannot be sent.
    #[error("the sandbox's plan cannot be sent: {0}")]
    Plan(String),
    /// The first process could not be started.
    #[error("cannot start the sandbox's first process: {0}")]
    Spawn(std::io::Error),
    /// The content of a private file could not be read.
    #[error("cannot read the content of the private file `{path}`: {source}")]
    Source {
        /// The file.
        path: PrivatePath,
        /// Why.
        source: std::io::Error,
    },
    /// The channel broke.
    #[error("the channel to the sandbox failed: {0}")]
    Channel(String),
    /// This machine does not allow a sandbox, or a command could not be started.
    /// The app does not run.
    #[error("the sandbox refuses to run the app: {message}{}", Fix(fix))]
    Refused {
        /// What could not be done.
        message: String,
        /// What would help, if that is known.
        fix: Option<String>,
    },
    /// The image's root file system cannot be copied.
    #[error("{0}")]
    Root(String),
    /// It ended before it got that far.
    #[error("the sandbox ended too early: {0}")]
    Ended(SandboxExit),
}

struct Fix<'a>(&'a Option<String>);

impl fmt::Display for Fix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(fix) => write!(f, ". To fix it: {fix}"),
            None => Ok(()),
        }
    }
}

impl From<Failure> for SandboxError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Stage { message, fix } => Self::Refused { message, fix },
            Failure::Root { message } => Self::Root(message),
        }
    }
}

/// What is known of a sandbox, for several to wait on.
#[derive(Clone)]
pub(super) struct Progress(watch::Receiver<Status>);

impl Progress {
    /// The error behind a channel that the sandbox closed.
    pub(super) async fn why_it_ended(&self) -> SandboxError {
        self.until(|_| false).await.error()
    }

    /// What the sandbox has copied of an image.
    pub(super) async fn rooted(&self) -> Result<CopiedRoot, SandboxError> {
        let status = self.until(|status| status.rooted.is_some()).await;
        match status.rooted {
            Some(copied) => Ok(copied),
            None => Err(status.error()),
        }
    }

    /// What became of the replacement of this number, counted from 1.
    pub(super) async fn replacement(&self, number: u64) -> Result<Notice, SandboxError> {
        let status = self.until(|status| status.replacements >= number).await;
        match status.last_replacement {
            Some(outcome) if status.replacements >= number => {
                outcome.map_err(SandboxError::NotReplaced)
            }
            _ => Err(status.error()),
        }
    }

    /// Returns when the app stands still for the time of this number, counted from 1.
    pub(super) async fn pause(&self, number: u64) -> Result<(), SandboxError> {
        let status = self.until(|status| status.pauses >= number).await;
        if status.pauses >= number && !status.ended {
            Ok(())
        } else {
            Err(status.error())
        }
    }

    /// How often the app has asked for a commit, once it is more than `seen`; `None` if the sandbox
    /// has ended before.
    pub(super) async fn commit_asked(&self, seen: u64) -> Option<u64> {
        let status = self.until(|status| status.commits_asked > seen).await;
        (status.commits_asked > seen).then_some(status.commits_asked)
    }

    /// The status once `reached`, or the last one.
    async fn until(&self, reached: impl Fn(&Status) -> bool) -> Status {
        let mut progress = self.0.clone();
        let waited = progress
            .wait_for(|status| status.ended || reached(status))
            .await;
        match waited {
            Ok(status) => status.clone(),
            // The runtime is shutting down and took the follower with it.
            Err(_) => self.0.borrow().clone(),
        }
    }
}

#[derive(Clone)]
struct Status {
    rooted: Option<CopiedRoot>,
    report: SandboxReport,
    confined: bool,
    serving: bool,
    replacements: u64,
    last_replacement: Option<Result<Notice, String>>,
    volumes: Option<Arc<Vec<OwnedFd>>>,
    network: Option<Arc<Vec<OwnedFd>>>,
    pauses: u64,
    commits_asked: u64,
    failure: Option<Failure>,
    exit: SandboxExit,
    ended: bool,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            rooted: None,
            report: SandboxReport::default(),
            confined: false,
            serving: false,
            replacements: 0,
            last_replacement: None,
            volumes: None,
            network: None,
            pauses: 0,
            commits_asked: 0,
            failure: None,
            // Until the sandbox says otherwise.
            exit: SandboxExit::Killed,
            ended: false,
        }
    }
}

impl Status {
    fn error(self) -> SandboxError {
        match self.failure {
            Some(failure) => failure.into(),
            None => SandboxError::Ended(self.exit),
        }
    }

    fn replaced(&mut self, outcome: Result<Notice, String>) {
        self.replacements += 1;
        self.last_replacement = Some(outcome);
    }

    /// `descriptors` came with the event.
    fn apply(&mut self, event: Event, descriptors: Vec<OwnedFd>) {
        match event {
            Event::Mounted => self.volumes = Some(Arc::new(descriptors)),
            Event::Network => self.network = Some(Arc::new(descriptors)),
            Event::Paused => self.pauses += 1,
            Event::CommitAsked => self.commits_asked += 1,
            Event::Built { entries } => self.report.entries.extend(entries),
            Event::Confined { entries } => {
                self.report.entries.extend(entries);
                self.confined = true;
            }
            Event::Serving => self.serving = true,
            Event::Replaced { notice } => self.replaced(Ok(notice)),
            Event::NotReplaced { message } => self.replaced(Err(message)),
            Event::Exited { step, cause } => self.exit = SandboxExit::Command { step, cause },
            Event::Rooted(copied) => self.rooted = Some(copied),
            Event::NotRooted { message } => self.failure = Some(Failure::Root { message }),
            Event::Failed { message, fix } => self.failure = Some(Failure::Stage { message, fix }),
        }
    }
}

#[derive(Clone)]
enum Failure {
    Stage {
        message: String,
        fix: Option<String>,
    },
    Root {
        message: String,
    },
}

struct Stage1 {
    pid: u32,
    pidfd: OwnedFd,
    stdout: ChildStdout,
    stderr: ChildStderr,
    ended: oneshot::Receiver<()>,
}

struct KillOnDrop(Arc<OwnedFd>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}

/// Keeps `state` up to date until stage 1 has ended.
///
/// On return the channel closes: should the init have lost its parent before it
/// was tied to it, this ends it.
async fn follow(
    events: OwnedReadHalf,
    mut ended: oneshot::Receiver<()>,
    state: watch::Sender<Status>,
) {
    let mut frames = FrameReader::new(Up::new(events));
    let receive = async {
        while let Ok(event) = frames.receive().await.and_then(|frame| frame.json()) {
            let descriptors = frames.channel().take_descriptors();
            state.send_modify(|status| status.apply(event, descriptors));
        }
    };
    tokio::pin!(receive);
    tokio::select! {
        () = &mut receive => { let _ = (&mut ended).await; }
        _ = &mut ended => { let _ = timeout(DRAIN, receive).await; }
    }
    state.send_modify(|status| status.ended = true);
}
