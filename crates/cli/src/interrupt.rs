//! Ctrl-C, and being asked to end.

use crate::exit::Exit;
use crate::failure::Failure;

/// Ends when the user interrupts or the system asks the program to end.
pub(crate) async fn interrupted() -> Failure {
    wait().await;
    Failure::new(Exit::Cancelled, "interrupted")
}

#[cfg(unix)]
async fn wait() {
    use tokio::signal::unix::{SignalKind, signal};

    match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) {
        (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) => {
            tokio::select! {
                _ = hangup.recv() => {}
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the signals end the program by themselves.
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn wait() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
