//! After the database was out of reach: what could not be written down meanwhile.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::steps::{self, Ending};
use super::{Fleet, recovery};
use crate::store::{Hold, StoreError};

/// How often it is looked whether an end is missing.
const LOOK: Duration = Duration::from_secs(60);

/// Each time the lock on the database is held again, and now and then, until the platform stops: apps that have ended
/// get their end, and so do those of whose row nobody knew whether it was stored.
pub async fn mend_after_outages(fleet: Fleet, stopping: CancellationToken) {
    let Some(mut hold) = fleet.platform().store.watch_hold() else {
        // A file is not out of reach.
        return;
    };
    let mut seen = 1;
    loop {
        let held_again = async {
            let again = |hold: &Hold| matches!(hold, Hold::Held { times } if *times > seen);
            hold.wait_for(again).await.map(|held| *held)
        };
        let held = tokio::select! {
            () = stopping.cancelled() => return,
            held = held_again => held,
            // An end may have met a database that was only too busy, and kept the lock.
            () = tokio::time::sleep(LOOK) => Ok(*hold.borrow()),
        };
        let times = match held {
            Ok(Hold::Held { times }) => times,
            Ok(_) => continue,
            Err(_) => return,
        };
        match mend(&fleet).await {
            Ok(()) => seen = times,
            // It is tried again when the database is back.
            Err(error) if error.is_passing() => {
                tokio::time::sleep(steps::ASKING_AGAIN).await;
            }
            Err(error) => {
                tracing::error!(%error, "ends of apps that were missed are not written down; the next start will");
                seen = times;
            }
        }
    }
}

async fn mend(fleet: &Fleet) -> Result<(), StoreError> {
    let platform = fleet.platform();
    // First the rows: who has a row is registered, supervised, or has ended.
    for app in platform.store.live_apps().await? {
        let id = app.id();
        if fleet.is_looked_after(id) {
            continue;
        }
        let ending = match recovery::why_it_ends(&app, Timestamp::now()) {
            Some(reason) => Ending::stopped(reason),
            None => Ending::failed(
                "it ended, or never began, while the platform's database was out of reach; deploy again",
            ),
        };
        steps::finish(platform, &app, ending).await?;
    }
    Ok(())
}
