//! Stopping an app, and waiting for what a platform does.

use std::time::{Duration, Instant};

use mse_api::App;
use mse_workload::AppId;
use tokio::time::sleep;

use crate::api::ApiClient;
use crate::exit::Exit;
use crate::failure::Failure;

/// How long an app may take to stop.
const STOPPING: Duration = Duration::from_secs(60);

/// Stops the app and waits until it has ended. An app that has ended already is no failure.
pub(crate) async fn stop_and_wait(api: &ApiClient, id: AppId) -> Result<App, Failure> {
    let app = api.app(id).await?;
    if app.status.is_terminated() {
        return Ok(app);
    }
    api.stop(id).await?;
    let began = Instant::now();
    loop {
        let app = api.app(id).await?;
        if app.status.is_terminated() {
            return Ok(app);
        }
        if began.elapsed() > STOPPING {
            return Err(Failure::new(
                Exit::TimedOut,
                format!(
                    "the app `{id}` has not stopped after {} s",
                    STOPPING.as_secs()
                ),
            )
            .with_hint("`mse status ID` shows how far it is"));
        }
        sleep(pause_after(began.elapsed())).await;
    }
}

/// Short at first, so that a quick platform is not waited for; long later, to be no burden.
pub(super) fn pause_after(elapsed: Duration) -> Duration {
    match elapsed.as_secs() {
        0..10 => Duration::from_millis(50),
        10..60 => Duration::from_millis(500),
        _ => Duration::from_secs(3),
    }
}
