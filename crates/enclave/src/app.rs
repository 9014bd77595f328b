//! The owner's app: decrypted into the sandbox's private memory, started, watched, stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use mse_crypto::Digest;
use mse_ratls::ProvisioningPayload;
use mse_workload::bundle::{FileMode as CodeMode, Unsealed};
use mse_workload::launch::{Confinement, Launch, Python};
use mse_workload::{Workload, image_digest};
use tokio::time::{Instant, sleep};

use crate::app_socket::{AppSocket, AppSocketError};
use crate::health::{self, Health};
use crate::output;
use crate::sandbox::{
    AppCommand, AppDirs, AppUid, Area, CodeAccess, FileMode, InvalidPath, InvalidPlan, LaunchPlan,
    Network, PrivateDir, PrivateFilesWriter, PrivatePath, ProcessLimits, ReadOnlyBind, RootBase,
    Sandbox, SandboxError, SandboxExit, SandboxHandle, SandboxPath, SandboxPlan, SocketDir,
    Spawned, TreePlan,
};
use crate::unsealing::{self, UnsealIntoError};

/// Where the code lies in the sandbox.
const CODE: &str = "/app";
/// The app's home.
const HOME: &str = "/root";
/// Where packages of `requirements.txt` go.
const DEPENDENCIES: &str = "/root/.deps";
/// The folder of `SECRETS_PATH`, where existing apps expect it.
const SECRETS: &str = "/root/.cache/mse";
const SECRETS_FILE: &str = "secrets.json";
/// The script that serves the app: in memory, from the bytes that were checked.
const SERVE_FILE: &str = "serve.py";
/// The folder of the app's socket, in the sandbox.
const RUN: &str = "/run/mse";
const SOCKET: &str = "app.sock";
/// The system's trust store, if it has one there.
const TRUST_STORE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How long an app may take until its health endpoint answers.
const START: Duration = Duration::from_secs(120);
/// How long it may answer there with anything but a success.
const REFUSING: Duration = Duration::from_secs(20);
/// Between two looks at the health endpoint.
const POLL: Duration = Duration::from_millis(20);

/// An app in its sandbox. Dropping it kills it.
pub(crate) struct App {
    handle: SandboxHandle,
    socket: AppSocket,
}

impl App {
    /// Makes the sandbox, decrypts the code into it and starts the app. The code is checked a
    /// second time on this way: the app starts only if it is, to the last byte, what was measured.
    pub(crate) async fn unpack(
        launch: &Launch,
        workload: &Workload,
        payload: &ProvisioningPayload,
    ) -> Result<Self, AppError> {
        check_image(&launch.python, workload)?;
        let plan = plan(launch, workload)?;
        let Spawned {
            handle,
            mut files,
            logs,
        } = Sandbox::new().spawn(&plan).await?;
        std::thread::spawn(move || output::print(logs));
        let unsealed = decrypt_into(&mut files, &launch.bundle, payload).await?;
        if unsealed.digest != workload.bundle || unsealed.commitment != workload.source_commitment {
            return Err(AppError::Changed);
        }
        let serve = PrivatePath::try_from(SERVE_FILE)?;
        files
            .put(
                Area::Secrets,
                &serve,
                FileMode::READABLE,
                launch.python.serve.as_bytes(),
            )
            .await?;
        if let Some(secrets) = &payload.secrets {
            let path = PrivatePath::try_from(SECRETS_FILE)?;
            files
                .put(Area::Secrets, &path, FileMode::SECRET, secrets.as_bytes())
                .await?;
        }
        files.finish().await?;
        Ok(Self {
            handle,
            socket: AppSocket::new(&launch.run_dir, SOCKET)?,
        })
    }

    /// What confines the app.
    pub(crate) async fn confinement(&self) -> Result<Vec<Confinement>, AppError> {
        let report = self.handle.report().await?;
        Ok(output::confinement(report))
    }

