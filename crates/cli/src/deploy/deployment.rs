//! The steps of a deployment. Whatever fails after the platform may know of the app, and also
//! an interruption, ends with the app stopped and its context removed: nothing is left running.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mse_api::{App, AppStatus, CreateApp};
use mse_crypto::{CodeKey, Zeroizing};
use mse_ratls::{AttestedChannel, Endpoint, ProvisioningPayload};
use mse_workload::bundle::{self, NonceSource, SealedBundle, SourceSalt};
use mse_workload::{AppId, Workload};
use tokio::time::sleep;
use uuid::Uuid;

use super::agreement::Asked;
use super::plan::Plan;
use super::reservation::Reservation;
use super::stopping::{pause_after, stop_and_wait};
use crate::api::{ApiClient, AppQuery, Upload};
use crate::context::{
    Context, ContextDir, ContextStore, Deployed, FormatVersion, Instance, Record, State,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::private_file;
use crate::reference::EnclaveReference;
use crate::ui::{Ui, counted};
use crate::verification::{Verifier, expected_measurement, measurement_of, reachable, tee_of};

/// How long the platform may be out of reach while we wait for the app.
const OUTAGE: Duration = Duration::from_secs(60);

/// So much of the log of an app that failed is shown.
const LAST_LINES: usize = 15;

/// How a deployment is done.
pub(crate) struct Options {
    /// With which enclave program the measurement is compared.
    pub(crate) verify: Verify,
    /// Where the user wants the archive and the certificate as well.
    pub(crate) workspace: Option<PathBuf>,
    /// How long each wait for the platform may take.
    pub(crate) patience: Duration,
}

/// Whether the measurement is compared before the secrets are handed over.
#[derive(Clone, Debug)]
pub(crate) enum Verify {
    /// With that of this program.
    Against(EnclaveReference),
    /// Not at all.
    Nothing,
}

/// An app that runs.
pub(crate) struct Outcome {
    pub(crate) app: App,
    pub(crate) deployed: Deployed,
    /// Where the certificate was saved.
    pub(crate) certificate: PathBuf,
}

/// A deployment under way.
pub(crate) struct Deployment<'a> {
    pub(crate) ui: &'a Ui,
    pub(crate) api: &'a ApiClient,
    pub(crate) contexts: &'a ContextStore,
    pub(crate) verifier: &'a Verifier,
    pub(crate) plan: &'a Plan,
    pub(crate) reservation: &'a Reservation,
    pub(crate) options: &'a Options,
}

/// How far a deployment came: decides what must be undone.
#[derive(Clone, Debug)]
enum Reached {
    /// Nothing outside this machine.
    Local,
    /// The platform may have heard of the app, or not.
    Uploading,
    /// The app exists.
    Created(AppId),
}

/// What a deployment has made so far.
struct Made {
    key: CodeKey,
    salt: SourceSalt,
    idempotency: Uuid,
    dir: Mutex<ContextDir>,
    reached: Mutex<Reached>,
}

