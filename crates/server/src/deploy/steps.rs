//! The steps of one app's life.
//!
//! | step | state | left behind by a crash | mended by |
//! | --- | --- | --- | --- |
//! | accepted | `spawning` | row and bundle | preparing again |
//! | preparing the runtime | `spawning` | half an environment | the environment's own lock and marker |
//! | launching | `spawning` | an enclave whose socket is closed | it ends itself; then launching again |
//! | awaiting its secrets | `initializing` | the same | `spawning`, launching again |
//! | running | `running` | the same; its keys are gone with it | `on_error` |
//!
//! Undo is the same from everywhere: routes withdrawn, enclave stopped, state written down,
//! bundle removed.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use mse_api::{AppStatus, LogStream};
use mse_runtime::process::EnclaveEvent;
use mse_workload::launch::Phase;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::launcher::{AppLaunch, Launched, Prepared};
use super::{Platform, Stop, Supervised};
use crate::gateway::{OpenRoute, RouteSpec};
use crate::store::{AppRecord, LIVE, StoreError, Transition};

/// Takes an app from where it is to its end, and writes everything down.
pub(super) async fn supervise(
    platform: &Arc<Platform>,
    app: AppRecord,
    supervised: &Supervised,
    stop: watch::Receiver<Option<Stop>>,
) {
    let task = tokio::spawn(run(
        Arc::clone(platform),
        app.clone(),
        supervised.clone(),
        stop,
    ));
    // A panic drops the enclave's handle, which kills it, and the route, which closes it.
    let ending = task
        .await
        .unwrap_or_else(|_| Ending::failed("the platform failed; its log says how"));
    supervised.pid.store(0, Ordering::Relaxed);
    if let Err(error) = finish(platform, &app, ending).await {
        tracing::error!(app = %app.id(), %error, "the end of an app is not written down yet");
    }
}

async fn run(
    platform: Arc<Platform>,
    app: AppRecord,
    supervised: Supervised,
    stop: watch::Receiver<Option<Stop>>,
) -> Ending {
    let mut life = Life {
        platform: &platform,
        app: &app,
        supervised: &supervised,
        enclave: None,
        waits_for: None,
        route: None,
    };
    let ending = tokio::select! {
        biased;
        stop = asked(stop) => match stop {
            Stop::ForGood { reason } => Ending::Stopped { reason },
            Stop::PlatformStops => Ending::Interrupted,
        },
        () = until(app.app.expires_at) => Ending::Stopped {
            reason: format!("expired at {}", app.app.expires_at),
        },
        ending = life.live() => ending,
    };
    life.end().await;
    ending
}

/// How an app ended.
#[derive(Debug)]
pub(super) enum Ending {
    Failed { reason: String },
    Stopped { reason: String },
    Interrupted,
}

impl Ending {
    pub(super) fn stopped(reason: impl Into<String>) -> Self {
        Self::Stopped {
            reason: reason.into(),
        }
    }

    pub(super) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed {
            reason: reason.into(),
        }
    }
}

impl Ending {
    /// Adds what the start was waiting for.
    fn because(self, why: Option<String>) -> Self {
        match (self, why) {
            (Self::Failed { reason }, Some(why)) => Self::failed(format!("{reason}; {why}")),
            (ending, _) => ending,
        }
    }
}

impl From<StoreError> for Ending {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "an app ends because the database fails");
        Self::failed("the platform's database failed")
    }
}

/// One app between its first step and its end.
struct Life<'a> {
    platform: &'a Platform,
    app: &'a AppRecord,
    supervised: &'a Supervised,
    enclave: Option<Launched>,
    /// Why it does not run yet, as whoever is to run it says.
    waits_for: Option<String>,
    route: Option<OpenRoute>,
}

