//! A machine that runs a CAS: the real `mse-cas`, launched by the real runtime on a simulated
//! platform, with that platform's collateral on loopback.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mse_attest::Policy;
use mse_crypto::Digest;
use mse_ratls::GivenCollateral;
use mse_ratls::cas::client::{CasAddress, CasClient, CasError, ClientIdentity, connect_pinned};
use mse_ratls::cas::{AttestedCas, ExpectedCas, client};
use mse_runtime::process::{CasSpec, EnclaveEvent, ProcessRuntime, RunningEnclave};
use mse_simtee::{Platform, pccs};
use mse_workload::launch::{CasStart, Phase};
use mse_workload::{
    CAS_FORMAT, CasKey, CasWorkload, Measured, Measurement, Resources, measurement,
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A TLS key with a certificate that it signed itself: who a client of a CAS is.
pub struct Person {
    /// For the client.
    pub identity: ClientIdentity,
    /// PEM of certificate and private key.
    pub pem: String,
    /// What access rules and workloads name.
    pub hash: Digest,
}

impl Person {
    /// A new one.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["a client".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        Self {
            identity: ClientIdentity::from_pem(&pem).unwrap(),
            pem,
            hash: Digest::of(&key.subject_public_key_info()),
        }
    }
}

impl Default for Person {
    fn default() -> Self {
        Self::new()
    }
}

/// A machine that runs a CAS.
pub struct CasMachine {
    /// Its simulated TEE.
    pub platform: Arc<Platform>,
    /// Who owns the CAS.
    pub owner: Person,
    /// The service with the platform's collateral.
    pub pccs: String,
    /// Everything that the host sees: the platform, the launcher's data, the CAS's folder.
    pub folder: TempDir,
    runtime: ProcessRuntime,
    tasks: JoinSet<()>,
}

impl CasMachine {
    /// With the program `cas`, and nothing created yet.
    pub async fn new(cas: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let platform = Platform::create(&folder.path().join("tee"), SystemTime::now()).unwrap();
        let platform = Arc::new(platform);
        let launcher = folder.path().join("launcher");
        let runtime = ProcessRuntime::open(&launcher, cas, Arc::clone(&platform)).unwrap();
        let mut tasks = JoinSet::new();
        let pccs = serve_collateral(&mut tasks, Arc::clone(&platform)).await;
        Self {
            platform,
            owner: Person::new(),
            pccs,
            folder,
            runtime,
            tasks,
        }
    }

    /// The same machine with another program.
    pub fn install(&mut self, cas: &Path) {
        // A folder of its own: a launcher ends whatever was launched from the same one.
        let launcher = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        self.runtime = ProcessRuntime::open(&launcher, cas, Arc::clone(&self.platform)).unwrap();
    }

