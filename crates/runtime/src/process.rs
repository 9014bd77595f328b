//! Enclaves as process trees of this machine: the runtime that needs no container engine.
//!
//! The simulated TEE measures what it launches, and here is where that happens: the program is
//! copied and hashed once, the workload is hashed as it is sent, and every quote that an enclave
//! asks for carries *that* measurement, whatever the enclave claims to be.
//!
//! ```text
//! <data>/enclaves/<sha256>/<name>   the program (`mse-enclave` or `mse-cas`), 0755
//! <data>/instances/<id>/run/        one enclave's own folder, 0700, gone with it
//! ```
//!
//! Nothing outlives the process that launched it: an enclave ends when its socket closes, and
//! what is left of an earlier run is killed and swept away by [`ProcessRuntime::open`].

pub mod guard;
mod instance;
mod lines;
mod orphans;
mod program;
mod socket;
mod supervisor;

pub(crate) use lines::forward as forward_lines;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::{io, os::fd::OwnedFd};

use mse_api::LogStream;
use mse_simtee::Platform;
use mse_workload::launch::{
    self, AccessToken, CasLaunch, CasStart, Confinement, DatabaseUrl, Launch, Phase, ServiceEnd,
    ServiceLaunch, ToEnclave,
};
use mse_workload::measurement::{self, EnclaveDigest, Measurement};
use mse_workload::{
    AppId, CasWorkload, Measured, Resources, ServiceWorkload, Workload, WorkloadDigest,
};
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::limits::{ControlGroups, LimitState, Limits};
use guard::Guard;
use instance::{Instance, Slots};
use program::Program;
use supervisor::Order;

/// Launches enclaves on this machine. Cloning it is cheap.
#[derive(Clone)]
pub struct ProcessRuntime {
    quoting: Quoting,
    program: Program,
    guard: Guard,
    attester: Option<&'static str>,
    instances: PathBuf,
    slots: Slots,
}

impl ProcessRuntime {
    /// Installs the program `enclave` (`mse-enclave`, or `mse-cas` to launch a CAS) under `data`, and ends and removes whatever enclaves an
    /// earlier run left there. `platform` signs the quotes.
    ///
    /// At most one runtime may use `data` at a time; the caller sees to that.
    pub fn open(
        data: &Path,
        enclave: &Path,
        platform: Arc<Platform>,
    ) -> Result<Self, RuntimeError> {
        let programs = data.join("enclaves");
        let instances = data.join("instances");
        orphans::end(&programs, &instances);
        instance::sweep(&instances)?;
        let program = Program::install(enclave, &programs)?;
        Ok(Self::with(Quoting::Simulated(platform), program, instances))
    }

    /// Starts the program `enclave` from where it is, for a launcher in a container: nothing of an
    /// earlier run is there, and nobody replaces the program of an image. `data` is for the folders
    /// of enclaves.
    pub fn in_place(data: &Path, enclave: &Path, quoting: Quoting) -> Result<Self, RuntimeError> {
        let instances = data.join("instances");
        instance::sweep(&instances)?;
        Ok(Self::with(quoting, Program::at(enclave)?, instances))
    }

    fn with(quoting: Quoting, program: Program, instances: PathBuf) -> Self {
        Self {
            quoting,
            program,
            guard: Guard::None,
            attester: None,
            instances,
            slots: Slots::default(),
        }
    }

    /// Tells enclaves which attester to take, by its name.
    #[must_use]
    pub fn with_attester(self, attester: &'static str) -> Self {
        let attester = Some(attester);
        Self { attester, ..self }
    }

