//! Real enclaves of the real `mse-enclave`, launched by the real process runtime: a platform
//! without its API, for tests that need to hold every string.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_attest::Policy;
use mse_crypto::{CodeKey, Digest, Zeroizing};
use mse_ratls::{
    AttestedChannel, ConnectError, Endpoint, Expected, GivenCollateral, ProvisioningPayload,
    connect,
};
use mse_runtime::images::{Catalogue, SERVE_SHIM};
use mse_runtime::process::{EnclaveEvent, LaunchSpec, ProcessRuntime, RunningEnclave};
use mse_runtime::python::PythonEnvironment;
use mse_simtee::Platform;
use mse_workload::bundle::{CodeTree, NonceSource, SourceSalt, seal};
use mse_workload::launch::{Phase, Python};
use mse_workload::{
    AppId, FORMAT, ImageIdentity, Measured, Measurement, Provisioning, Resources, Tls, TlsOrigin,
    Workload,
};
use tempfile::TempDir;

use crate::programs::{image_cache, program};

/// The image of the test apps.
pub const FLASK: &str = "mse-flask:20261123000000";
/// The image for ASGI.
pub const FASTAPI: &str = "mse-fastapi:20261123000000";

/// A machine that launches enclaves.
pub struct Machine {
    /// Its simulated TEE.
    pub platform: Arc<Platform>,
    /// Its runtime.
    pub runtime: ProcessRuntime,
    /// The image of its apps.
    pub image: &'static str,
    /// Its Python environment.
    pub python: Python,
    /// Its data.
    pub data: TempDir,
}

impl Machine {
    /// With the `mse-enclave` of this build.
    pub async fn new() -> Self {
        Self::with_enclave(&program("mse-enclave")).await
    }

    /// With another enclave program.
    pub async fn with_enclave(enclave: &Path) -> Self {
        Self::with_image(enclave, FLASK).await
    }

    /// With another enclave program, for apps that run on another image.
    pub async fn with_image(enclave: &Path, name: &'static str) -> Self {
        mse_tls_provider();
        let data = tempfile::tempdir().unwrap();
        let platform = Platform::create(&data.path().join("tee"), SystemTime::now()).unwrap();
        let platform = Arc::new(platform);
        let runtime = ProcessRuntime::open(data.path(), enclave, Arc::clone(&platform)).unwrap();
        let image = Catalogue::builtin().resolve(name).unwrap();
        let environment = PythonEnvironment::ensure(&image_cache(), image)
            .await
            .unwrap();
        let python = Python {
            interpreter: environment.python(),
            prefixes: environment.prefixes(),
            environment: environment.root().to_owned(),
            image: image.name().to_owned(),
            lock: image.lock().to_owned(),
            serve: SERVE_SHIM.to_owned(),
        };
        Self {
            platform,
            runtime,
            image: name,
            python,
            data,
        }
    }

