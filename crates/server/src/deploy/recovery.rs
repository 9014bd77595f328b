//! After a crash, or a stop: what an earlier run left is brought in order before anyone asks.

use std::collections::HashSet;

use jiff::Timestamp;
use mse_api::{AppStatus, LogStream};

use super::Fleet;
use crate::store::{AppRecord, LIVE, StoreError, Transition};

/// Ends what cannot go on, launches the rest again, and removes bundles of apps that do not live.
///
/// The runtime has ended leftover enclaves by now.
pub(super) async fn recover(fleet: &Fleet) -> Result<(), RecoveryError> {
    let platform = fleet.platform();
    let mut resumed = Vec::new();
    for app in platform.store.live_apps().await? {
        let verdict = Verdict::of(
            &app,
            platform.blobs.path(app.id()).exists(),
            Timestamp::now(),
        );
        let (transition, again) = match verdict {
            Verdict::End(to, reason) => (
                Some(Transition {
                    from: LIVE,
                    to,
                    reason: Some(reason),
                }),
                false,
            ),
            Verdict::LaunchAgain => (
                (app.status != AppStatus::Spawning).then(|| Transition {
                    from: &[AppStatus::Initializing],
                    to: AppStatus::Spawning,
                    reason: Some("the platform restarted; launching again".into()),
                }),
                true,
            ),
        };
        if let Some(transition) = transition {
            let now = Timestamp::now();
            platform
                .store
                .transition(app.id(), &transition, now)
                .await?;
            let reason = transition.reason.unwrap_or_default();
            tracing::warn!(app = %app.id(), name = app.app.name, to = %transition.to, reason, "recovered");
            platform.logs.write(
                app.id(),
                LogStream::Platform,
                format!("{}: {reason}", transition.to),
            );
            platform.logs.close(app.id());
        }
        if again {
            resumed.push(AppRecord {
                status: AppStatus::Spawning,
                ..app
            });
        }
    }
    let kept: HashSet<_> = resumed.iter().map(AppRecord::id).collect();
    platform.blobs.retain(&kept).map_err(RecoveryError::Blobs)?;
    for app in resumed {
        fleet.start(app).await?;
    }
    Ok(())
}

/// Why the platform cannot take up where it was.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bundles.
    #[error("the folder of bundles cannot be swept: {0}")]
    Blobs(#[source] std::io::Error),
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    End(AppStatus, String),
    LaunchAgain,
}

impl Verdict {
    fn of(app: &AppRecord, has_bundle: bool, now: Timestamp) -> Self {
        if let Some(reason) = why_it_ends(app, now) {
            return Self::End(AppStatus::Stopped, reason);
        }
        if app.status == AppStatus::Running {
            // Its keys were in the enclave only.
            let reason = "the platform restarted; deploy again";
            return Self::End(AppStatus::OnError, reason.into());
        }
        if !has_bundle {
            return Self::End(
                AppStatus::OnError,
                "its bundle is lost; deploy again".into(),
            );
        }
        Self::LaunchAgain
    }
}

/// Why an app is to end in any case: somebody asked for it, or its time is over.
pub(super) fn why_it_ends(app: &AppRecord, now: Timestamp) -> Option<String> {
    let expires_at = app.app.expires_at;
    let expired = (expires_at <= now).then(|| format!("expired at {expires_at}"));
    app.stop_reason.clone().or(expired)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use uuid::Uuid;

    use super::*;
    use crate::store::tests::app_named;
    use crate::store::{AccountId, ProjectId};

    #[test]
    fn each_state_has_its_verdict() {
        let new = app_named("x", ProjectId(Uuid::nil()), AccountId(Uuid::nil()));
        let now = new.created_at;
        let late = new.expires_at + SignedDuration::from_secs(1);
        let app = |status| AppRecord {
            app: new.clone(),
            port: None,
            ready_at: None,
            stopped_at: None,
            status,
            status_reason: None,
            stop_reason: None,
            confinement: Vec::new(),
        };
        let ended = |verdict| match verdict {
            Verdict::End(status, _) => Some(status),
            Verdict::LaunchAgain => None,
        };
        for status in [AppStatus::Spawning, AppStatus::Initializing] {
            assert_eq!(Verdict::of(&app(status), true, now), Verdict::LaunchAgain);
            assert_eq!(
                ended(Verdict::of(&app(status), false, now)),
                Some(AppStatus::OnError)
            );
        }
        assert_eq!(
            ended(Verdict::of(&app(AppStatus::Running), true, now)),
            Some(AppStatus::OnError)
        );
        for status in LIVE {
            assert_eq!(
                ended(Verdict::of(&app(*status), true, late)),
                Some(AppStatus::Stopped)
            );
            let asked = AppRecord {
                stop_reason: Some("stopped by its owner".into()),
                ..app(*status)
            };
            assert_eq!(
                ended(Verdict::of(&asked, true, now)),
                Some(AppStatus::Stopped)
            );
        }
    }
}