    /// Waits until the health endpoint answers well.
    pub(crate) async fn until_healthy(&self, workload: &Workload) -> Result<(), AppError> {
        let path = workload.health_endpoint.as_str();
        tokio::select! {
            exit = self.handle.wait() => return Err(AppError::Exited(exit?)),
            serving = self.handle.serving() => serving?,
        }
        let deadline = Instant::now() + START;
        let mut last = Health::NoAnswer;
        let mut answering: Option<Instant> = None;
        while Instant::now() < deadline {
            tokio::select! {
                exit = self.handle.wait() => return Err(AppError::Exited(exit?)),
                health = health::check(&self.socket, path) => match health {
                    Health::Well => return Ok(()),
                    health => last = health,
                },
            }
            // An app that is up and keeps saying no has another health endpoint, or a fault.
            match last {
                Health::Status(_) => {
                    if answering.get_or_insert_with(Instant::now).elapsed() > REFUSING {
                        break;
                    }
                }
                _ => answering = None,
            }
            sleep(POLL).await;
        }
        Err(AppError::Unhealthy(path.to_owned(), last))
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> AppSocket {
        self.socket.clone()
    }

    /// Returns when it ended by itself.
    pub(crate) async fn ended(&self) -> Result<AppError, AppError> {
        Ok(AppError::Exited(self.handle.wait().await?))
    }

    /// Asks it to end, and ends it after `grace`.
    pub(crate) async fn stop(&self, grace: Duration) {
        match self.handle.stop(grace).await {
            Ok(exit) => tracing::info!(%exit, "the app ended"),
            Err(error) => tracing::warn!(%error, "the app could not be stopped"),
        }
    }
}

/// The lock and the serve script must be the measured image's.
fn check_image(python: &Python, workload: &Workload) -> Result<(), AppError> {
    let found = image_digest(&python.image, &python.lock, &python.serve);
    if found == workload.image.digest {
        Ok(())
    } else {
        Err(AppError::Image(found))
    }
}

/// Decrypts the code into the sandbox.
async fn decrypt_into(
    files: &mut PrivateFilesWriter,
    bundle: &Path,
    payload: &ProvisioningPayload,
) -> Result<Unsealed, AppError> {
    let (key, salt) = (payload.code_key.clone(), payload.source_salt.clone());
    let unsealed = unsealing::unseal_into(files, bundle, key, salt, |mode| match mode {
        CodeMode::Plain => FileMode::READABLE,
        CodeMode::Executable => FileMode::EXECUTABLE,
    });
    Ok(unsealed.await?)
}

fn plan(launch: &Launch, workload: &Workload) -> Result<SandboxPlan, AppError> {
    let memory = u64::from(workload.resources.memory_mib) << 20;
    let mut read_only = Vec::new();
    for path in launch
        .python
        .prefixes
        .iter()
        .chain([&launch.python.environment])
    {
        read_only.push(ReadOnlyBind {
            source: path.clone(),
            target: path.clone().try_into()?,
        });
    }
    let tree = TreePlan {
        app_uid: match launch.app_uid {
            Some(uid) => uid.try_into()?,
            None => AppUid::nth(0),
        },
        base: RootBase::Machine(AppDirs {
            code: PrivateDir {
                target: CODE.try_into()?,
                max_bytes: memory,
            },
            code_access: CodeAccess::ReadOnly,
            home: PrivateDir {
                target: HOME.try_into()?,
                max_bytes: memory,
            },
        }),
        secrets: PrivateDir {
            target: SECRETS.try_into()?,
            max_bytes: 4 << 20,
        },
        // As large a part of memory as the system we replace allowed a file there.
        tmp_bytes: memory / 4,
        shm_bytes: memory / 4,
        read_only,
        socket_dir: Some(SocketDir {
            source: launch.run_dir.clone(),
            target: RUN.try_into()?,
        }),
        released: Vec::new(),
        volumes: Vec::new(),
        network: Network::Host,
    };
    let command = |args: &[&str]| -> Result<AppCommand, AppError> {
        let serve = format!("{SECRETS}/{SERVE_FILE}");
        let mut all = vec!["-I", "-u", "-B", &serve];
        all.extend_from_slice(args);
        all.extend_from_slice(&["--app-dir", CODE, "--deps", DEPENDENCIES]);
        Ok(AppCommand {
            program: launch.python.interpreter.to_string_lossy().into_owned(),
            args: all.into_iter().map(str::to_owned).collect(),
            env: environment(workload),
            cwd: SandboxPath::try_from(CODE)?.into(),
        })
    };
    let socket = format!("{RUN}/{SOCKET}");
    Ok(SandboxPlan {
        tree,
        launch: LaunchPlan {
            prepare: vec![command(&["--prepare"])?],
            serve: command(&["--app", &workload.application, "--uds", &socket])?,
            limits: ProcessLimits {
                open_files: 16 * 1024,
                processes: 1024,
            },
        },
    })
}

/// All of the app's environment: the owner's, then what the enclave sets and nobody overrides.
fn environment(workload: &Workload) -> BTreeMap<String, String> {
    let mut environment = workload.environment.clone();
    let own = [
        ("HOME", HOME.to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("MODULE_PATH", CODE.to_owned()),
        ("TMP_PATH", "/tmp".to_owned()),
        ("SECRETS_PATH", format!("{SECRETS}/{SECRETS_FILE}")),
        ("MSE_APP_ID", workload.app_id.to_string()),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    if Path::new(TRUST_STORE).exists() {
        for name in ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"] {
            environment.insert(name.to_owned(), TRUST_STORE.to_owned());
        }
    }
    environment
}

/// Why the app does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error(transparent)]
    Path(#[from] InvalidPath),
    #[error(transparent)]
    Plan(#[from] InvalidPlan),
    #[error(transparent)]
    Unseal(#[from] UnsealIntoError),
    #[error(transparent)]
    Socket(#[from] AppSocketError),
    #[error("the platform's runtime has the image digest `{0}` and not the measured one")]
    Image(Digest),
    #[error("the bundle changed on the platform after it was checked")]
    Changed,
    #[error("the app ended: {0}; its log says why")]
    Exited(SandboxExit),
    #[error("the health endpoint `{0}` did not answer well: {1}")]
    Unhealthy(String, Health),
}
