//! A container from its start to its end.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::{
    LogsOptionsBuilder, StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;
use mse_api::LogStream;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{ContainerError, ContainerRuntime};
use crate::process::{EnclaveEvent, forward_lines};
use crate::report::Report;
use crate::running::Running;

/// Output that waits for its reader.
const BACKLOG: usize = 64 * 1024;
/// How long the last output is waited for when the container has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// A container that was started. Dropping it ends and removes the container.
pub struct RunningContainer {
    id: String,
    events: mpsc::Receiver<EnclaveEvent>,
    stops: mpsc::UnboundedSender<Duration>,
}

impl RunningContainer {
    /// Its id, as the engine knows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn start(
        runtime: ContainerRuntime,
        id: String,
    ) -> Result<Self, ContainerError> {
        runtime
            .api
            .start_container(&id, None)
            .await
            .map_err(ContainerError::during("start the container"))?;
        let (events, received) = mpsc::channel(256);
        let (stops, asked) = mpsc::unbounded_channel();
        tokio::spawn(watch(runtime, id.clone(), events, asked));
        Ok(Self {
            id,
            events: received,
            stops,
        })
    }
}

impl Running for RunningContainer {
    async fn next(&mut self) -> Option<EnclaveEvent> {
        self.events.recv().await
    }

    fn stop(&self, grace: Duration) {
        // One that is gone already needs no order.
        let _ = self.stops.send(grace);
    }
}

/// Tells what happens to the container until it has ended, and removes it.
async fn watch(
    runtime: ContainerRuntime,
    id: String,
    events: mpsc::Sender<EnclaveEvent>,
    mut stops: mpsc::UnboundedReceiver<Duration>,
) {
    let output = tokio::spawn(follow(runtime.clone(), id.clone(), events.clone()));
    let ended = exit(&runtime, &id);
    tokio::pin!(ended);
    let how = loop {
        tokio::select! {
            how = &mut ended => break how,
            asked = stops.recv() => match asked {
                // Answered when it has ended, which is seen here as well.
                Some(grace) => drop(tokio::spawn(stop(runtime.clone(), id.clone(), grace))),
                // The owner let go of it.
                None => break "removed".to_owned(),
            },
        }
    };
    if !events.is_closed() {
        let _ = timeout(LAST_WORDS, output).await;
    }
    if let Err(error) = runtime.remove(&id).await {
        tracing::warn!(id, %error, "a container stays behind");
    }
    let _ = events.send(EnclaveEvent::Exited { how }).await;
}

async fn exit(runtime: &ContainerRuntime, id: &str) -> String {
    let options = WaitContainerOptionsBuilder::new()
        .condition("not-running")
        .build();
    let mut waiting = runtime.api.wait_container(id, Some(options)).boxed();
    match waiting.next().await {
        Some(Ok(ended)) => format!("exit status: {}", ended.status_code),
        // The library's way to tell of a code that is not 0.
        Some(Err(ApiError::DockerContainerWaitError { code, .. })) => {
            format!("exit status: {code}")
        }
        Some(Err(error)) => format!("it cannot be waited for: {error}"),
        None => "it cannot be waited for".to_owned(),
    }
}

async fn stop(runtime: ContainerRuntime, id: String, grace: Duration) {
    let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
    let options = StopContainerOptionsBuilder::new().t(seconds).build();
    if let Err(error) = runtime.api.stop_container(&id, Some(options)).await {
        tracing::warn!(id, %error, "a container is not stopped");
    }
}

/// Passes its output on, line by line.
async fn follow(runtime: ContainerRuntime, id: String, events: mpsc::Sender<EnclaveEvent>) {
    let options = LogsOptionsBuilder::new()
        .follow(true)
        .stdout(true)
        .stderr(true)
        .build();
    let (mut stdout, of_program) = duplex(BACKLOG);
    let (mut stderr, of_launcher) = duplex(BACKLOG);
    let reading = async {
        let mut output = runtime.api.logs(&id, Some(options)).boxed();
        while let Some(Ok(piece)) = output.next().await {
            let (half, bytes): (&mut DuplexStream, _) = match piece {
                LogOutput::StdErr { message } => (&mut stderr, message),
                other => (&mut stdout, other.into_bytes()),
            };
            if half.write_all(&bytes).await.is_err() {
                break;
            }
        }
        drop((stdout, stderr));
    };
    tokio::join!(
        reading,
        forward_lines(of_program, LogStream::App, events.clone()),
        forward_reports(of_launcher, events),
    );
}

/// What the launcher tells in lines of its own becomes the event that it is.
async fn forward_reports(output: DuplexStream, events: mpsc::Sender<EnclaveEvent>) {
    let (lines, mut read) = mpsc::channel(16);
    let telling = async {
        while let Some(event) = read.recv().await {
            let report = match &event {
                EnclaveEvent::Log { text, .. } => Report::of_line(text),
                _ => None,
            };
            let event = match report {
                Some(Report::Phase(phase)) => EnclaveEvent::Phase(phase),
                Some(Report::Health { well }) => EnclaveEvent::Health { well },
                Some(Report::Ended(end)) => EnclaveEvent::ServiceEnded(end),
                Some(Report::Listening(port)) => EnclaveEvent::Listening { port },
                Some(Report::Confinement(all)) => EnclaveEvent::Confinement(all),
                None => event,
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(forward_lines(output, LogStream::Enclave, lines), telling);
}
