//! A service from its launch to its end, whatever runs it.

use std::future::Future;
use std::time::Duration;

use mse_api::LogStream;
use mse_runtime::process::EnclaveEvent;
use mse_runtime::running::Running;
use mse_workload::launch::{Phase, ServiceEnd};

/// How long programs may take to end.
const GRACE: Duration = Duration::from_secs(10);

/// What is heard of a service while it runs.
pub(crate) enum Heard {
    /// A line that it wrote, or its enclave.
    Line(LogStream, String),
    /// How far it is.
    Phase(Phase),
    /// What the enclave's check of it found.
    Health {
        /// Whether it is well.
        well: bool,
    },
}

/// How a service ended.
pub(crate) struct Ended {
    /// Whether it was asked to.
    pub(crate) was_asked: bool,
    /// Why, in the enclave's words.
    pub(crate) reason: Option<String>,
    /// What of it ended first.
    pub(crate) end: Option<ServiceEnd>,
    /// How the enclave's process did.
    pub(crate) how: Option<String>,
}

/// Follows a service to its end; when `stop` is done, it is asked to end.
///
/// # Errors
///
/// Whoever hears has one. The service goes on until it is dropped.
pub(crate) async fn follow<E>(
    running: &mut impl Running,
    stop: impl Future,
    mut hear: impl FnMut(Heard) -> Result<(), E>,
) -> Result<Ended, E> {
    let mut ended = Ended {
        was_asked: false,
        reason: None,
        end: None,
        how: None,
    };
    tokio::pin!(stop);
    loop {
        let event = tokio::select! {
            event = running.next() => event,
            _ = &mut stop, if !ended.was_asked => {
                ended.was_asked = true;
                running.stop(GRACE);
                continue;
            }
        };
        match event {
            Some(EnclaveEvent::Log { stream, text }) => hear(Heard::Line(stream, text))?,
            Some(EnclaveEvent::Health { well }) => hear(Heard::Health { well })?,
            Some(EnclaveEvent::Phase(phase)) => {
                if let Phase::Failed { reason } | Phase::Stopped { reason } = &phase {
                    ended.reason = Some(reason.clone());
                }
                hear(Heard::Phase(phase))?;
            }
            Some(EnclaveEvent::ServiceEnded(end)) => ended.end = Some(end),
            Some(EnclaveEvent::Exited { how }) => {
                ended.how = Some(how);
                return Ok(ended);
            }
            Some(
                EnclaveEvent::Confinement(_)
                | EnclaveEvent::Listening { .. }
                | EnclaveEvent::Waiting { .. },
            ) => {}
            None => return Ok(ended),
        }
    }
}

/// Whether a line of an enclave's log is more than information: a renewal that fails, or a change
/// that waits for the next start, is the operator's to know.
pub(crate) fn is_warning(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("WARN ") || line.starts_with("ERROR ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_are_passed_on() {
        assert!(is_warning(" WARN no release yet; asking again"));
        assert!(is_warning("ERROR x"));
        assert!(!is_warning(" INFO the release was renewed"));
        assert!(!is_warning("WARNING"));
    }
}
