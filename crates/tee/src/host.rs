//! The socket to the launcher: quotes and orders come in, reports go out.
//!
//! The launcher is not trusted. What arrives here decides when the enclave stops and gives it
//! quotes, which verify themselves; nothing secret goes out.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mse_crypto::Zeroizing;
use mse_crypto::sealing::SealingKey;
use mse_workload::launch::{
    CasLaunch, Confinement, FrameError, FromEnclave, Launch, Phase, SealPolicy, ServiceEnd,
    ServiceLaunch, ToEnclave, decode, encode, frame_length,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// What takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// A launcher that does not read is not waited for longer.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// What the launcher wants to be run.
pub enum Job {
    /// An app of an owner.
    App(Box<Launch>),
    /// A service of a CAS.
    Service(Box<ServiceLaunch>),
    /// A CAS.
    Cas(Box<CasLaunch>),
}

/// Why the enclave shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    Run,
    /// Stop in order.
    Stop {
        /// How long the app may take.
        grace_seconds: u64,
    },
    /// The launcher is gone.
    LauncherGone,
}

/// The enclave's end of the launch socket.
#[derive(Clone)]
pub struct HostLink {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    pending: Arc<Mutex<Pending>>,
}

enum Outgoing {
    Message(FromEnclave),
    /// Answered when everything before it has left.
    Flush(oneshot::Sender<()>),
}

/// What the launcher was asked for and has not answered yet.
#[derive(Default)]
struct Pending {
    /// The launcher is gone: nothing will be answered any more.
    closed: bool,
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

/// Hexadecimal, or why there is none.
type Answer = Result<Zeroizing<String>, String>;

impl HostLink {
    /// Takes standard input for the launch socket and waits for the launch order on it.
    pub async fn accept() -> Result<(Self, Job, watch::Receiver<Order>), HostError> {
        let descriptor = io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(HostError::Socket)?;
        let stream = StdUnixStream::from(descriptor);
        stream.set_nonblocking(true).map_err(HostError::Socket)?;
        let stream = UnixStream::from_std(stream).map_err(HostError::Socket)?;
        let (mut incoming, mut writer) = stream.into_split();

        let job = match read_frame(&mut incoming).await? {
            ToEnclave::Launch(launch) => Job::App(launch),
            ToEnclave::LaunchService(launch) => Job::Service(launch),
            ToEnclave::LaunchCas(launch) => Job::Cas(launch),
            ToEnclave::Quote { .. } | ToEnclave::SealKey { .. } | ToEnclave::Stop { .. } => {
                return Err(HostError::NotLaunched);
            }
        };
        let (outgoing, mut queue) = mpsc::unbounded_channel::<Outgoing>();
        tokio::spawn(async move {
            while let Some(outgoing) = queue.recv().await {
                let message = match outgoing {
                    Outgoing::Message(message) => message,
                    Outgoing::Flush(done) => {
                        let _ = done.send(());
                        continue;
                    }
                };
                let frame = match encode(&message) {
                    Ok(frame) => frame,
                    Err(error) => {
                        tracing::error!(%error, "a report to the launcher is lost");
                        continue;
                    }
                };
                if writer.write_all(&frame).await.is_err() {
                    break;
                }
            }
        });
        let link = Self {
            outgoing,
            pending: Arc::default(),
        };
        let (order, orders) = watch::channel(Order::Run);
        tokio::spawn(link.clone().listen(incoming, order));
        Ok((link, job, orders))
    }

    /// A quote over `report_data` from the launcher's quoting service.
    pub async fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, HostError> {
        let report_data = hex::encode(report_data);
        let answer = self.ask(|id| FromEnclave::GetQuote { id, report_data });
        let hex = answer.await?.map_err(HostError::NoQuote)?;
        hex::decode(hex.as_str()).map_err(|_| HostError::NoQuote("it is not hexadecimal".into()))
    }

    /// The simulated platform's sealing key for this program, as far as `policy` tells programs
    /// apart.
    pub async fn seal_key(&self, policy: SealPolicy) -> Result<SealingKey, HostError> {
        let answer = self.ask(|id| FromEnclave::GetSealKey { id, policy });
        let hex = answer.await?.map_err(HostError::NoSealKey)?;
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(hex.as_str(), bytes.as_mut())
            .map_err(|_| HostError::NoSealKey("it is not 64 hexadecimal digits".into()))?;
        Ok(SealingKey::from_bytes(*bytes))
    }

