//! A CAS that appraises for real, and lies where a test wants it to; and a machine that runs
//! services of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mse_attest::{Evidence, Policy, ReferenceValues, TrustAnchor, Verifier};
use mse_crypto::Zeroizing;
use mse_crypto::hpke::{KeyPair as SealKey, PublicKey};
use mse_ratls::ChannelBinding;
use mse_ratls::binding::Nonce;
use mse_ratls::release::{
    CHALLENGE, Configuration, InjectedFile, RELEASE, RENEW, RefusalCode, ReleaseChallenge,
    ReleaseRefusal, ReleaseRequest, RenewalRequest, SealedRelease, Target, release_report_data,
};
use mse_runtime::process::{EnclaveEvent, ProcessRuntime, RunningEnclave, ServiceSpec};
use mse_simtee::Platform;
use mse_workload::bundle::{CodeTree, tree_digest};
use mse_workload::launch::{Phase, ServiceEnd};
use mse_workload::{
    Base, CasKey, Measurement, Resources, SERVICE_FORMAT, ServiceWorkload, measurement,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// The session of all tests.
pub const SESSION: &str = "team/shop";
/// The service in it.
pub const SERVICE: &str = "web";

/// Where a CAS lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// Nowhere.
    #[default]
    None,
    /// The configuration is sealed to another key.
    OtherKey,
    /// It is sealed for another connection.
    OtherConnection,
    /// It is sealed for another service.
    OtherTarget,
    /// It is longer than any may be.
    Oversized,
    /// It is no JSON.
    Malformed,
    /// The challenge is too short.
    ShortNonce,
    /// The challenge is one that this CAS gives to nobody: the evidence answers a stale one.
    StaleNonce,
    /// The answer does not come.
    Slow,
    /// Something else answers.
    NotFound,
    /// 503.
    Unavailable,
}

/// What a CAS releases, and to whom.
pub struct Policies {
    /// The one measurement that gets it.
    pub measurement: Option<Measurement>,
    /// The command.
    pub arguments: Vec<String>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The working directory.
    pub directory: Option<String>,
    /// Files: path, mode, content.
    pub files: Vec<(String, u32, String)>,
    /// Whether there is a volume.
    pub has_volume: bool,
    /// Seconds until the renewal.
    pub renew_in: u64,
    /// What it lies about.
    pub lie: Lie,
    /// The session was revoked.
    pub is_revoked: bool,
    /// Tickets are not taken.
    pub forgets_tickets: bool,
    /// The one-time password that it wants.
    pub one_time_password: Option<String>,
    /// What was asked, and how it went.
    pub log: Vec<String>,
}

/// A CAS on loopback.
pub struct FakeCas {
    /// Where it listens.
    pub address: String,
    /// By what it is known.
    pub key: CasKey,
    state: Arc<State>,
    tasks: JoinSet<()>,
}

struct State {
    platform: Arc<Platform>,
    verifier: Verifier,
    policies: Mutex<Policies>,
    nonces: Mutex<Vec<String>>,
    /// Ticket → the key that the release was sealed to.
    tickets: Mutex<BTreeMap<String, [u8; 32]>>,
}

