//! Fills volumes before the program starts, and commits them while it runs and when it has ended.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use mse_volume::{CommitError, Prepared};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::commit::{Kept, Site, restore};
use super::error::{Problem, VolumeError};
use super::order::{Opened, Order};
use super::record::{Ending, Record};
use crate::sandbox::Pauses;

/// Changes are looked for each time after so long.
const INTERVAL: Duration = Duration::from_secs(10);
/// Each time after so many looks everything is read, whether it looks changed or not.
const READ_ALL_AFTER: u32 = 6;

/// The volumes of a service whose changes are written back.
pub(in crate::service) struct Keeper {
    kept: Vec<Kept>,
    record: Record,
}

impl Keeper {
    /// Opens the volumes, has those recorded that are new, and fills the sandbox's `directories`,
    /// which are in the order of `orders`. Nothing runs in the sandbox yet.
    pub(in crate::service) async fn fill(
        orders: Vec<Order>,
        directories: Arc<Vec<OwnedFd>>,
        memory: u64,
        record: Record,
    ) -> Result<Self, VolumeError> {
        let (_going_on, mut ending) = watch::channel(None);
        let mut kept = Vec::new();
        for (index, order) in orders.into_iter().enumerate() {
            let name = order.name.clone();
            let failed = |problem| VolumeError {
                name: name.clone(),
                problem,
            };
            let opening = spawn_blocking(move || {
                let opened = order.open();
                (order, opened)
            });
            let (order, opened) = opening.await.map_err(|_| failed(Problem::BrokeOff))?;
            let opened = opened?;
            let bytes = opened.bytes();
            if bytes > memory {
                // Holes count in it, and take no memory: it may fit.
                tracing::warn!(
                    volume = name,
                    bytes,
                    memory,
                    "the volume is larger than the service's memory"
                );
            }
            let mut sequence = order.sequence;
            if let Opened::ToWrite {
                volume,
                is_recorded: false,
            } = &opened
            {
                let root = volume.root();
                sequence = record
                    .put(&name, sequence, root, &mut ending)
                    .await
                    .map_err(failed)?;
                tracing::info!(volume = name, "the volume was initialised");
            }
            let site = Site {
                directories: Arc::clone(&directories),
                index,
            };
            let restoring = spawn_blocking(move || restore(&order, opened, sequence, &site));
            kept.extend(restoring.await.map_err(|_| failed(Problem::BrokeOff))??);
        }
        Ok(Self { kept, record })
    }

    /// Commits from now on. `pauses` stops the program for the time that its files are read.
    pub(in crate::service) fn start(self, pauses: Pauses) -> Keeping {
        let (end, ending) = watch::channel(None);
        let (failure, failed) = watch::channel(false);
        let work = Work {
            keeper: self,
            pauses,
            ending,
            failure,
            first_error: None,
        };
        Keeping {
            is_needed: !work.keeper.kept.is_empty(),
            end,
            failed,
            task: tokio::spawn(work.run()),
        }
    }
}

/// Volumes that are being committed.
pub(in crate::service) struct Keeping {
    is_needed: bool,
    end: watch::Sender<Option<Instant>>,
    failed: watch::Receiver<bool>,
    task: JoinHandle<Result<(), VolumeError>>,
}

impl Keeping {
    /// Whether there is anything to commit at the end.
    pub(in crate::service) fn is_needed(&self) -> bool {
        self.is_needed
    }

    /// Returns when a volume cannot be kept any more: the program has to end.
    pub(in crate::service) async fn failed(&mut self) {
        // Its other end goes before its time only if the work broke off.
        let _ = self.failed.wait_for(|failed| *failed).await;
    }

    /// Commits for the last time: no process of the program is left. The CAS is waited for at most
    /// for `patience`. Gives the first error that there was.
    pub(in crate::service) async fn finish(self, patience: Duration) -> Result<(), VolumeError> {
        // Fails only if the work broke off.
        let _ = self.end.send(Some(Instant::now() + patience));
        self.task.await.unwrap_or_else(|_| Err(broke_off()))
    }
}

/// Why all are committed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It is time to look.
    Interval,
    /// The program asked, or it is time to read everything.
    Asked,
    /// Nothing runs any more.
    Ended,
}