    /// The folder of the CAS.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("cas")
    }

    /// What runs: owned by [`Self::owner`], believing services of this platform where a session
    /// says so.
    pub fn workload(&self) -> CasWorkload {
        CasWorkload {
            format: CAS_FORMAT,
            owner: self.owner.hash,
            simulated_anchors: vec![self.platform.trust_anchor().to_toml()],
            resources: Resources {
                memory_mib: 512,
                millicores: 1000,
            },
            upgrade: None,
            recovery: None,
            token_libraries: Vec::new(),
        }
    }

    /// What the machine measures.
    pub fn measure(&self, workload: &CasWorkload) -> Measurement {
        measurement::simulated(&self.runtime.enclave_digest(), &workload.digest())
    }

    /// How to launch it, from the host's side.
    pub fn spec(&self, start: CasStart) -> CasSpec {
        CasSpec {
            workload: self.workload(),
            data: self.data(),
            database: None,
            listen: "127.0.0.1:0".to_owned(),
            names: vec!["localhost".to_owned()],
            collateral: vec![self.pccs.clone()],
            key_value_stores: Vec::new(),
            start,
            witness: None,
            as_found: false,
            restore: None,
        }
    }

    /// Creates the CAS, and attests it.
    pub async fn create(&self) -> RunningCas {
        self.launch(self.spec(CasStart::Create)).await.unwrap()
    }

    /// Opens the CAS that was created, and attests it.
    pub async fn open(&self) -> RunningCas {
        self.launch(self.spec(CasStart::Open)).await.unwrap()
    }

    /// Launches it; `Err` says why it does not run.
    pub async fn launch(&self, spec: CasSpec) -> Result<RunningCas, String> {
        let expected = self.expected(&spec.workload);
        let enclave = self.runtime.launch_cas(spec).await.unwrap();
        self.follow(enclave, &expected, None).await
    }

    /// Launches it as one that waits for shares.
    pub async fn recover(&self, spec: CasSpec) -> Result<WaitingCas, String> {
        let workload = spec.workload.clone();
        let mut enclave = self.runtime.launch_cas(spec).await.unwrap();
        let mut port = None;
        loop {
            match next(&mut enclave).await {
                EnclaveEvent::Listening { port: found } => port = Some(found),
                EnclaveEvent::Phase(Phase::AwaitingProvisioning) => break,
                EnclaveEvent::Phase(Phase::Failed { reason }) => return Err(reason),
                EnclaveEvent::Exited { how } => return Err(how),
                _ => {}
            }
        }
        let port = port.expect("it listens before it waits");
        Ok(WaitingCas {
            enclave,
            address: format!("127.0.0.1:{port}"),
            port,
            workload,
        })
    }

    /// Waits until a CAS runs that got its shares.
    pub async fn recovered(&self, waiting: WaitingCas) -> Result<RunningCas, String> {
        let expected = self.expected(&waiting.workload);
        self.follow(waiting.enclave, &expected, Some(waiting.port))
            .await
    }

    async fn follow(
        &self,
        mut enclave: RunningEnclave,
        expected: &ExpectedCas,
        mut port: Option<u16>,
    ) -> Result<RunningCas, String> {
        let mut log = Vec::new();
        loop {
            match next(&mut enclave).await {
                EnclaveEvent::Listening { port: found } => port = Some(found),
                EnclaveEvent::Phase(Phase::Running) => break,
                EnclaveEvent::Phase(Phase::Failed { reason } | Phase::Stopped { reason }) => {
                    while !matches!(next(&mut enclave).await, EnclaveEvent::Exited { .. }) {}
                    return Err(reason);
                }
                EnclaveEvent::Log { text, .. } => log.push(text),
                EnclaveEvent::Exited { how } => return Err(format!("{how}: {log:#?}")),
                _ => {}
            }
        }
        let port = port.expect("it listens before it runs");
        let address = format!("127.0.0.1:{port}");
        let contact = client::first_contact(&address.parse().unwrap(), None).await;
        let attested = contact.unwrap().attest(expected, &self.collateral()).await;
        let (_, attested) = attested.unwrap();
        Ok(RunningCas {
            enclave,
            address,
            key: attested.description.cas_key,
            attested,
            log,
        })
    }

    /// Launches it and ends it as soon as the file `name` is in its folder.
    pub async fn cut_off(&self, spec: CasSpec, name: &str) {
        let file = spec.data.join(name);
        let mut enclave = self.runtime.launch_cas(spec).await.unwrap();
        let seen = timeout(Duration::from_secs(60), async {
            while !file.exists() {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        });
        seen.await.expect("the file is made within a minute");
        enclave.kill();
        while !matches!(next(&mut enclave).await, EnclaveEvent::Exited { .. }) {}
    }

    /// What a CAS of `workload` on this machine must turn out to be.
    pub fn expected(&self, workload: &CasWorkload) -> ExpectedCas {
        ExpectedCas {
            policy: Policy::strict().with_simulated(self.platform.trust_anchor().clone()),
            measurement: Some(self.measure(workload)),
            owner: Some(workload.owner),
            cas_key: None,
        }
    }

    /// What evidence of this machine is verified with.
    pub fn collateral(&self) -> GivenCollateral {
        GivenCollateral(self.platform.collateral(SystemTime::now()).unwrap().into())
    }

    /// Nobody gives collateral any more.
    pub async fn stop_collateral(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// A CAS that waits for shares of its root key. It ends when this is dropped.
pub struct WaitingCas {
    enclave: RunningEnclave,
    /// `host:port`.
    pub address: String,
    port: u16,
    workload: CasWorkload,
}

/// A CAS that runs. It ends when this is dropped.
pub struct RunningCas {
    /// It.
    pub enclave: RunningEnclave,
    /// `host:port`.
    pub address: String,
    /// Its root key, attested.
    pub key: CasKey,
    /// How it was attested.
    pub attested: AttestedCas,
    /// What it wrote until it ran.
    pub log: Vec<String>,
}

impl RunningCas {
    /// Its address, for clients.
    pub fn at(&self) -> CasAddress {
        self.address.parse().unwrap()
    }

    /// A pinned connection as `client`.
    pub async fn connect(&self, client: Option<&Person>) -> Result<CasClient, CasError> {
        let client = client.map(|person| &person.identity);
        connect_pinned(&self.at(), self.key, client).await
    }

    /// Stops it in order; gives what it wrote.
    pub async fn stop(mut self) -> Vec<String> {
        self.enclave.stop(Duration::from_secs(10));
        loop {
            match next(&mut self.enclave).await {
                EnclaveEvent::Log { text, .. } => self.log.push(text),
                EnclaveEvent::Exited { how } => {
                    assert_eq!(how, "exit status: 0", "{:#?}", self.log);
                    return self.log;
                }
                _ => {}
            }
        }
    }

    /// Kills it.
    pub async fn kill(mut self) {
        self.enclave.kill();
        while !matches!(next(&mut self.enclave).await, EnclaveEvent::Exited { .. }) {}
    }
}

async fn next(enclave: &mut RunningEnclave) -> EnclaveEvent {
    timeout(Duration::from_secs(60), enclave.next())
        .await
        .expect("nothing happened for a minute")
        .expect("an event before the end")
}

/// Serves the collateral of `platform` as a PCCS does; gives the base URL.
async fn serve_collateral(tasks: &mut JoinSet<()>, platform: Arc<Platform>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let platform = Arc::clone(&platform);
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&platform, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            connections.spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    url
}

fn answer(platform: &Platform, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let asked = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let collateral = platform.collateral(SystemTime::now()).unwrap();
    let Some(found) = pccs::respond(asked, &collateral) else {
        let mut nothing = Response::new(Full::default());
        *nothing.status_mut() = StatusCode::NOT_FOUND;
        return nothing;
    };
    let mut response = Response::builder();
    for (name, value) in &found.headers {
        response = response.header(*name, value);
    }
    response.body(Full::from(found.body)).unwrap()
}
