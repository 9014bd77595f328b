//! One at a time, on a thread that may block.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long evidence may take, waiting for one's turn included. Linux itself gives up on a
/// SEV-SNP or TDX host after 60 seconds.
const PATIENCE: Duration = Duration::from_secs(150);

/// Runs `work`, which blocks, when nobody else has the turn.
///
/// The turn is `work`'s until it ends. A caller that is gone does not end it: a client that hangs
/// up must not let the next one write while this one's evidence is being made.
pub(super) async fn take<T: Send + 'static>(
    turn: &Arc<Mutex<()>>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoTurn> {
    take_within(PATIENCE, turn, work).await
}

async fn take_within<T: Send + 'static>(
    patience: Duration,
    turn: &Arc<Mutex<()>>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NoTurn> {
    let done = async {
        let turn = Arc::clone(turn).lock_owned().await;
        spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    };
    match timeout(patience, done).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err(NoTurn::Ended),
        Err(_) => Err(NoTurn::TimedOut),
    }
}

/// Why work was not done.
#[derive(Debug, thiserror::Error)]
pub enum NoTurn {
    /// Nothing within the time.
    #[error("there was no evidence within {} seconds", PATIENCE.as_secs())]
    TimedOut,
    /// The program is being ended.
    #[error("the enclave is ending")]
    Ended,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_caller_that_is_gone_keeps_its_turn_until_its_work_is_done() {
        let turn = Arc::new(Mutex::new(()));
        let (go, wait) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel::<()>();
        let mut gone = Box::pin(take(&turn, move || {
            started.send(()).unwrap();
            wait.recv()
        }));
        assert!(gone.as_mut().now_or_never().is_none());
        has_started.recv().unwrap();
        drop(gone);
        assert!(turn.try_lock().is_err(), "the work still runs");
        go.send(()).unwrap();
        assert_eq!(take(&turn, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_ends_its_turn() {
        let turn = Arc::new(Mutex::new(()));
        let panicked = take(&turn, || panic!("on purpose")).await;
        assert!(matches!(panicked, Err::<(), _>(NoTurn::Ended)));
        assert!(turn.try_lock().is_ok());
    }

    #[tokio::test]
    async fn patience_ends() {
        let turn = Arc::new(Mutex::new(()));
        let taken = turn.lock().await;
        let late = take_within(Duration::ZERO, &turn, || ()).await;
        assert!(matches!(late, Err(NoTurn::TimedOut)));
        drop(taken);
        assert!(turn.try_lock().is_ok());
    }
}
