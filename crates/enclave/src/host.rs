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

use mse_workload::launch::{
    Confinement, FrameError, FromEnclave, Launch, Phase, ServiceEnd, ServiceLaunch, ToEnclave,
    decode, encode, frame_length,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// A quoting service that takes longer gives no quote.
const QUOTE_PATIENCE: Duration = Duration::from_secs(30);
/// A launcher that does not read is not waited for longer.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// What the launcher wants to be run.
pub(crate) enum Job {
    /// An app of an owner.
    App(Box<Launch>),
    /// A service of a CAS.
    Service(Box<ServiceLaunch>),
}

/// Why the enclave shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
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
pub(crate) struct HostLink {
    outgoing: mpsc::UnboundedSender<Outgoing>,
    quotes: Arc<Mutex<PendingQuotes>>,
}

enum Outgoing {
    Message(FromEnclave),
    /// Answered when everything before it has left.
    Flush(oneshot::Sender<()>),
}

#[derive(Default)]
struct PendingQuotes {
    /// The launcher is gone: nothing will be answered any more.
    closed: bool,
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<String, String>>>,
}

impl HostLink {
    /// Takes standard input for the launch socket and waits for the launch order on it.
    pub(crate) async fn accept() -> Result<(Self, Job, watch::Receiver<Order>), HostError> {
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
            ToEnclave::Quote { .. } | ToEnclave::Stop { .. } => {
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
            quotes: Arc::default(),
        };
        let (order, orders) = watch::channel(Order::Run);
        tokio::spawn(link.clone().listen(incoming, order));
        Ok((link, job, orders))
    }

    /// A quote over `report_data` from the launcher's quoting service.
    pub(crate) async fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, HostError> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut quotes = self.quotes.lock().unwrap_or_else(PoisonError::into_inner);
            if quotes.closed {
                return Err(HostError::LauncherGone);
            }
            quotes.last_id += 1;
            let id = quotes.last_id;
            quotes.waiting.insert(id, sender);
            id
        };
        self.tell(FromEnclave::GetQuote {
            id,
            report_data: hex::encode(report_data),
        });
        let answer = timeout(QUOTE_PATIENCE, answer).await;
        if answer.is_err() {
            let mut quotes = self.quotes.lock().unwrap_or_else(PoisonError::into_inner);
            quotes.waiting.remove(&id);
        }
        let hex = answer
            .map_err(|_| HostError::NoQuote("it does not answer".into()))?
            .map_err(|_| HostError::LauncherGone)?
            .map_err(HostError::NoQuote)?;
        hex::decode(hex).map_err(|_| HostError::NoQuote("it is not hexadecimal".into()))
    }

    /// Tells the launcher where the enclave listens.
    pub(crate) fn listening(&self, port: u16) {
        self.tell(FromEnclave::Listening { port });
    }

    /// Tells the launcher how far the enclave is.
    pub(crate) fn phase(&self, phase: Phase) {
        tracing::info!(?phase, "phase");
        self.tell(FromEnclave::Phase(phase));
    }

    /// Tells the launcher what confines the app.
    pub(crate) fn confinement(&self, entries: Vec<Confinement>) {
        self.tell(FromEnclave::Confinement { entries });
    }

    /// Tells the launcher how the service ended.
    pub(crate) fn service_ended(&self, end: ServiceEnd) {
        self.tell(FromEnclave::ServiceEnded(end));
    }

    /// Waits until everything that was told has left, before the process ends.
    pub(crate) async fn flush(&self) {
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
                    let mut quotes = self.quotes.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(waiting) = quotes.waiting.remove(&id) {
                        let _ = waiting.send(quote);
                    }
                }
                Ok(ToEnclave::Stop { grace_seconds }) => {
                    order.send_replace(Order::Stop { grace_seconds });
                }
                Ok(ToEnclave::Launch(_) | ToEnclave::LaunchService(_)) => {
                    tracing::warn!("a second launch order is ignored");
                }
                Err(error) => {
                    tracing::info!(%error, "the launch socket is closed");
                    let mut quotes = self.quotes.lock().unwrap_or_else(PoisonError::into_inner);
                    quotes.closed = true;
                    quotes.waiting.clear();
                    drop(quotes);
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
    pub(crate) fn to_nobody() -> Self {
        Self {
            outgoing: mpsc::unbounded_channel().0,
            quotes: Arc::default(),
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
pub(crate) enum HostError {
    /// Standard input is no launch socket, or it broke.
    #[error(
        "the launch socket on standard input cannot be used: {0}; mse-enclave is started by mse-server or mse, not by hand"
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
    /// The socket closed meanwhile.
    #[error("the launcher is gone")]
    LauncherGone,
}
