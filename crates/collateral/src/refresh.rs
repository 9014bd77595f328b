//! Renews documents in the background, before they are out of date.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Something whose parts are renewed from time to time.
pub trait Renew: Send + Sync + 'static {
    /// Why a part could not be renewed.
    type Error: fmt::Display + Send;

    /// Which part is to be renewed when.
    fn schedule(&self) -> Vec<Due>;

    /// Renews the part `key`.
    fn renew(&self, key: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Ends when there is another part.
    fn changed(&self) -> impl Future<Output = ()> + Send;

    /// What time it is.
    fn now(&self) -> SystemTime;
}

/// When a part is to be renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Names the part.
    pub key: String,
    /// The time.
    pub at: SystemTime,
}

/// A task that renews; it ends with [`Refresher::stop`], or when this is dropped.
#[derive(Debug)]
pub struct Refresher {
    stopping: CancellationToken,
    task: JoinHandle<()>,
}

impl Refresher {
    /// Starts to renew `parts`.
    pub fn start<Parts: Renew>(parts: Arc<Parts>) -> Self {
        let stopping = CancellationToken::new();
        Self {
            task: tokio::spawn(run(parts, stopping.clone())),
            stopping,
        }
    }

    /// Ends the task, and waits until it has ended. A request that is under way is given up.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        // It ends without a result; a panic in it was reported when it happened.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Refresher {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

async fn run<Parts: Renew>(parts: Arc<Parts>, stopping: CancellationToken) {
    let mut failures: HashMap<String, Failure> = HashMap::new();
    loop {
        let now = parts.now();
        let mut schedule = parts.schedule();
        failures.retain(|key, _| schedule.iter().any(|due| due.key == *key));
        for due in &mut schedule {
            if let Some(failure) = failures.get(&due.key) {
                due.at = due.at.max(failure.again_at);
            }
        }
        schedule.sort_by_key(|due| due.at);
        let wait = schedule.first().map_or(LONGEST_SLEEP, |first| {
            first.at.duration_since(now).unwrap_or_default()
        });
        if !wait.is_zero() {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = parts.changed() => {}
                // Waking now and then also finds a clock that was set.
                () = tokio::time::sleep(wait.min(LONGEST_SLEEP)) => {}
            }
            continue;
        }
        for due in schedule.iter().take_while(|due| due.at <= now) {
            let outcome = tokio::select! {
                () = stopping.cancelled() => return,
                outcome = parts.renew(&due.key) => outcome,
            };
            match outcome {
                Ok(()) => {
                    tracing::debug!(key = due.key, "collateral renewed");
                    // A service that gives the same document again is not asked all the time.
                    let again_at = parts.now() + PAUSE;
                    failures.insert(due.key.clone(), Failure { count: 0, again_at });
                }
                Err(error) => {
                    let count = failures.get(&due.key).map_or(0, |failure| failure.count) + 1;
                    let pause = (PAUSE * (1 << count.min(6))).min(LONGEST_PAUSE);
                    tracing::warn!(key = due.key, count, %error, "collateral cannot be renewed");
                    let again_at = parts.now() + pause;
                    failures.insert(due.key.clone(), Failure { count, again_at });
                }
            }
        }
    }
}

/// A part that is not to be renewed before a certain time.
struct Failure {
    /// Failures in a row.
    count: u32,
    again_at: SystemTime,
}

/// Between two attempts at the same part; it doubles with each failure.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_mins(30);
const LONGEST_SLEEP: Duration = Duration::from_mins(15);

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::UNIX_EPOCH;

    use tokio::sync::{Notify, mpsc};
    use tokio::time::Instant;

    use super::*;

    /// Parts with a life of 90 minutes, renewed after 60; time is tokio's, which is paused.
    struct Parts {
        begin: Instant,
        due: Mutex<HashMap<String, SystemTime>>,
        failing: Mutex<u32>,
        came: Notify,
        renewed: mpsc::UnboundedSender<(String, u64)>,
    }

    impl Renew for Parts {
        type Error = &'static str;

        fn schedule(&self) -> Vec<Due> {
            let due = self.due.lock().unwrap();
            due.iter()
                .map(|(key, at)| Due {
                    key: key.clone(),
                    at: *at,
                })
                .collect()
        }

        async fn renew(&self, key: &str) -> Result<(), &'static str> {
            {
                let mut failing = self.failing.lock().unwrap();
                if *failing > 0 {
                    *failing -= 1;
                    return Err("no network");
                }
            }
            let now = self.now();
            let minute = now.duration_since(UNIX_EPOCH).unwrap().as_secs() / 60;
            let _ = self.renewed.send((key.to_owned(), minute));
            let mut due = self.due.lock().unwrap();
            due.insert(key.to_owned(), now + Duration::from_mins(60));
            Ok(())
        }

        async fn changed(&self) {
            self.came.notified().await;
        }

        fn now(&self) -> SystemTime {
            UNIX_EPOCH + self.begin.elapsed()
        }
    }

    fn parts() -> (Arc<Parts>, mpsc::UnboundedReceiver<(String, u64)>) {
        let (renewed, log) = mpsc::unbounded_channel();
        let parts = Arc::new(Parts {
            begin: Instant::now(),
            due: Mutex::default(),
            failing: Mutex::default(),
            came: Notify::new(),
            renewed,
        });
        (parts, log)
    }

    #[tokio::test(start_paused = true)]
    async fn parts_are_renewed_when_they_are_due_and_new_ones_are_noticed() {
        let (parts, mut log) = parts();
        let refresher = Refresher::start(Arc::clone(&parts));
        let at = |minutes| UNIX_EPOCH + Duration::from_mins(minutes);
        parts.due.lock().unwrap().insert("a".into(), at(5));
        parts.came.notify_one();
        assert_eq!(log.recv().await, Some(("a".into(), 5)));
        parts.due.lock().unwrap().insert("b".into(), at(7));
        parts.came.notify_one();
        assert_eq!(log.recv().await, Some(("b".into(), 7)));
        assert_eq!(log.recv().await, Some(("a".into(), 65)));
        assert_eq!(log.recv().await, Some(("b".into(), 67)));
        refresher.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_repeated_after_growing_pauses() {
        let (parts, mut log) = parts();
        *parts.failing.lock().unwrap() = 3;
        parts.due.lock().unwrap().insert("a".into(), UNIX_EPOCH);
        let refresher = Refresher::start(Arc::clone(&parts));
        // 1 + 2 + 4 minutes.
        assert_eq!(log.recv().await, Some(("a".into(), 7)));
        refresher.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_while_it_sleeps_and_when_it_is_dropped() {
        let (parts, mut log) = parts();
        Refresher::start(Arc::clone(&parts)).stop().await;
        drop(Refresher::start(Arc::clone(&parts)));
        // The last holder of the sender is gone once the tasks are.
        drop(parts);
        assert_eq!(log.recv().await, None);
    }
}
