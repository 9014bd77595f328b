//! A CAS that appraises for real, and lies where a test wants it to.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mse_attest::{Evidence, Policy, ReferenceValues, TrustAnchor, Verifier};
use mse_crypto::hpke::{KeyPair as SealKey, PublicKey};
use mse_crypto::{Digest, Zeroizing};
use mse_ratls::ChannelBinding;
use mse_ratls::binding::Nonce;
use mse_ratls::release::{
    CHALLENGE, Configuration, InjectedFile, RELEASE, RENEW, Recorded, RefusalCode,
    ReleaseChallenge, ReleaseRefusal, ReleaseRequest, RenewalRequest, SealedRelease, Target,
    VOLUME, VolumeGrant, VolumeReport, release_report_data,
};
use mse_simtee::Platform;
use mse_workload::{CasKey, Measurement};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
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
    /// Volumes.
    pub volumes: Vec<FakeVolume>,
    /// So many reports of new states are recorded, and their answers lost.
    pub lost_answers: u32,
    /// Reports of new states, and nothing else, are answered with 503.
    pub records_nothing: bool,
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
    /// A file of the host's that changes right before a release.
    pub tampered: Option<PathBuf>,
    /// What was asked, and how it went.
    pub log: Vec<String>,
}

/// A volume, and its record.
#[derive(Clone, Debug)]
pub struct FakeVolume {
    /// Its name.
    pub name: String,
    /// Where it is mounted.
    pub path: String,
    /// `encrypted` or `authenticated-only`.
    pub files: String,
    /// The update policy.
    pub policy: String,
    /// The recorded counter.
    pub sequence: u64,
    /// The recorded root.
    pub root: Option<String>,
}

impl FakeVolume {
    /// One that nobody has used yet.
    pub fn new(name: &str, path: &str, policy: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            files: "encrypted".to_owned(),
            policy: policy.to_owned(),
            sequence: 0,
            root: None,
        }
    }

    fn grant(&self) -> VolumeGrant {
        VolumeGrant {
            name: self.name.clone(),
            path: self.path.clone(),
            key: Zeroizing::new(hex::encode(Digest::of(self.name.as_bytes()).0)),
            files: self.files.clone(),
            update_policy: self.policy.clone(),
            root: self.root.clone(),
            sequence: self.sequence,
            may_initialise: self.root.is_none() && self.policy != "ephemeral",
        }
    }

    fn record(&mut self, report: &VolumeReport) -> Result<(), ReleaseRefusal> {
        let is_there = self.root.as_ref() == Some(&report.root);
        match self.policy.as_str() {
            "ephemeral" => {
                return Err(refusal(RefusalCode::VolumePolicy, "it is ephemeral", None));
            }
            _ if is_there && self.sequence == report.sequence => return Ok(()),
            "no_rollback_protection" => self.sequence += 1,
            _ if report.previous == self.sequence && report.sequence == self.sequence + 1 => {
                self.sequence = report.sequence;
            }
            _ => return Err(refusal(RefusalCode::StaleVolume, "another instance", None)),
        }
        self.root = Some(report.root.clone());
        Ok(())
    }
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
    /// Those that were used up, too: a report takes none.
    issued: Mutex<BTreeSet<String>>,
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
                volumes: Vec::new(),
                lost_answers: 0,
                records_nothing: false,
                renew_in: 3600,
                lie: Lie::None,
                is_revoked: false,
                forgets_tickets: false,
                one_time_password: None,
                tampered: None,
                log: Vec::new(),
            }),
            nonces: Mutex::default(),
            tickets: Mutex::default(),
            issued: Mutex::default(),
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

    /// No ticket that it gave so far is taken any more.
    pub fn forget_tickets(&self) {
        lock(&self.state.tickets).clear();
        lock(&self.state.issued).clear();
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
            VOLUME => return self.record(&body),
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

    fn record(&self, body: &[u8]) -> Response<Full<Bytes>> {
        let report: VolumeReport = serde_json::from_slice(body).unwrap();
        let mut policies = lock(&self.policies);
        let is_known = lock(&self.issued).contains(&report.ticket) && !policies.forgets_tickets;
        let outcome = if policies.is_revoked {
            Err(refusal(
                RefusalCode::Revoked,
                "the session was revoked",
                None,
            ))
        } else if policies.records_nothing {
            Err(refusal(RefusalCode::Unavailable, "busy", None))
        } else if !is_known {
            Err(refusal(RefusalCode::Ticket, "an unknown ticket", None))
        } else {
            let mut volumes = policies.volumes.iter_mut();
            match volumes.find(|volume| volume.name == report.name) {
                Some(volume) => volume.record(&report),
                None => Err(refusal(RefusalCode::NoSuchVolume, "no such volume", None)),
            }
        };
        let VolumeReport { name, sequence, .. } = report;
        match outcome {
            Ok(()) => {
                policies.log.push(format!("{VOLUME} {name} {sequence}"));
                if policies.lost_answers > 0 {
                    policies.lost_answers -= 1;
                    return refused(&refusal(RefusalCode::Unavailable, "lost", None));
                }
                ok(&Recorded {})
            }
            Err(no) => {
                policies.log.push(format!(
                    "{VOLUME} {name} {sequence} refused: {}",
                    no.message
                ));
                refused(&no)
            }
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
        if let Some(path) = &policies.tampered {
            std::fs::write(path, "tampered with").unwrap();
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
        lock(&self.issued).insert(ticket.clone());
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
            volumes: self.volumes.iter().map(FakeVolume::grant).collect(),
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