impl Life<'_> {
    async fn live(&mut self) -> Ending {
        match self.steps().await {
            Err(ending) => ending,
        }
    }

    async fn steps(&mut self) -> Result<Infallible, Ending> {
        let prepared = self.prepare().await?;
        self.launch(prepared).await?;
        let patience = self.platform.launcher.patience();
        let started = within(
            patience,
            "the enclave did not start",
            self.until_listening(),
        )
        .await;
        let port = started.map_err(|ending| ending.because(self.waits_for.take()))?;
        self.open_route(port).await?;
        self.reach(AppStatus::Initializing, "waiting for its secrets")
            .await?;
        let patience = self.platform.provisioning_timeout + PROVISIONING_SLACK;
        // An app may be up before anyone heard that it starts.
        let provisioned = self.until_phase(&[Phase::Starting, Phase::Running]);
        if within(patience, "no secrets came in time", provisioned).await? == Phase::Starting {
            self.doing("starting the app").await?;
            let up = self.until_phase(&[Phase::Running]);
            within(APP_STARTING, "the app did not start", up).await?;
        }
        self.reach(AppStatus::Running, "it answers").await?;
        loop {
            self.next_phase().await?;
        }
    }

    async fn prepare(&self) -> Result<Prepared, Ending> {
        let app = &self.app.app;
        let runtime = &app.workload.image.name;
        self.doing(&format!("preparing the runtime `{runtime}`"))
            .await?;
        let prepared = self.platform.launcher.prepare(app).await;
        prepared.map_err(Ending::failed)
    }

    async fn launch(&mut self, prepared: Prepared) -> Result<(), Ending> {
        self.doing("launching the enclave").await?;
        let launch = AppLaunch {
            app: &self.app.app,
            bundle: self.platform.blobs.path(self.app.id()),
            provisioning_timeout: self.platform.provisioning_timeout,
        };
        let enclave = self.platform.launcher.launch(prepared, launch).await;
        let enclave = enclave.map_err(Ending::failed)?;
        self.say(match enclave.measurement() {
            Some(measurement) => format!("launched with measurement {measurement}"),
            None => "launched".to_owned(),
        });
        let pid = enclave.pid().unwrap_or_default();
        self.supervised.pid.store(pid, Ordering::Relaxed);
        self.enclave = Some(enclave);
        Ok(())
    }

    /// The enclave is ready once it has said both where it listens and that it waits.
    async fn until_listening(&mut self) -> Result<u16, Ending> {
        let (mut port, mut waiting) = (None, false);
        loop {
            match self.next_milestone().await? {
                Milestone::Listening(heard) => port = Some(heard),
                Milestone::Phase(phase) => waiting |= phase == Phase::AwaitingProvisioning,
            }
            if let (Some(port), true) = (port, waiting) {
                return Ok(port);
            }
        }
    }

    async fn until_phase(&mut self, awaited: &[Phase]) -> Result<Phase, Ending> {
        loop {
            let phase = self.next_phase().await?;
            if awaited.contains(&phase) {
                return Ok(phase);
            }
        }
    }

    async fn next_phase(&mut self) -> Result<Phase, Ending> {
        loop {
            if let Milestone::Phase(phase) = self.next_milestone().await? {
                return Ok(phase);
            }
        }
    }

    /// The next thing that matters for the state; the rest is written down on the way.
    async fn next_milestone(&mut self) -> Result<Milestone, Ending> {
        let gone = || Ending::failed("the enclave is gone");
        loop {
            let enclave = self.enclave.as_mut().ok_or_else(gone)?;
            match enclave.next().await.ok_or_else(gone)? {
                EnclaveEvent::Listening { port } => return Ok(Milestone::Listening(port)),
                EnclaveEvent::Waiting { reason } => {
                    self.doing(&format!("waiting: {reason}")).await?;
                    self.waits_for = Some(reason);
                }
                EnclaveEvent::Phase(Phase::Failed { reason }) => {
                    return Err(Ending::Failed { reason });
                }
                EnclaveEvent::Phase(Phase::Stopped { reason }) => {
                    return Err(Ending::Stopped { reason });
                }
                EnclaveEvent::Phase(phase) => return Ok(Milestone::Phase(phase)),
                EnclaveEvent::Confinement(all) => {
                    let (store, id) = (&self.platform.store, self.app.id());
                    persistently(|| store.set_confinement(id, &all)).await?;
                }
                EnclaveEvent::Log { stream, text } => self.log(stream, text),
                // An app is no service.
                EnclaveEvent::Health { .. } | EnclaveEvent::ServiceEnded(_) => {}
                EnclaveEvent::Exited { how } => {
                    self.enclave = None;
                    return Err(Ending::failed(format!(
                        "the enclave ended by itself: {how}"
                    )));
                }
            }
        }
    }

    async fn open_route(&mut self, port: u16) -> Result<(), Ending> {
        let enclave = self.enclave.as_ref();
        let enclave = enclave.ok_or_else(|| Ending::failed("the enclave is gone"))?;
        let route = self
            .platform
            .gateway
            .open(RouteSpec {
                origin: self.app.app.workload.tls.origin,
                domain: self.app.app.domain_name.clone(),
                config_domain: self.app.app.config_domain_name.clone(),
                upstream: enclave.upstream(port),
                measurement: enclave.measurement(),
                port: self.app.port,
                traffic: Arc::clone(&self.supervised.traffic),
            })
            .await
            .map_err(|error| Ending::failed(error.to_string()))?;
        if self.app.port != Some(route.port()) {
            persistently(|| self.platform.note_port(self.app, route.port())).await?;
        }
        self.route = Some(route);
        Ok(())
    }

    async fn reach(&self, to: AppStatus, reason: &'static str) -> Result<(), Ending> {
        let transition = Transition {
            from: match to {
                AppStatus::Initializing => &[AppStatus::Spawning],
                _ => &[AppStatus::Initializing],
            },
            to,
            reason: Some(reason.to_owned()),
        };
        let now = Timestamp::now();
        let (store, id) = (&self.platform.store, self.app.id());
        if !persistently(|| store.transition(id, &transition, now)).await? {
            return Err(Ending::failed("the platform lost track of this app"));
        }
        self.say(format!("{to}: {reason}"));
        Ok(())
    }

    async fn doing(&self, what: &str) -> Result<(), Ending> {
        self.say(what.to_owned());
        let (store, id) = (&self.platform.store, self.app.id());
        Ok(persistently(|| store.set_status_reason(id, what)).await?)
    }

    /// Takes the route away and ends the enclave, in that order, however far both came.
    async fn end(mut self) {
        if let Some(route) = &self.route {
            route.withdraw();
        }
        let Some(mut enclave) = self.enclave.take() else {
            return;
        };
        enclave.stop(GRACE);
        // The runtime kills it after the grace, so this ends.
        while let Some(event) = enclave.next().await {
            match event {
                EnclaveEvent::Log { stream, text } => self.log(stream, text),
                EnclaveEvent::Exited { how } => self.say(format!("the enclave has ended: {how}")),
                _ => (),
            }
        }
    }

    fn say(&self, text: String) {
        tracing::info!(app = %self.app.id(), name = self.app.app.name, "{text}");
        self.log(LogStream::Platform, text);
    }

    fn log(&self, stream: LogStream, text: String) {
        self.platform.logs.write(self.app.id(), stream, text);
    }
}

