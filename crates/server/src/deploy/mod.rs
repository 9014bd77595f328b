//! Deployments: from an accepted request to a running app, and to its end.
//!
//! Every live app has one task that takes it through the [`steps`]. Each step is written down
//! before its effects are told to anyone, and each has its undo, so that a crash at any point is
//! mended by [`recovery`] at the next start.

mod certificate;
mod environments;
mod expiry;
mod launcher;
mod names;
mod outage;
mod recovery;
mod steps;
pub(crate) mod workload;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mse_api::LogStream;
use mse_workload::AppId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::blobs::BlobStore;
use crate::gateway::{Gateway, Traffic};
use crate::logbook::LogBook;
use crate::store::{AppRecord, Store, StoreError};

pub use environments::{CuratedEnvironments, Environments};
pub use launcher::Launcher;
pub use outage::mend_after_outages;
pub use recovery::RecoveryError;

/// All live apps of this platform. Cloning it is cheap.
#[derive(Clone)]
pub struct Fleet {
    platform: Arc<Platform>,
}

/// What it takes to run apps.
pub struct Platform {
    /// Who remembers.
    pub store: Store,
    /// Where bundles are.
    pub blobs: BlobStore,
    /// Where apps' output goes.
    pub logs: LogBook,
    /// Through whom apps are reached.
    pub gateway: Gateway,
    /// Who launches enclaves.
    pub launcher: Launcher,
    /// How long an enclave waits for its secrets.
    pub provisioning_timeout: Duration,
    live: Mutex<Live>,
}