impl FakeCas {
    /// Starts one that accepts evidence of `platform`.
    pub async fn start(platform: &Arc<Platform>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, platform)
    }

    fn on(listener: TcpListener, platform: &Arc<Platform>) -> Self {
        let root = root();
        let key = CasKey::of(&root.key().subject_public_key_info());
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&root)));
        let anchor: TrustAnchor = platform.trust_anchor().clone();
        let state = Arc::new(State {
            platform: Arc::clone(platform),
            verifier: Verifier::new(Policy::strict().with_simulated(anchor)),
            policies: Mutex::new(Policies {
                measurement: None,
                arguments: vec!["/bin/true".into()],
                environment: BTreeMap::new(),
                directory: None,
                files: Vec::new(),
                has_volume: false,
                renew_in: 3600,
                lie: Lie::None,
                is_revoked: false,
                forgets_tickets: false,
                one_time_password: None,
                log: Vec::new(),
            }),
            nonces: Mutex::default(),
            tickets: Mutex::default(),
        });
        let address = listener.local_addr().unwrap().to_string();
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&served)));
            }
        });
        Self {
            address,
            key,
            state,
            tasks,
        }
    }

    /// What it releases.
    pub fn policies(&self) -> MutexGuard<'_, Policies> {
        lock(&self.state.policies)
    }

    /// What was asked so far.
    pub fn log(&self) -> Vec<String> {
        self.policies().log.clone()
    }

    /// Nobody answers at its address any more.
    pub async fn shut_down(&mut self) {
        self.tasks.shutdown().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn root() -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn server_config(root: &Issuer) -> ServerConfig {
    // Another name than it is reached by: the name does not count.
    let mut params = CertificateParams::new(vec!["cas.example".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, root).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone(), root.der().clone()], key)
        .unwrap()
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        lock(&state.policies).log.push("no handshake".into());
        return;
    };
    let binding = ChannelBinding::of(stream.get_ref().1).unwrap();
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.respond(request, binding).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl State {
    async fn respond(
        &self,
        request: Request<Incoming>,
        binding: ChannelBinding,
    ) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let lie = lock(&self.policies).lie;
        match lie {
            Lie::Slow => std::future::pending::<()>().await,
            Lie::NotFound => return answer(StatusCode::NOT_FOUND, b"<html>".to_vec()),
            Lie::Unavailable => {
                return refused(&refusal(RefusalCode::Unavailable, "busy", None));
            }
            _ => {}
        }
        let outcome = match path.as_str() {
            CHALLENGE => return self.challenge(lie),
            RELEASE => self.release(&body, binding, lie),
            RENEW => self.renew(&body, binding, lie),
            _ => Err(refusal(RefusalCode::Malformed, "no such path", None)),
        };
        let mut policies = lock(&self.policies);
        match outcome {
            Ok(_) if lie == Lie::Malformed => {
                answer(StatusCode::OK, br#"{"sealed":"AAAA","tick"#.to_vec())
            }
            Ok(_) if lie == Lie::Oversized => answer(StatusCode::OK, vec![b' '; 8 << 20]),
            Ok(sealed) => {
                policies.log.push(format!("{path} released"));
                ok(&sealed)
            }
            Err(refusal) => {
                policies
                    .log
                    .push(format!("{path} refused: {}", refusal.message));
                refused(&refusal)
            }
        }
    }

    fn challenge(&self, lie: Lie) -> Response<Full<Bytes>> {
        let nonce = hex::encode(Nonce::generate().0);
        lock(&self.policies).log.push(CHALLENGE.to_owned());
        if lie != Lie::StaleNonce {
            lock(&self.nonces).push(nonce.clone());
        }
        ok(&ReleaseChallenge {
            nonce: match lie {
                Lie::ShortNonce => nonce[2..].to_owned(),
                _ => nonce,
            },
            lifetime: 60,
        })
    }

    fn release(
        &self,
        body: &[u8],
        binding: ChannelBinding,
        lie: Lie,
    ) -> Result<SealedRelease, ReleaseRefusal> {
        let malformed = || refusal(RefusalCode::Malformed, "malformed", None);
        let request: ReleaseRequest = serde_json::from_slice(body).map_err(|_| malformed())?;
        let (mut nonce, mut x25519) = (Nonce([0; 32]), PublicKey([0; 32]));
        hex::decode_to_slice(&request.nonce, &mut nonce.0).map_err(|_| malformed())?;
        hex::decode_to_slice(&request.x25519, &mut x25519.0).map_err(|_| malformed())?;
        let known = {
            let mut nonces = lock(&self.nonces);
            let before = nonces.len();
            nonces.retain(|one| *one != request.nonce);
            nonces.len() < before
        };
        if !known {
            return Err(refusal(RefusalCode::Challenge, "stale challenge", None));
        }
        let policies = lock(&self.policies);
        if request.target != target() {
            return Err(refusal(RefusalCode::NoSuchService, "no such service", None));
        }
        if request.one_time_password != policies.one_time_password {
            return Err(refusal(
                RefusalCode::OneTimePassword,
                "wrong password",
                None,
            ));
        }
        let wanted = release_report_data(&nonce, &binding, &x25519, &request.target);
        let evidence = BASE64
            .decode(&request.evidence)
            .ok()
            .and_then(|bytes| Evidence::parse(&bytes).ok())
            .ok_or_else(malformed)?;
        let now = SystemTime::now();
        let reference = ReferenceValues {
            mrenclave: policies.measurement.map(|measurement| measurement.0.0),
            report_data: Some(wanted),
            ..ReferenceValues::default()
        };
        let collateral = self.platform.collateral(now).unwrap().into();
        self.verifier
            .appraise(&evidence, &collateral, &reference, now)
            .map_err(|no| {
                let check = json!(no.failed).as_str().map(str::to_owned);
                refusal(RefusalCode::Attestation, "the evidence was refused", check)
            })?;
        self.seal(&policies, &x25519, &binding, lie)
    }

    fn renew(
        &self,
        body: &[u8],
        binding: ChannelBinding,
        lie: Lie,
    ) -> Result<SealedRelease, ReleaseRefusal> {
        let malformed = || refusal(RefusalCode::Malformed, "malformed", None);
        let request: RenewalRequest = serde_json::from_slice(body).map_err(|_| malformed())?;
        let policies = lock(&self.policies);
        // A ticket is for one use.
        let key = lock(&self.tickets).remove(&request.ticket);
        match key {
            Some(key) if !policies.forgets_tickets => {
                self.seal(&policies, &PublicKey(key), &binding, lie)
            }
            _ => Err(refusal(RefusalCode::Ticket, "an unknown ticket", None)),
        }
    }

    fn seal(
        &self,
        policies: &Policies,
        x25519: &PublicKey,
        binding: &ChannelBinding,
        lie: Lie,
    ) -> Result<SealedRelease, ReleaseRefusal> {
        if policies.is_revoked {
            return Err(refusal(
                RefusalCode::Revoked,
                "the session was revoked",
                None,
            ));
        }
        let other = SealKey::generate().public();
        let (key, binding, service) = match lie {
            Lie::OtherKey => (&other, *binding, SERVICE),
            Lie::OtherConnection => (x25519, ChannelBinding([7; 32]), SERVICE),
            Lie::OtherTarget => (x25519, *binding, "db"),
            _ => (x25519, *binding, SERVICE),
        };
        let target = Target {
            service: service.to_owned(),
            ..target()
        };
        let sealed = policies.configuration().seal(key, &target, &binding);
        let ticket = hex::encode(Nonce::generate().0);
        lock(&self.tickets).insert(ticket.clone(), x25519.0);
        Ok(SealedRelease {
            sealed: BASE64.encode(sealed.unwrap()),
            ticket,
            renew_in: policies.renew_in,
        })
    }
}