    /// Starts enclaves through `guard` from now on. With [`Guard::OwnProgram`] the caller's `main`
    /// begins with [`guard::intercept`].
    #[must_use]
    pub fn with_guard(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// The digest of the enclave program: the base of every measurement.
    pub fn enclave_digest(&self) -> EnclaveDigest {
        self.program.digest
    }

    /// Starts an enclave. What it does from then on is told by [`RunningEnclave::next`].
    pub async fn launch(&self, spec: LaunchSpec) -> Result<RunningEnclave, LaunchError> {
        let (app_id, resources) = (spec.workload.app_id, spec.workload.resources);
        let digest = spec.workload.digest();
        self.start(app_id, &digest, resources, |instance| {
            spec.into_frame(instance)
        })
        .await
    }

    /// Starts the enclave of a service. What it does from then on is told by
    /// [`RunningEnclave::next`].
    pub async fn launch_service(&self, spec: ServiceSpec) -> Result<RunningEnclave, LaunchError> {
        let (id, resources) = (AppId::generate(), spec.workload.resources);
        let digest = spec.workload.digest();
        self.start(id, &digest, resources, |instance| spec.into_frame(instance))
            .await
    }

    /// Starts a CAS, if the program of this runtime is `mse-cas`. What it does from then on is told
    /// by [`RunningEnclave::next`]: where it listens, then [`Phase::Running`].
    pub async fn launch_cas(&self, spec: CasSpec) -> Result<RunningEnclave, LaunchError> {
        let (id, resources) = (AppId::generate(), spec.workload.resources);
        let digest = spec.workload.digest();
        self.start(id, &digest, resources, |_| spec.into_frame())
            .await
    }

    async fn start(
        &self,
        app_id: AppId,
        workload: &WorkloadDigest,
        resources: Resources,
        first: impl FnOnce(&Instance) -> ToEnclave,
    ) -> Result<RunningEnclave, LaunchError> {
        let measurement = measurement::simulated(&self.program.digest, workload);
        let instance = Instance::create(&self.instances, app_id, &self.slots)
            .map_err(|source| LaunchError::Instance { app_id, source })?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(LaunchError::Socket)?;
        let child = self
            .spawn(&instance, theirs.into())
            .map_err(|source| LaunchError::Spawn {
                program: self.program.path.clone(),
                source,
            })?;
        // The enclave waits for the first frame, so it is within its limits before it works.
        let limits = confine(app_id, child.id(), resources).await;
        let first = first(&instance);
        supervisor::start(supervisor::Parts {
            child,
            socket: ours,
            first,
            limits,
            instance,
            measurement,
            quoting: self.quoting.clone(),
        })
        .map_err(LaunchError::Socket)
    }

    fn spawn(&self, instance: &Instance, socket: OwnedFd) -> io::Result<Child> {
        let mut command = self.guard.command(&self.program.path);
        command
            .stdin(Stdio::from(socket))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir(instance.path())
            // Nothing of the host's environment is the enclave's business.
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .kill_on_drop(true)
            // A Ctrl-C at the terminal is for the launcher, which then stops its enclaves in order.
            .process_group(0);
        if let Some(level) = std::env::var_os("MSE_ENCLAVE_LOG") {
            command.env("RUST_LOG", level);
        }
        // Where libraries of tokens have their configuration. They are measured; this is not.
        if let Some(configuration) = std::env::var_os("SOFTHSM2_CONF") {
            command.env("SOFTHSM2_CONF", configuration);
        }
        let of_environment = std::env::var_os("MSE_ENCLAVE_ATTESTER");
        if let Some(attester) = self.attester.map(OsString::from).or(of_environment) {
            command.env("MSE_ATTESTER", attester);
        }
        command.spawn()
    }
}

/// Who answers enclaves that ask their launcher for a quote.
#[derive(Clone)]
pub enum Quoting {
    /// The simulated platform, which signs what was measured.
    Simulated(Arc<Platform>),
    /// Nobody: the machine has a TEE of its own.
    None,
}

/// What to launch.
#[derive(Debug)]
pub struct LaunchSpec {
    /// What runs; its canonical form is what is sent and measured.
    pub workload: Workload,
    /// The encrypted bundle, a file.
    pub bundle: PathBuf,
    /// The owner's certificate chain as PEM, with origin `owner`.
    pub certificate_chain: Option<String>,
    /// The curated Python environment.
    pub python: launch::Python,
    /// Where it takes TLS connections; by default on a free port of loopback.
    pub listen: Option<SocketAddr>,
    /// How long the enclave waits for its secrets.
    pub provisioning_timeout: Duration,
}

impl LaunchSpec {
    fn into_frame(self, instance: &Instance) -> ToEnclave {
        ToEnclave::Launch(Box::new(Launch {
            workload: String::from_utf8_lossy(&self.workload.canonical()).into_owned(),
            bundle: self.bundle,
            certificate_chain: self.certificate_chain,
            python: self.python,
            run_dir: instance.run_dir(),
            provisioning_seconds: self.provisioning_timeout.as_secs(),
            app_uid: instance.app_uid(),
            listen: self.listen,
        }))
    }
}

/// Which service to launch. Only the workload is measured.
#[derive(Debug)]
pub struct ServiceSpec {
    /// What runs; its canonical form is what is sent and measured.
    pub workload: ServiceWorkload,
    /// The folder with the program's tree.
    pub tree: PathBuf,
    /// `host:port` of the CAS.
    pub cas: String,
    /// The host's arguments.
    pub arguments: Vec<String>,
    /// The host's environment, for what the session takes from it.
    pub environment: BTreeMap<String, String>,
    /// Six digits, if the session asks for them.
    pub one_time_password: Option<String>,
    /// The session's access token, if it has one.
    pub access_token: Option<AccessToken>,
    /// Folders for the encrypted volumes of the session, absolute, by their names in it.
    pub volumes: BTreeMap<String, PathBuf>,
    /// Where names lead that the service connects to through its network shield.
    pub hosts: BTreeMap<String, IpAddr>,
    /// How long the enclave tries to get its release.
    pub release_timeout: Duration,
}

impl ServiceSpec {
    fn into_frame(self, instance: &Instance) -> ToEnclave {
        ToEnclave::LaunchService(Box::new(ServiceLaunch {
            workload: String::from_utf8_lossy(&self.workload.canonical()).into_owned(),
            tree: self.tree,
            cas: self.cas,
            arguments: self.arguments,
            environment: self.environment,
            one_time_password: self.one_time_password,
            access_token: self.access_token,
            hosts: self.hosts,
            release_seconds: self.release_timeout.as_secs(),
            app_uid: instance.app_uid(),
            volumes: self.volumes,
        }))
    }
}

/// Which CAS to launch. Only the workload is measured. Paths are absolute: a CAS works in a folder
/// of its own.
#[derive(Debug)]
pub struct CasSpec {
    /// What runs; its canonical form is what is sent and measured.
    pub workload: CasWorkload,
    /// The folder with its state.
    pub data: PathBuf,
    /// A database of its own; without one, an SQLite file in the folder.
    pub database: Option<DatabaseUrl>,
    /// `address:port` to listen on; port 0 is a free one.
    pub listen: String,
    /// DNS names and IP addresses for the TLS certificate.
    pub names: Vec<String>,
    /// Base URLs of services with collateral, or `vendors`.
    pub collateral: Vec<String>,
    /// Base URLs of key-value stores that sessions may have values in.
    pub key_value_stores: Vec<String>,
    /// Whether it is new.
    pub start: CasStart,
    /// Where the last position of the store is noted; by default a file in the folder.
    pub witness: Option<PathBuf>,
    /// Takes the store as it is found.
    pub as_found: bool,
    /// A backup to put in the place of a store that is gone.
    pub restore: Option<PathBuf>,
}

impl CasSpec {
    fn into_frame(self) -> ToEnclave {
        ToEnclave::LaunchCas(Box::new(CasLaunch {
            workload: String::from_utf8_lossy(&self.workload.canonical()).into_owned(),
            data: self.data,
            database: self.database,
            listen: self.listen,
            names: self.names,
            collateral: self.collateral,
            key_value_stores: self.key_value_stores,
            start: self.start,
            witness: self.witness,
            as_found: self.as_found,
            restore: self.restore,
        }))
    }
}

/// An enclave that was started. Dropping it kills the enclave.
pub struct RunningEnclave {
    measurement: Measurement,
    pid: u32,
    events: mpsc::Receiver<EnclaveEvent>,
    orders: mpsc::UnboundedSender<Order>,
}

impl RunningEnclave {
    /// What the launcher measured, as the simulated platform has it.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// The process id of the enclave program, the root of the enclave's process tree.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What happens next. [`EnclaveEvent::Exited`] comes last, then `None`.
    pub async fn next(&mut self) -> Option<EnclaveEvent> {
        self.events.recv().await
    }