    /// Encrypts `files` and describes them as a workload, as an owner would.
    pub fn app(&self, files: &[(&str, &str)]) -> OwnedApp {
        let code = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = code.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let (code_key, salt) = (CodeKey::generate(), SourceSalt::generate());
        let app_id = AppId::generate();
        let bundle = self.data.path().join(format!("{app_id}.tar"));
        let archive = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&bundle)
            .unwrap();
        let tree = CodeTree::collect(code.path()).unwrap();
        let sealed = seal(
            &tree,
            &code_key,
            &NonceSource::Fresh,
            &salt,
            &archive,
            &|_| (),
        )
        .unwrap();
        let hour =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(3600);
        let workload = Workload {
            format: FORMAT,
            app_id,
            application: "app:app".into(),
            image: ImageIdentity {
                name: self.image.into(),
                digest: Catalogue::builtin().resolve(self.image).unwrap().digest(),
            },
            bundle: sealed.digest,
            source_commitment: sealed.commitment,
            code_key_check: sealed.key_check,
            tls: Tls {
                origin: TlsOrigin::Enclave,
                names: vec![format!("{app_id}.mse.localhost"), "localhost".into()],
                certificate: None,
            },
            expires_at: Some(hour.as_secs()),
            resources: Resources {
                memory_mib: 1024,
                millicores: 2000,
            },
            health_endpoint: String::from("/health").try_into().unwrap(),
            environment: BTreeMap::new(),
            provisioning: Provisioning::Owner {},
        };
        OwnedApp {
            workload,
            bundle,
            code_key,
            salt,
            certificate_chain: None,
        }
    }

    /// Launches the enclave of `app` as the operator sees it.
    pub async fn launch(&self, app: &OwnedApp) -> LaunchedEnclave {
        let spec = LaunchSpec {
            workload: app.workload.clone(),
            bundle: app.bundle.clone(),
            certificate_chain: app.certificate_chain.clone(),
            python: self.python.clone(),
            listen: None,
            provisioning_timeout: Duration::from_secs(60),
        };
        let mut enclave = self.runtime.launch(spec).await.unwrap();
        let mut port = None;
        loop {
            match enclave.next().await.expect("the enclave reports") {
                EnclaveEvent::Listening { port: at } => port = Some(at),
                EnclaveEvent::Phase(Phase::AwaitingProvisioning) => break,
                EnclaveEvent::Exited { how } => panic!("the enclave ended: {how}"),
                EnclaveEvent::Phase(phase) => panic!("unexpected: {phase:?}"),
                EnclaveEvent::Log { text, .. } => eprintln!("{text}"),
                EnclaveEvent::Confinement(_)
                | EnclaveEvent::Health { .. }
                | EnclaveEvent::ServiceEnded(_)
                | EnclaveEvent::Waiting { .. } => {}
            }
        }
        LaunchedEnclave {
            endpoint: Endpoint {
                address: format!("127.0.0.1:{}", port.expect("it listens first")),
                server_name: app.workload.tls.names[0].clone(),
            },
            enclave,
        }
    }

    /// What a client that knows `workload` expects of its enclave.
    pub fn expected(&self, workload: &Workload) -> Expected {
        Expected {
            policy: Policy::strict().with_simulated(self.platform.trust_anchor().clone()),
            measurement: Some(self.measurement(workload)),
            mrsigner: Some(self.platform.mrsigner()),
        }
    }

    /// The measurement of `workload` with this machine's enclave program.
    pub fn measurement(&self, workload: &Workload) -> Measurement {
        mse_workload::measurement::simulated(&self.runtime.enclave_digest(), &workload.digest())
    }

    /// Connects as a client that expects `workload`.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        workload: &Workload,
    ) -> Result<AttestedChannel, ConnectError> {
        let collateral =
            GivenCollateral(self.platform.collateral(SystemTime::now()).unwrap().into());
        connect(endpoint, &self.expected(workload), &collateral).await
    }
}

/// An app as its owner holds it.
#[derive(Clone)]
pub struct OwnedApp {
    /// What runs.
    pub workload: Workload,
    /// The encrypted code.
    pub bundle: PathBuf,
    /// Opens it.
    pub code_key: CodeKey,
    /// Salt of the source commitment.
    pub salt: SourceSalt,
    /// The owner's certificate, with origin `owner`.
    pub certificate_chain: Option<String>,
}

impl OwnedApp {
    /// What the owner sends.
    pub fn payload(&self, secrets: Option<&str>) -> ProvisioningPayload {
        ProvisioningPayload {
            app_id: self.workload.app_id,
            code_key: self.code_key.clone(),
            source_salt: self.salt.clone(),
            secrets: secrets.map(|json| Zeroizing::new(json.to_owned())),
            tls_private_key: None,
        }
    }

    /// Puts the owner's certificate into the workload.
    pub fn with_certificate(mut self, chain: &str) -> Self {
        self.workload.tls.origin = TlsOrigin::Owner;
        self.workload.tls.certificate = Some(Digest::of(chain.as_bytes()));
        self.certificate_chain = Some(chain.to_owned());
        self
    }
}

/// An enclave that waits for its secrets.
pub struct LaunchedEnclave {
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// It.
    pub enclave: RunningEnclave,
}

impl LaunchedEnclave {
    /// Follows it until it runs or ends; gives the phase and everything it logged.
    pub async fn settle(&mut self) -> (Phase, Vec<String>) {
        let mut log = Vec::new();
        loop {
            match self.enclave.next().await {
                Some(EnclaveEvent::Phase(
                    phase @ (Phase::Running | Phase::Failed { .. } | Phase::Stopped { .. }),
                )) => {
                    return (phase, log);
                }
                Some(EnclaveEvent::Log { text, .. }) => log.push(text),
                Some(EnclaveEvent::Exited { how }) => {
                    panic!("it ended without a word: {how}\n{log:#?}")
                }
                Some(_) => {}
                None => panic!("no more events\n{log:#?}"),
            }
        }
    }
}

/// Every test speaks TLS with the one provider.
fn mse_tls_provider() {
    // Another test of this process may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