impl Policies {
    /// The command is a shell script.
    pub fn script(&mut self, script: &str) {
        self.arguments = ["/bin/sh", "-c", script].map(str::to_owned).into();
    }

    fn configuration(&self) -> Configuration {
        let secret = |text: &String| Zeroizing::new(text.clone());
        let volume = json!({
            "name": "data", "path": "/data", "key": "00", "update_policy": "ephemeral",
        });
        Configuration {
            session_hash: "5e".repeat(32),
            arguments: self.arguments.iter().map(secret).collect(),
            environment: self
                .environment
                .iter()
                .map(|(name, value)| (name.clone(), secret(value)))
                .collect(),
            working_directory: self.directory.clone(),
            files: self
                .files
                .iter()
                .map(|(path, mode, content)| InjectedFile {
                    path: path.clone(),
                    mode: *mode,
                    content: Zeroizing::new(BASE64.encode(content)),
                })
                .collect(),
            volumes: self
                .has_volume
                .then(|| serde_json::from_value(volume).unwrap())
                .into_iter()
                .collect(),
        }
    }
}

fn target() -> Target {
    Target {
        session: SESSION.to_owned(),
        service: SERVICE.to_owned(),
    }
}

fn refusal(code: RefusalCode, message: &str, check: Option<String>) -> ReleaseRefusal {
    ReleaseRefusal {
        code,
        message: message.to_owned(),
        check,
    }
}

fn ok(body: &impl Serialize) -> Response<Full<Bytes>> {
    answer(StatusCode::OK, serde_json::to_vec(body).unwrap())
}

fn refused(refusal: &ReleaseRefusal) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(refusal.code.http_status()).unwrap();
    answer(status, serde_json::to_vec(refusal).unwrap())
}

fn answer(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer
}

/// A machine that runs services of a CAS.
pub struct ServiceMachine {
    /// Its simulated TEE.
    pub platform: Arc<Platform>,
    /// The CAS.
    pub cas: FakeCas,
    runtime: ProcessRuntime,
    tree: PathBuf,
    /// Everything that the host sees: the launcher's data, and the program's tree.
    pub data: TempDir,
}

impl ServiceMachine {
    /// With a program that is one file, and a CAS that releases to it.
    pub async fn new(enclave: &Path) -> Self {
        let data = tempfile::tempdir().unwrap();
        let tree = data.path().join("tree");
        std::fs::create_dir_all(tree.join("lib")).unwrap();
        std::fs::write(tree.join("main.txt"), "the program").unwrap();
        std::fs::write(tree.join("lib/data.txt"), "its data").unwrap();
        let platform = Platform::create(&data.path().join("tee"), SystemTime::now()).unwrap();
        let platform = Arc::new(platform);
        let launcher = data.path().join("launcher");
        let runtime = ProcessRuntime::open(&launcher, enclave, Arc::clone(&platform)).unwrap();
        let cas = FakeCas::start(&platform).await;
        let machine = Self {
            platform,
            cas,
            runtime,
            tree,
            data,
        };
        machine.cas.policies().measurement = Some(machine.measure(&machine.workload()));
        machine
    }