    /// Asks the enclave to end within `grace`; what has not ended a little later is killed.
    /// Keep taking events: the last one tells that it is done.
    pub fn stop(&self, grace: Duration) {
        // An enclave that is gone already needs no order.
        let _ = self.orders.send(Order::Stop { grace });
    }

    /// Ends the enclave at once.
    pub fn kill(&self) {
        let _ = self.orders.send(Order::Kill);
    }
}

/// What an enclave tells, or what is seen of it from outside.
#[derive(Debug)]
pub enum EnclaveEvent {
    /// It takes TLS connections on this port.
    Listening {
        /// TCP port: on 127.0.0.1, and of a CAS or in a container on the address that it was given.
        port: u16,
    },
    /// It does not run yet: why, in the words of who is to run it.
    Waiting {
        /// `Unschedulable: 0/3 nodes are available…`.
        reason: String,
    },
    /// How far it is.
    Phase(Phase),
    /// Whether a service is well, by the check of its session.
    Health {
        /// Whether the last check succeeded.
        well: bool,
    },
    /// How a service ended by itself.
    ServiceEnded(ServiceEnd),
    /// Everything known by now of what confines it: the launcher's limits and its own report.
    Confinement(Vec<Confinement>),
    /// A line of output, at most 16 KiB.
    Log {
        /// The app's (standard output) or the enclave program's (standard error).
        stream: LogStream,
        /// The line, without its end.
        text: String,
    },
    /// The process has ended, and nothing of it is left.
    Exited {
        /// How, for people: `exit status: 1`.
        how: String,
    },
}

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The enclave program cannot be installed.
    #[error(
        "the enclave program `{path}` cannot be used: {source}; build it (`cargo build --workspace --bins`), or name it: `--enclave PATH` for mse-enclave, `--program PATH` for mse-cas"
    )]
    Program {
        /// Where it was looked for, or was to be put.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder of instances cannot be made or swept.
    #[error("the folder of enclaves `{path}` cannot be used: {source}")]
    Instances {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why an enclave could not be started. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Its folder cannot be made.
    #[error("the folder of enclave `{app_id}` cannot be made: {source}")]
    Instance {
        /// Whose.
        app_id: AppId,
        /// Why.
        source: io::Error,
    },
    /// No socket pair.
    #[error("no socket for the enclave: {0}")]
    Socket(#[source] io::Error),
    /// The program does not start.
    #[error("the enclave program `{program}` does not start: {source}")]
    Spawn {
        /// Its path.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Puts the process under the workload's limits, and says what came of it.
async fn confine(app_id: AppId, pid: Option<u32>, resources: Resources) -> Vec<Confinement> {
    let Some(pid) = pid else {
        return Vec::new();
    };
    let limits = Limits {
        memory_bytes: u64::from(resources.memory_mib) * 1024 * 1024,
        cores: f64::from(resources.millicores) / 1000.0,
        pids: MAX_PROCESSES,
    };
    // Control groups are files of the kernel: quick, but blocking.
    let entries =
        tokio::task::spawn_blocking(move || ControlGroups::system().apply(app_id.0, pid, &limits));
    let entries = entries.await.unwrap_or_default();
    entries
        .into_iter()
        .map(|entry| Confinement {
            name: entry.name,
            applied: entry.state == LimitState::Applied,
            detail: entry.detail,
        })
        .collect()
}

/// Threads and processes of one enclave: plenty for a Python server, little for a fork bomb.
const MAX_PROCESSES: u64 = 1024;