impl Platform {
    /// Puts the parts together. Nothing runs yet.
    pub fn new(
        store: Store,
        blobs: BlobStore,
        logs: LogBook,
        gateway: Gateway,
        launcher: Launcher,
        provisioning_timeout: Duration,
    ) -> Self {
        Self {
            store,
            blobs,
            logs,
            gateway,
            launcher,
            provisioning_timeout,
            live: Mutex::default(),
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fleet {
    /// Mends what an earlier run left, and takes up again what can be.
    pub async fn resume(platform: Platform) -> Result<Self, RecoveryError> {
        let fleet = Self {
            platform: Arc::new(platform),
        };
        recovery::recover(&fleet).await?;
        Ok(fleet)
    }

    /// The parts that it runs on.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// To be held while the row of an app is written and the app is started.
    pub(crate) fn registering(&self, id: AppId) -> Registering {
        self.platform.live().registering.insert(id);
        Registering {
            platform: Arc::clone(&self.platform),
            id,
        }
    }

    /// Gives an accepted app its port and starts it. While the platform is stopping the app is
    /// left for the next start.
    pub async fn start(&self, mut app: AppRecord) -> Result<AppRecord, StoreError> {
        let id = app.id();
        if app.port.is_none() {
            match self.platform.pick_port(&app).await {
                Ok(port) => app.port = port,
                Err(error) => {
                    let failed = steps::Ending::failed("the platform's database failed");
                    steps::finish(&self.platform, &app, failed).await?;
                    return Err(error);
                }
            }
        }
        // From here until its end the log is open, so that whoever follows it hears of the end.
        let accepted = "accepted".to_owned();
        self.platform.logs.write(id, LogStream::Platform, accepted);
        let supervised = Supervised::default();
        let mut stop = supervised.stop.subscribe();
        stop.mark_unchanged();
        {
            let mut live = self.platform.live();
            if live.closing {
                return Ok(app);
            }
            live.apps.insert(id, supervised.clone());
        }
        // It may have been stopped before anyone could find its supervisor.
        match self.platform.store.app(id).await {
            Ok(Some(current)) if current.status.is_terminated() => {
                self.platform.live().apps.remove(&id);
                supervised.done.cancel();
                return Ok(current);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(app = %id, %error, "whether it was stopped is not known"),
        }
        let platform = Arc::clone(&self.platform);
        let record = app.clone();
        tokio::spawn(async move {
            steps::supervise(&platform, record, &supervised, stop).await;
            platform.live().apps.remove(&id);
            platform.logs.close(id);
            supervised.done.cancel();
        });
        Ok(app)
    }

    /// Stops an app, and waits until it has ended or `patience` is over.
    pub async fn stop(
        &self,
        id: AppId,
        reason: &str,
        patience: Duration,
    ) -> Result<(), StoreError> {
        self.platform.store.ask_to_stop(id, reason).await?;
        if self.supervised(id).is_none() {
            // Nothing runs: its end only has to be written down.
            if let Some(app) = self.platform.store.app(id).await? {
                let stopped = steps::Ending::stopped(reason);
                steps::finish(&self.platform, &app, stopped).await?;
            }
        }
        // It may have been started meanwhile.
        let Some(supervised) = self.supervised(id) else {
            return Ok(());
        };
        supervised.ask(Stop::ForGood {
            reason: reason.to_owned(),
        });
        // An app that takes longer goes on ending by itself.
        let _ = tokio::time::timeout(patience, supervised.done.cancelled()).await;
        Ok(())
    }

    /// Ends every enclave because the platform stops, and waits for it.
    pub async fn shut_down(&self) {
        let apps: Vec<_> = {
            let mut live = self.platform.live();
            live.closing = true;
            live.apps.values().cloned().collect()
        };
        for app in &apps {
            app.ask(Stop::PlatformStops);
        }
        for app in apps {
            app.done.cancelled().await;
        }
    }

    /// Whether somebody writes down how the app goes on; also while the platform stops, which
    /// leaves apps to the next start.
    fn is_looked_after(&self, id: AppId) -> bool {
        let live = self.platform.live();
        live.closing || live.apps.contains_key(&id) || live.registering.contains(&id)
    }

    /// The live app's handle.
    pub(crate) fn supervised(&self, id: AppId) -> Option<Supervised> {
        self.platform.live().apps.get(&id).cloned()
    }
}

#[derive(Default)]
struct Live {
    apps: HashMap<AppId, Supervised>,
    /// Whose row is being written, and who are not started yet.
    registering: HashSet<AppId>,
    closing: bool,
}

/// An app from before its row is written until it was started: it has no supervisor, and is not
/// forgotten.
pub(crate) struct Registering {
    platform: Arc<Platform>,
    id: AppId,
}

impl Drop for Registering {
    fn drop(&mut self) {
        self.platform.live().registering.remove(&self.id);
    }
}

/// What is known of a live app besides its row.
#[derive(Clone)]
pub(crate) struct Supervised {
    stop: watch::Sender<Option<Stop>>,
    pid: Arc<AtomicU32>,
    /// What went through the gateway.
    pub(crate) traffic: Arc<Traffic>,
    /// Cancelled when it has ended, and everything of it is written down.
    pub(crate) done: CancellationToken,
}

impl Supervised {
    /// The root of the enclave's processes, once it was launched.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self.pid.load(Ordering::Relaxed) {
            0 => None,
            pid => Some(pid),
        }
    }

    fn ask(&self, stop: Stop) {
        self.stop.send_if_modified(|asked| {
            let first = asked.is_none();
            if first {
                *asked = Some(stop);
            }
            first
        });
    }
}

impl Default for Supervised {
    fn default() -> Self {
        Self {
            stop: watch::channel(None).0,
            pid: Arc::default(),
            traffic: Arc::default(),
            done: CancellationToken::new(),
        }
    }
}

/// Why an app that does well is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    /// Its owner wants it.
    ForGood { reason: String },
    /// The platform stops; what can be taken up again will be.
    PlatformStops,
}

impl Platform {
    /// The port that this app had last, or a free one, written down as the app's.
    async fn pick_port(&self, app: &AppRecord) -> Result<Option<u16>, StoreError> {
        let (project, name) = (app.app.project_id, app.app.name.as_str());
        let origin = app.app.workload.tls.origin;
        let last = self.store.last_port(project, name, origin).await?;
        let kept = self.store.kept_ports().await?;
        let Some(port) = self.gateway.free_port(last, &kept).await else {
            return Ok(None);
        };
        self.note_port(app, port).await?;
        Ok(Some(port))
    }

    async fn note_port(&self, app: &AppRecord, port: u16) -> Result<(), StoreError> {
        let origin = app.app.workload.tls.origin;
        self.store
            .keep_port(app.app.project_id, &app.app.name, origin, port)
            .await?;
        self.store.set_port(app.id(), port).await
    }
}