struct Work {
    keeper: Keeper,
    pauses: Pauses,
    ending: Ending,
    failure: watch::Sender<bool>,
    first_error: Option<VolumeError>,
}

impl Work {
    async fn run(mut self) -> Result<(), VolumeError> {
        let mut ending = self.ending.clone();
        let (mut asked, mut looks) = (0, 0_u32);
        if !self.keeper.kept.is_empty() {
            while self.first_error.is_none() {
                let why = tokio::select! {
                    biased;
                    _ = ending.wait_for(Option::is_some) => break,
                    () = self.pauses.commit_asked(&mut asked) => Why::Asked,
                    () = sleep(INTERVAL) => {
                        looks = looks.wrapping_add(1);
                        if looks.is_multiple_of(READ_ALL_AFTER) { Why::Asked } else { Why::Interval }
                    }
                };
                self.commit(why).await;
            }
        }
        if self.first_error.is_some() {
            // Fails only if nobody is told any more.
            let _ = self.failure.send(true);
        }
        // What is not lost is committed even so. Fails only if nobody waits for it.
        let _ = ending.wait_for(Option::is_some).await;
        self.commit(Why::Ended).await;
        self.first_error.map_or(Ok(()), Err)
    }

    async fn commit(&mut self, why: Why) {
        if self.keeper.kept.is_empty() {
            return;
        }
        if why == Why::Interval
            && !self
                .blocking(|kept| kept.iter().any(Kept::has_changed))
                .await
                .unwrap_or(true)
        {
            return;
        }
        // One that is not stopped has ended: the end has its own commit.
        if why != Why::Ended && self.pauses.pause().await.is_err() {
            return;
        }
        let prepared = self
            .blocking(|kept| kept.iter_mut().map(Kept::prepare).collect::<Vec<_>>())
            .await;
        if why != Why::Ended {
            // Fails only if it has ended meanwhile.
            let _ = self.pauses.resume().await;
        }
        let mut still = Vec::new();
        let kept = std::mem::take(&mut self.keeper.kept);
        for (kept, prepared) in kept.into_iter().zip(prepared.unwrap_or_default()) {
            still.extend(self.settle(kept, prepared, why).await);
        }
        self.keeper.kept = still;
    }

    /// Has the CAS record what was prepared; gives the volume back if it can be kept.
    async fn settle(
        &mut self,
        mut kept: Kept,
        prepared: Result<Option<Prepared>, CommitError>,
        why: Why,
    ) -> Option<Kept> {
        let prepared = match prepared {
            Ok(None) => return Some(kept),
            Ok(Some(prepared)) => prepared,
            Err(error) if why == Why::Ended => {
                self.fail(kept.name, error.into());
                return None;
            }
            Err(error) => {
                tracing::warn!(volume = kept.name, %error, "changes could not be written; trying again");
                return Some(kept);
            }
        };
        let record = self.keeper.record.clone();
        let recorded = record
            .put(&kept.name, kept.sequence, prepared.root(), &mut self.ending)
            .await;
        let sequence = match recorded {
            Ok(sequence) => sequence,
            Err(problem) => {
                self.fail(kept.name, problem);
                return None;
            }
        };
        tracing::info!(volume = kept.name, sequence, "the changes were committed");
        let publishing = spawn_blocking(move || {
            kept.publish(&prepared, sequence);
            kept
        });
        let published = publishing.await.ok();
        if published.is_none() {
            self.first_error.get_or_insert_with(broke_off);
        }
        published
    }

    fn fail(&mut self, name: String, problem: Problem) {
        let error = VolumeError { name, problem };
        tracing::warn!(%error, "the volume cannot be kept");
        self.first_error.get_or_insert(error);
    }

    /// Does something that blocks with all volumes; `None` if it broke off, and they are lost.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Vec<Kept>) -> T + Send + 'static,
    ) -> Option<T> {
        let mut kept = std::mem::take(&mut self.keeper.kept);
        let worked = spawn_blocking(move || {
            let result = work(&mut kept);
            (kept, result)
        });
        if let Ok((kept, result)) = worked.await {
            self.keeper.kept = kept;
            Some(result)
        } else {
            self.first_error.get_or_insert_with(broke_off);
            None
        }
    }
}

fn broke_off() -> VolumeError {
    VolumeError {
        name: "(all)".into(),
        problem: Problem::BrokeOff,
    }
}