enum Milestone {
    Listening(u16),
    Phase(Phase),
}

/// Writes the end down, and removes what an ended app does not need.
pub(super) async fn finish(
    platform: &Platform,
    app: &AppRecord,
    ending: Ending,
) -> Result<(), StoreError> {
    let id = app.id();
    let transition = match ending {
        Ending::Failed { reason } => Transition {
            from: LIVE,
            to: AppStatus::OnError,
            reason: Some(reason),
        },
        Ending::Stopped { reason } => Transition {
            from: LIVE,
            to: AppStatus::Stopped,
            reason: Some(reason),
        },
        // What had no secrets yet is launched again by the next start.
        Ending::Interrupted => Transition {
            from: &[AppStatus::Running],
            to: AppStatus::OnError,
            reason: Some("the platform was stopped; deploy again".into()),
        },
    };
    let now = Timestamp::now();
    let write = || platform.store.transition(id, &transition, now);
    // What is not written down by then is mended when the database is back, or by the next start.
    let written = match timeout(END_WRITTEN, persistently(write)).await {
        Ok(written) => written,
        Err(_) => write().await,
    };
    if !written? {
        return Ok(());
    }
    let reason = transition.reason.unwrap_or_default();
    tracing::info!(app = %id, name = app.app.name, status = %transition.to, reason, "ended");
    platform.logs.write(
        id,
        LogStream::Platform,
        format!("{}: {reason}", transition.to),
    );
    platform.blobs.remove(id);
    Ok(())
}

/// Asks again for as long as the database is out of reach: nothing goes on meanwhile, and whoever
/// waits may be stopped.
async fn persistently<T, F>(ask: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match Box::pin(ask()).await {
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "a step of an app waits for the database");
                sleep(ASKING_AGAIN).await;
            }
            answer => return answer,
        }
    }
}

async fn within<T>(
    patience: Duration,
    otherwise: &'static str,
    step: impl Future<Output = Result<T, Ending>>,
) -> Result<T, Ending> {
    timeout(patience, step).await.unwrap_or_else(|_| {
        let seconds = patience.as_secs();
        Err(Ending::failed(format!(
            "{otherwise}: waited for {seconds} s"
        )))
    })
}

async fn asked(mut stop: watch::Receiver<Option<Stop>>) -> Stop {
    let asked = stop.wait_for(Option::is_some).await.ok();
    match asked.and_then(|asked| asked.clone()) {
        Some(stop) => stop,
        // Nobody is left who could ask.
        None => std::future::pending().await,
    }
}

/// By the wall clock, which runs on while the machine sleeps and may be set.
async fn until(time: Timestamp) {
    loop {
        let left = time.duration_since(Timestamp::now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => sleep(left.min(Duration::from_secs(30))).await,
            _ => return,
        }
    }
}

/// How long an app may take to end in order.
const GRACE: Duration = Duration::from_secs(10);
/// Between two attempts to write something down.
pub(super) const ASKING_AGAIN: Duration = Duration::from_secs(1);
/// So long the end of an app waits for the database. A platform that stops has not much longer.
const END_WRITTEN: Duration = Duration::from_secs(20);
/// The enclave watches the time itself; this is for one that does not.
const PROVISIONING_SLACK: Duration = Duration::from_secs(30);
/// Installing what an app requires may be slow.
const APP_STARTING: Duration = Duration::from_secs(30 * 60);