    /// Asks the launcher and waits for its answer.
    async fn ask(&self, request: impl FnOnce(u64) -> FromEnclave) -> Result<Answer, HostError> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            if pending.closed {
                return Err(HostError::LauncherGone);
            }
            pending.last_id += 1;
            let id = pending.last_id;
            pending.waiting.insert(id, sender);
            id
        };
        self.tell(request(id));
        if let Ok(answer) = timeout(PATIENCE, answer).await {
            return answer.map_err(|_| HostError::LauncherGone);
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.waiting.remove(&id);
        Ok(Err("the launcher does not answer".into()))
    }

    fn answered(&self, id: u64, answer: Answer) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = pending.waiting.remove(&id) {
            let _ = waiting.send(answer);
        }
    }

    /// Tells the launcher where the enclave listens.
    pub fn listening(&self, port: u16) {
        self.tell(FromEnclave::Listening { port });
    }

    /// Tells the launcher how far the enclave is.
    pub fn phase(&self, phase: Phase) {
        tracing::info!(?phase, "phase");
        self.tell(FromEnclave::Phase(phase));
    }

    /// Tells the launcher whether the service is well.
    pub fn health(&self, well: bool) {
        self.tell(FromEnclave::Health { well });
    }

    /// Tells the launcher what confines the app.
    pub fn confinement(&self, entries: Vec<Confinement>) {
        self.tell(FromEnclave::Confinement { entries });
    }

    /// Tells the launcher how the service ended.
    pub fn service_ended(&self, end: ServiceEnd) {
        self.tell(FromEnclave::ServiceEnded(end));
    }

    /// Waits until everything that was told has left, before the process ends.
    pub async fn flush(&self) {
        let (done, left) = oneshot::channel();
        if self.outgoing.send(Outgoing::Flush(done)).is_ok() {
            let _ = timeout(FLUSH_PATIENCE, left).await;
        }
    }

    fn tell(&self, message: FromEnclave) {
        // A launcher that is gone is noticed by the reading side.
        let _ = self.outgoing.send(Outgoing::Message(message));
    }

    async fn listen(self, mut incoming: OwnedReadHalf, order: watch::Sender<Order>) {
        loop {
            match read_frame(&mut incoming).await {
                Ok(ToEnclave::Quote { id, quote }) => {
                    self.answered(id, quote.map(Zeroizing::new));
                }
                Ok(ToEnclave::SealKey { id, key }) => self.answered(id, key.map(|key| key.0)),
                Ok(ToEnclave::Stop { grace_seconds }) => {
                    order.send_replace(Order::Stop { grace_seconds });
                }
                Ok(
                    ToEnclave::Launch(_) | ToEnclave::LaunchService(_) | ToEnclave::LaunchCas(_),
                ) => {
                    tracing::warn!("a second launch order is ignored");
                }
                Err(error) => {
                    tracing::info!(%error, "the launch socket is closed");
                    let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                    pending.closed = true;
                    pending.waiting.clear();
                    drop(pending);
                    order.send_replace(Order::LauncherGone);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
impl HostLink {
    /// A link to nobody.
    pub fn to_nobody() -> Self {
        Self {
            outgoing: mpsc::unbounded_channel().0,
            pending: Arc::default(),
        }
    }
}

async fn read_frame(incoming: &mut OwnedReadHalf) -> Result<ToEnclave, HostError> {
    let mut prefix = [0; 4];
    incoming
        .read_exact(&mut prefix)
        .await
        .map_err(HostError::Socket)?;
    let mut json = vec![0; frame_length(prefix)?];
    incoming
        .read_exact(&mut json)
        .await
        .map_err(HostError::Socket)?;
    Ok(decode(&json)?)
}

/// What can go wrong with the launcher.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Standard input is no launch socket, or it broke.
    #[error(
        "the launch socket on standard input cannot be used: {0}; this program is started by mse-server or mse, not by hand"
    )]
    Socket(#[source] io::Error),
    /// A frame that cannot be.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Something else came first.
    #[error("the launcher's first word was no launch order")]
    NotLaunched,
    /// The quoting service says no.
    #[error("the quoting service gives no quote: {0}")]
    NoQuote(String),
    /// The platform says no.
    #[error("the platform gives no sealing key: {0}")]
    NoSealKey(String),
    /// The socket closed meanwhile.
    #[error("the launcher is gone")]
    LauncherGone,
}
