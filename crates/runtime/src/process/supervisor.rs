//! Watches over one enclave from its first frame to its end.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::ExitStatus;
use std::time::Duration;

use mse_api::LogStream;
use mse_workload::launch::{Confinement, FromEnclave, ToEnclave};
use mse_workload::measurement::Measurement;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::instance::Instance;
use super::{EnclaveEvent, Quoting, RunningEnclave, lines, socket};

/// What an enclave is made of before anyone watches over it.
pub(super) struct Parts {
    pub(super) child: Child,
    pub(super) socket: StdUnixStream,
    pub(super) first: ToEnclave,
    pub(super) limits: Vec<Confinement>,
    pub(super) instance: Instance,
    pub(super) measurement: Measurement,
    pub(super) quoting: Quoting,
}

/// What the supervisor is told to do.
pub(super) enum Order {
    Stop {
        grace: Duration,
    },
    Kill,
    /// The enclave closed its end of the socket, or misused it.
    HangUp {
        why: Option<String>,
    },
}

/// Sends the first frame and leaves the enclave to tasks of its own.
pub(super) fn start(mut parts: Parts) -> io::Result<RunningEnclave> {
    parts.socket.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(parts.socket)?.into_split();
    let (events, received) = mpsc::channel(256);
    let (orders, ordered) = mpsc::unbounded_channel();
    let (frames, queued) = mpsc::channel(64);
    // The queue is new and has room.
    let _ = frames.try_send(parts.first);

    let pid = parts.child.id().unwrap_or_default();
    let mut outputs = JoinSet::new();
    if let Some(stdout) = parts.child.stdout.take() {
        outputs.spawn(lines::forward(stdout, LogStream::App, events.clone()));
    }
    if let Some(stderr) = parts.child.stderr.take() {
        outputs.spawn(lines::forward(stderr, LogStream::Enclave, events.clone()));
    }
    tokio::spawn(async move {
        if let Err(error) = socket::write_frames(writer, queued).await {
            tracing::debug!(%error, "an enclave no longer reads");
        }
    });
    let listener = Listener {
        quoting: parts.quoting,
        measurement: parts.measurement,
        limits: parts.limits,
        events: events.clone(),
        frames: frames.clone(),
    };
    let hang_up = orders.clone();
    outputs.spawn(async move {
        let why = listener
            .listen(reader)
            .await
            .err()
            .map(|error| error.to_string());
        let _ = hang_up.send(Order::HangUp { why });
    });
    tokio::spawn(watch(Watch {
        child: parts.child,
        pid,
        ordered,
        frames,
        outputs,
        events,
        instance: parts.instance,
    }));
    Ok(RunningEnclave {
        measurement: parts.measurement,
        pid,
        events: received,
        orders,
    })
}

/// The side of the socket that the enclave speaks on.
struct Listener {
    quoting: Quoting,
    measurement: Measurement,
    limits: Vec<Confinement>,
    events: mpsc::Sender<EnclaveEvent>,
    frames: mpsc::Sender<ToEnclave>,
}

impl Listener {
    /// Until the enclave closes its end. A full queue of events makes the enclave wait.
    async fn listen(self, mut reader: OwnedReadHalf) -> Result<(), socket::SocketError> {
        let _ = self
            .events
            .send(EnclaveEvent::Confinement(self.limits.clone()))
            .await;
        while let Some(frame) = socket::read_frame(&mut reader).await? {
            let event = match frame {
                FromEnclave::GetQuote { id, report_data } => {
                    let answer =
                        socket::answer_quote(&self.quoting, self.measurement, id, &report_data);
                    if self.frames.send(answer).await.is_err() {
                        break;
                    }
                    continue;
                }
                FromEnclave::GetSealKey { id, policy } => {
                    let answer =
                        socket::answer_seal_key(&self.quoting, self.measurement, id, policy);
                    if self.frames.send(answer).await.is_err() {
                        break;
                    }
                    continue;
                }
                FromEnclave::Listening { port } => EnclaveEvent::Listening { port },
                FromEnclave::Phase(phase) => EnclaveEvent::Phase(phase),
                FromEnclave::Health { well } => EnclaveEvent::Health { well },
                FromEnclave::ServiceEnded(end) => EnclaveEvent::ServiceEnded(end),
                FromEnclave::Confinement { entries: own } => {
                    EnclaveEvent::Confinement(self.limits.iter().cloned().chain(own).collect())
                }
            };
            if self.events.send(event).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

struct Watch {
    child: Child,
    pid: u32,
    ordered: mpsc::UnboundedReceiver<Order>,
    frames: mpsc::Sender<ToEnclave>,
    outputs: JoinSet<()>,
    events: mpsc::Sender<EnclaveEvent>,
    instance: Instance,
}

async fn watch(mut watch: Watch) {
    let how = match watch.until_exit().await {
        (Ok(status), None) => status.to_string(),
        (Ok(status), Some(why)) => format!("{status} ({why})"),
        (Err(error), _) => format!("it cannot be waited for: {error}"),
    };
    // Its last words are in the pipes. A process that inherited one must not hold up the end.
    let _ = timeout(LAST_WORDS, async {
        while watch.outputs.join_next().await.is_some() {}
    })
    .await;
    watch.outputs.abort_all();
    let instance = watch.instance;
    let _ = tokio::task::spawn_blocking(move || drop(instance)).await;
    let _ = watch.events.send(EnclaveEvent::Exited { how }).await;
}

impl Watch {
    async fn until_exit(&mut self) -> (io::Result<ExitStatus>, Option<String>) {
        let mut deadline: Option<Instant> = None;
        let mut fault = None;
        let mut owned = true;
        loop {
            tokio::select! {
                status = self.child.wait() => return (status, fault),
                order = self.ordered.recv(), if owned => match order {
                    Some(Order::Stop { grace }) => {
                        let frame = ToEnclave::Stop { grace_seconds: grace.as_secs() };
                        // An enclave that does not read is killed at the deadline.
                        let _ = self.frames.try_send(frame);
                        sooner(&mut deadline, grace + LAST_WORDS);
                    }
                    Some(Order::Kill) => sooner(&mut deadline, Duration::ZERO),
                    Some(Order::HangUp { why }) => {
                        let patience = if why.is_some() { Duration::ZERO } else { LEAVING };
                        fault = fault.or(why);
                        sooner(&mut deadline, patience);
                    }
                    None => {
                        owned = false;
                        sooner(&mut deadline, Duration::ZERO);
                    }
                },
                () = at(deadline) => {
                    deadline = None;
                    self.kill();
                }
                // The owner let go of the enclave; the reader's own sender does not count.
                () = self.events.closed(), if owned => {
                    owned = false;
                    sooner(&mut deadline, Duration::ZERO);
                }
            }
        }
    }

    /// The whole process group: what the enclave started dies with it.
    fn kill(&mut self) {
        let group = i32::try_from(self.pid).ok().filter(|pid| *pid > 1);
        if group.is_none_or(|group| killpg(Pid::from_raw(group), Signal::SIGKILL).is_err()) {
            let _ = self.child.start_kill();
        }
    }
}

/// Moves the deadline to `patience` from now, unless it comes earlier.
fn sooner(deadline: &mut Option<Instant>, patience: Duration) {
    let next = Instant::now() + patience;
    *deadline = Some(deadline.map_or(next, |earlier| earlier.min(next)));
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// How long output is waited for once the process has ended, and on top of the grace.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long an enclave may take to end after it closed its socket.
const LEAVING: Duration = Duration::from_secs(10);