    /// The program's folder.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// What runs, as the folder is now.
    pub fn workload(&self) -> ServiceWorkload {
        ServiceWorkload {
            format: SERVICE_FORMAT,
            tree: tree_digest(&CodeTree::collect(&self.tree).unwrap()).unwrap(),
            base: Base::Machine {},
            cas_key: self.cas.key,
            session: SESSION.to_owned(),
            service: SERVICE.to_owned(),
            resources: Resources {
                memory_mib: 256,
                millicores: 1000,
            },
        }
    }

    /// What the machine measures.
    pub fn measure(&self, workload: &ServiceWorkload) -> Measurement {
        measurement::simulated(&self.runtime.enclave_digest(), &workload.digest())
    }

    /// How to launch it, from the host's side.
    pub fn spec(&self) -> ServiceSpec {
        ServiceSpec {
            workload: self.workload(),
            tree: self.tree.clone(),
            cas: self.cas.address.clone(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            one_time_password: None,
            release_timeout: Duration::from_secs(20),
        }
    }

    /// Launches it.
    pub async fn launch(&self, spec: ServiceSpec) -> Service {
        let enclave = self.runtime.launch_service(spec).await.unwrap();
        Service {
            enclave,
            lines: Vec::new(),
            log: Vec::new(),
            phases: Vec::new(),
            end: None,
            how: None,
        }
    }

    /// Launches what [`Self::spec`] says and follows it to its end.
    pub async fn run(&self) -> Service {
        self.run_spec(self.spec()).await
    }

    /// Launches `spec` and follows it to its end.
    pub async fn run_spec(&self, spec: ServiceSpec) -> Service {
        let mut service = self.launch(spec).await;
        service.finish().await;
        service
    }
}

/// A service that was launched, and what was seen of it.
pub struct Service {
    /// It.
    pub enclave: RunningEnclave,
    /// What its program wrote.
    pub lines: Vec<String>,
    /// What the enclave wrote.
    pub log: Vec<String>,
    /// How far it came.
    pub phases: Vec<Phase>,
    /// How it ended.
    pub end: Option<ServiceEnd>,
    /// How the process ended.
    pub how: Option<String>,
}

impl Service {
    /// Follows it to its end.
    pub async fn finish(&mut self) {
        while self.how.is_none() {
            self.step().await;
        }
    }

    /// Follows it until the next thing happens.
    pub async fn until_next(&mut self) {
        assert!(self.how.is_none(), "it ended: {self:#?}");
        self.step().await;
    }

    /// Follows it until its program wrote `line`.
    pub async fn until_line(&mut self, line: &str) {
        while !self.lines.iter().any(|seen| seen == line) {
            assert!(self.how.is_none(), "it ended before `{line}`: {self:#?}");
            self.step().await;
        }
    }

    /// Why it ended, as told to people.
    pub fn reason(&self) -> &str {
        match self.phases.last() {
            Some(Phase::Failed { reason } | Phase::Stopped { reason }) => reason,
            other => panic!("it did not end: {other:?}"),
        }
    }

    /// Whether the program was ever started.
    pub fn ran(&self) -> bool {
        self.phases
            .iter()
            .any(|phase| matches!(phase, Phase::Starting | Phase::Running))
    }

    async fn step(&mut self) {
        let next = timeout(Duration::from_secs(60), self.enclave.next()).await;
        let next = next.unwrap_or_else(|_| panic!("nothing happened for a minute: {self:#?}"));
        match next.expect("an event before the end") {
            EnclaveEvent::Log { stream, text } => match stream {
                mse_api::LogStream::App => self.lines.push(text),
                _ => self.log.push(text),
            },
            EnclaveEvent::Phase(phase) => self.phases.push(phase),
            EnclaveEvent::ServiceEnded(end) => self.end = Some(end),
            EnclaveEvent::Exited { how } => self.how = Some(how),
            EnclaveEvent::Confinement(_) | EnclaveEvent::Listening { .. } => {}
        }
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("lines", &self.lines)
            .field("log", &self.log)
            .field("phases", &self.phases)
            .field("end", &self.end)
            .field("how", &self.how)
            .finish_non_exhaustive()
    }
}