impl Deployment<'_> {
    /// Encrypts, uploads, verifies and provisions. `replaced` is awaited between the first two:
    /// it stops what must give way, if the user agrees.
    pub(crate) async fn run(
        &self,
        replaced: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Outcome, Failure> {
        let idempotency = Uuid::new_v4();
        let made = Made {
            key: CodeKey::generate(),
            salt: SourceSalt::generate(),
            idempotency,
            dir: Mutex::new(self.contexts.create(idempotency)?),
            reached: Mutex::new(Reached::Local),
        };
        let outcome = tokio::select! {
            outcome = self.steps(&made, replaced) => outcome,
            interruption = interrupted() => Err(interruption),
        };
        match outcome {
            Ok(outcome) => Ok(outcome),
            Err(failure) => Err(self.undo(&made, failure).await),
        }
    }

    async fn steps(
        &self,
        made: &Made,
        replaced: impl Future<Output = Result<(), Failure>>,
    ) -> Result<Outcome, Failure> {
        let sealed = self.encrypt(made).await?;
        // The key is on disk before anything depends on it.
        made.dir().save(&self.context(made, None))?;
        self.fill_workspace(made)?;
        replaced.await?;

        let request = self.plan.request(&sealed);
        let app = self.upload(made, &request, &sealed).await?;
        self.ui
            .say(&format!("To see what it does: mse logs {}", app.id))?;
        let app = self.wait_for(app.id, AppStatus::Initializing).await?;
        let asked = Asked {
            request: &request,
            image: &self.plan.image,
            health: &self.plan.health,
            origin: self.plan.origin,
            sealed: &sealed,
            hardware: &self.reservation.hardware,
        };
        let workload = asked.agree(&app)?;
        let (channel, deployed) = self.verify(&app, workload).await?;
        let certificate = self.keep_certificate(made, &channel)?;
        let instance = Instance {
            id: app.id,
            config_domain_name: app.config_domain_name.clone(),
            enclave_size: deployed.workload.resources.memory_mib,
            expires_at: app.expires_at,
            origin: self.plan.origin,
            nonces: sealed.nonces.clone(),
        };
        // Whatever happens from here on, the app can be verified with what is on disk.
        let mut context = self.context(made, Some((instance, deployed.clone())));
        made.dir().save(&context)?;
        self.provision(made, channel, app.id).await?;
        let running = self.wait_for(app.id, AppStatus::Running).await?;

        if let Some(record) = &mut context.record {
            record.state = State::Running;
        }
        made.dir().save(&context)?;
        Ok(Outcome {
            // Only what may have changed: the rest was compared when it was first told.
            app: App {
                status: running.status,
                ready_at: running.ready_at,
                status_reason: running.status_reason,
                confinement: running.confinement,
                ..app
            },
            deployed,
            certificate,
        })
    }

    async fn encrypt(&self, made: &Made) -> Result<SealedBundle, Failure> {
        let tree = self.plan.tree.clone();
        let files = tree.files().len();
        let bar = self.ui.bar("Encrypting your code", tree.size());
        let counter = bar.counter();
        let archive = made.dir().archive();
        let (key, salt) = (made.key.clone(), made.salt.clone());
        let sealed = tokio::task::spawn_blocking(move || {
            let file = create_archive(&archive)?;
            let sealed = bundle::seal(&tree, &key, &NonceSource::Fresh, &salt, &file, &|bytes| {
                counter.add(bytes);
            })
            .map_err(|error| Failure::other(error.to_string()))?;
            file.sync_all()
                .map_err(|error| Failure::file("write", &archive, &error))?;
            Ok::<_, Failure>(sealed)
        })
        .await
        .map_err(|error| Failure::other(format!("the encryption broke off: {error}")))??;
        let files = counted(files, "file", "files");
        bar.done(&format!(
            "Your code is encrypted: {files}, {} bytes",
            sealed.size
        ));
        Ok(sealed)
    }

    fn fill_workspace(&self, made: &Made) -> Result<(), Failure> {
        let Some(workspace) = &self.options.workspace else {
            return Ok(());
        };
        std::fs::create_dir_all(workspace)
            .map_err(|error| Failure::file("create the folder", workspace, &error))?;
        let copy = workspace.join("app.tar");
        std::fs::copy(made.dir().archive(), &copy)
            .map(drop)
            .map_err(|error| Failure::file("write", &copy, &error))
    }

    async fn upload(
        &self,
        made: &Made,
        request: &CreateApp,
        sealed: &SealedBundle,
    ) -> Result<App, Failure> {
        let bar = self.ui.bar("Uploading the encrypted code", sealed.size);
        let archive = made.dir().archive();
        let upload = Upload {
            key: made.idempotency,
            conf: request,
            archive: &archive,
        };
        made.reach(Reached::Uploading);
        let app = match self.api.create(&upload, &bar.counter()).await {
            Ok(app) => app,
            Err(failure) => {
                if !failure.leaves_doubt() {
                    made.reach(Reached::Local);
                }
                return Err(failure.into());
            }
        };
        made.reach(Reached::Created(app.id));
        made.rename(app.id)?;
        bar.done(&format!("App created: {}", app.id));
        Ok(app)
    }

    /// Waits until the app has come to `wanted`.
    async fn wait_for(&self, id: AppId, wanted: AppStatus) -> Result<App, Failure> {
        let what = match wanted {
            AppStatus::Running => "Waiting for the app to start",
            _ => "Waiting for the enclave",
        };
        let step = self.ui.step(what);
        let began = Instant::now();
        let mut outage: Option<Instant> = None;
        loop {
            let app = match self.api.app(id).await {
                Ok(app) => app,
                // A platform that is out of reach for a moment is no reason to undo everything.
                Err(failure) if failure.is_outage() => {
                    let since = *outage.get_or_insert_with(Instant::now);
                    if since.elapsed() >= OUTAGE.min(self.options.patience) {
                        return Err(failure.into());
                    }
                    step.note("the platform does not answer");
                    sleep(pause_after(began.elapsed())).await;
                    continue;
                }
                Err(failure) => return Err(failure.into()),
            };
            outage = None;
            match (app.status, wanted) {
                (status, wanted) if status == wanted => {
                    step.done(match wanted {
                        AppStatus::Running => "Your app runs",
                        _ => "The enclave is there",
                    });
                    return Ok(app);
                }
                (AppStatus::OnError | AppStatus::Stopped, _) => {
                    drop(step);
                    self.show_last_words(id).await;
                    return Err(ended(&app));
                }
                (AppStatus::Running, AppStatus::Initializing) => {
                    return Err(Failure::new(
                        Exit::Refused,
                        "the app runs already, without the secrets that only you have: something else was started",
                    ));
                }
                (AppStatus::Spawning, AppStatus::Running) => {
                    return Err(Failure::new(
                        Exit::Platform,
                        "the platform started the enclave again, which loses its secrets",
                    )
                    .with_hint("deploy again"));
                }
                _ => {}
            }
            if let Some(reason) = &app.status_reason {
                step.note(reason);
            }
            if began.elapsed() >= self.options.patience {
                return Err(Failure::new(
                    Exit::TimedOut,
                    format!(
                        "the app was `{}` for longer than {} minutes",
                        app.status,
                        self.options.patience.as_secs() / 60
                    ),
                )
                .with_hint("the platform may be busy: try later, or with a longer `--timeout`"));
            }
            sleep(pause_after(began.elapsed())).await;
        }
    }

    /// What an app said before it ended says why, mostly.
    async fn show_last_words(&self, id: AppId) {
        // The failure itself is told in any case.
        let Ok(logs) = self.api.logs(id).await else {
            return;
        };
        let lines: Vec<&str> = logs.stdout.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        self.ui
            .warn(format!("the last of its log:\n  {}", last.join("\n  ")));
    }

    /// Connects to the enclave and compares it with what we deployed.
    async fn verify(
        &self,
        app: &App,
        workload: Workload,
    ) -> Result<(AttestedChannel, Deployed), Failure> {
        let step = self.ui.step("Verifying the enclave");
        let (expected, enclave) = match &self.options.verify {
            Verify::Against(reference) => (
                Some(expected_measurement(
                    &app.tee,
                    &reference.digest,
                    &workload,
                )?),
                Some(reference.digest),
            ),
            Verify::Nothing => (None, None),
        };
        let endpoint = Endpoint {
            address: reachable(&app.gateway),
            server_name: app.config_domain_name.clone(),
        };
        let channel = self.verifier.connect(&endpoint, expected).await?;
        let measurement = measurement_of(channel.attestation()).ok_or_else(|| {
            Failure::new(
                Exit::Refused,
                "the evidence is not of the SGX form, whose measurement a deployment is kept by",
            )
            .with_hint("deploy to a platform that runs SGX or simulated enclaves")
        })?;
        let tee = tee_of(channel.attestation());
        step.done(match expected {
            Some(_) => "Verification successful: the enclave runs what you deployed",
            None => "The enclave's evidence is genuine; what it runs was NOT compared",
        });
        self.ui
            .say(&format!("The code fingerprint is {measurement}"))?;
        let deployed = Deployed {
            workload,
            measurement,
            enclave,
            gateway: app.gateway.clone(),
            tee: tee.to_string(),
            verified: expected.is_some(),
        };
        Ok((channel, deployed))
    }

    /// Saves the certificate, now that it was verified.
    fn keep_certificate(&self, made: &Made, channel: &AttestedChannel) -> Result<PathBuf, Failure> {
        let pem = channel.attestation().certificate.to_pem();
        let mut path = made.dir().certificate();
        private_file::write(&path, pem.as_bytes())?;
        if let Some(workspace) = &self.options.workspace {
            path = workspace.join("ratls.pem");
            private_file::write(&path, pem.as_bytes())?;
        }
        let what = match self.options.verify {
            Verify::Against(_) => "The verified certificate has been saved at",
            Verify::Nothing => "The certificate (code NOT compared) has been saved at",
        };
        self.ui.say(&format!("{what}: {}", path.display()))?;
        Ok(path)
    }

    async fn provision(
        &self,
        made: &Made,
        mut channel: AttestedChannel,
        app_id: AppId,
    ) -> Result<(), Failure> {
        let step = self
            .ui
            .step("Handing over keys and secrets, sealed to the enclave");
        let checked = &self.plan.checked;
        let secrets = checked
            .secrets
            .as_ref()
            .map(|secrets| {
                let text = std::str::from_utf8(secrets.expose())
                    .map_err(|_| Failure::other("the secrets are not UTF-8"))?;
                Ok::<_, Failure>(Zeroizing::new(text.to_owned()))
            })
            .transpose()?;
        let payload = ProvisioningPayload {
            app_id,
            code_key: made.key.clone(),
            source_salt: made.salt.clone(),
            secrets,
            tls_private_key: checked
                .ssl
                .as_ref()
                .map(|ssl| Zeroizing::new(ssl.private_key.expose().to_owned())),
        };
        channel
            .provision(&payload)
            .await
            .map_err(|error| Failure::new(Exit::Platform, error.to_string()))?;
        step.done("The enclave has its keys and secrets");
        Ok(())
    }

    fn context(&self, made: &Made, running: Option<(Instance, Deployed)>) -> Context {
        let mut config = self.plan.context_config();
        config.code_key = Some(made.key.clone());
        let (instance, deployed) = running.unzip();
        Context {
            version: FormatVersion::V2,
            config,
            instance,
            record: Some(Record {
                state: State::Pending,
                source_salt: made.salt.clone(),
                server: self.api.server().clone(),
                deployed,
            }),
        }
    }

    /// Leaves nothing running and nothing behind, and says so in the failure.
    async fn undo(&self, made: &Made, failure: Failure) -> Failure {
        let undone = match made.reached() {
            Reached::Local => Ok(None),
            Reached::Created(id) => self.stop_created(id).await.map(Some),
            Reached::Uploading => self.stop_unacknowledged(made).await,
        };
        if undone.is_ok()
            // A context that cannot be removed is only litter; what matters is said below.
            && let Err(error) = made.dir().remove()
        {
            tracing::warn!(%error, "the context could not be removed");
        }
        match undone {
            Ok(Some(id)) => failure.and(&format!(
                "the app `{id}` was stopped, nothing is left running"
            )),
            Ok(None) => failure,
            Err(undo) => failure
                .and(&format!("and the app could NOT be stopped: {undo}"))
                .with_hint("see with `mse list` what runs, and stop it with `mse stop ID`; its context, with the key, was kept"),
        }
    }

    async fn stop_created(&self, id: AppId) -> Result<AppId, Failure> {
        let step = self.ui.step("Stopping the app again");
        stop_and_wait(self.api, id).await?;
        step.done("The app was stopped again");
        Ok(id)
    }

    /// The upload broke off: if the platform made an app of it all the same, it is the one that
    /// was made with our key.
    async fn stop_unacknowledged(&self, made: &Made) -> Result<Option<AppId>, Failure> {
        let query = AppQuery {
            idempotency_key: Some(made.idempotency),
            ..AppQuery::default()
        };
        // The platform may be about to take in what has arrived.
        for _ in 0..10 {
            if let Some(app) = self.api.apps(&query).await?.first() {
                return self.stop_created(app.id).await.map(Some);
            }
            sleep(Duration::from_millis(300)).await;
        }
        Ok(None)
    }
}

impl Made {
    fn dir(&self) -> ContextDir {
        self.dir
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn rename(&self, id: AppId) -> Result<(), Failure> {
        self.dir
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rename(id.0)
    }

    fn reach(&self, reached: Reached) {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = reached;
    }

    fn reached(&self) -> Reached {
        self.reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn ended(app: &App) -> Failure {
    let reason = app
        .status_reason
        .as_deref()
        .unwrap_or("no reason was given");
    Failure::new(
        Exit::Platform,
        format!("the app ended (`{}`): {reason}", app.status),
    )
    .with_hint(format!("`mse logs {}` shows its last words", app.id))
}

/// A new, empty file that only its owner may read.
fn create_archive(path: &Path) -> Result<std::fs::File, Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
        .open(path)
        .map_err(|error| Failure::file("write", path, &error))
}
