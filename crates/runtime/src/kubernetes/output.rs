//! A pod's output, line by line, across broken connections.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{AsyncBufReadExt, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::LogParams;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::objects::CONTAINER;
use crate::process::EnclaveEvent;
use crate::report::{Report, SharedLine};

/// Between two attempts to read.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two attempts to connect.
const CONNECT_AGAIN: Duration = Duration::from_millis(100);
/// How long one of them may take.
const CONNECT: Duration = Duration::from_secs(2);
/// After so long it is told what is waited for.
const TELL: Duration = Duration::from_secs(10);
/// A longer line is cut.
const MAX_LINE: u64 = 64 * 1024;

/// Sends what the pod prints until nobody listens. `address` is where its app is connected to.
pub(super) async fn follow(
    pods: Api<Pod>,
    pod: String,
    address: SocketAddr,
    events: mpsc::Sender<EnclaveEvent>,
) {
    let mut seen = None;
    while !events.is_closed() {
        if let Err(error) = read(&pods, &pod, address, &events, &mut seen).await {
            tracing::debug!(pod, %error, "the output of a pod cannot be read");
        }
        // Whether the pod has ended others see: until then there may be more.
        sleep(AGAIN).await;
    }
}

/// One connection. Lines have times, so that the next one takes up where this one broke.
async fn read(
    pods: &Api<Pod>,
    pod: &str,
    address: SocketAddr,
    events: &mpsc::Sender<EnclaveEvent>,
    seen: &mut Option<Timestamp>,
) -> Result<(), ReadError> {
    let parameters = LogParams {
        container: Some(CONTAINER.to_owned()),
        follow: true,
        timestamps: true,
        // The server counts in seconds: what came in this one was seen already.
        since_time: *seen,
        ..LogParams::default()
    };
    let mut output = std::pin::pin!(pods.log_stream(pod, &parameters).await?);
    loop {
        let mut line = Vec::new();
        let read = (&mut output)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .await?;
        if read == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\r', '\n']);
        // The rest of a line that was cut has no time, and is left out.
        let Some((time, text)) = timed(text) else {
            continue;
        };
        if seen.is_some_and(|seen| time <= seen) {
            continue;
        }
        *seen = Some(time);
        let event = event(text.to_owned());
        if let EnclaveEvent::Listening { .. } = event {
            until_accepting(address, events).await;
        }
        if events.send(event).await.is_err() {
            return Ok(());
        }
    }
}

/// The pod listens before its Service leads there: first the kubelet must find it ready, and every
/// node hear of that. Who was told too early would connect in vain.
async fn until_accepting(address: SocketAddr, events: &mpsc::Sender<EnclaveEvent>) {
    let began = Instant::now();
    let mut is_told = false;
    while !events.is_closed() {
        if let Ok(Ok(_)) = timeout(CONNECT, TcpStream::connect(address)).await {
            return;
        }
        if began.elapsed() > TELL && !is_told {
            is_told = true;
            let reason = format!("its Service takes no connection at {address}");
            let _ = events.send(EnclaveEvent::Waiting { reason }).await;
        }
        sleep(CONNECT_AGAIN).await;
    }
}

fn timed(line: &str) -> Option<(Timestamp, &str)> {
    let (time, text) = line.split_once(' ').unwrap_or((line, ""));
    Some((time.parse().ok()?, text))
}

fn event(line: String) -> EnclaveEvent {
    match SharedLine::read(line) {
        SharedLine::Log(stream, text) => EnclaveEvent::Log { stream, text },
        SharedLine::Report(Report::Phase(phase)) => EnclaveEvent::Phase(phase),
        SharedLine::Report(Report::Health { well }) => EnclaveEvent::Health { well },
        SharedLine::Report(Report::Ended(end)) => EnclaveEvent::ServiceEnded(end),
        SharedLine::Report(Report::Listening(port)) => EnclaveEvent::Listening { port },
        SharedLine::Report(Report::Confinement(all)) => EnclaveEvent::Confinement(all),
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_app_listens_when_its_service_leads_there() {
        // Nobody listens there any more.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (events, mut received) = mpsc::channel(1);
        let waiting = tokio::spawn(async move { until_accepting(address, &events).await });
        sleep(3 * CONNECT_AGAIN).await;
        assert!(!waiting.is_finished());
        let _listener = tokio::net::TcpListener::bind(address).await.unwrap();
        waiting.await.unwrap();
        assert!(received.recv().await.is_none());
    }

    #[test]
    fn lines_have_times() {
        let (time, text) = timed("2026-11-26T20:00:00.5Z app: a b").unwrap();
        assert_eq!(text, "app: a b");
        let (later, empty) = timed("2026-11-26T20:00:00.51Z ").unwrap();
        assert!(later > time && empty.is_empty());
        assert!(timed("unable to retrieve container logs").is_none());
    }
}
