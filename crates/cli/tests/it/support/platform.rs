//! A platform with an API of its own making: it does what `mse` asks, and remembers it. Told to
//! lie, it does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use mse_api::{App, AppStatus, CreateApp, ErrorCode, PartialApp, PlatformInfo};
use mse_crypto::Digest;
use mse_simtee::{Platform, pccs};
use mse_workload::{
    AppId, EnclaveDigest, FORMAT, HealthEndpoint, ImageIdentity, Measured, Provisioning, Resources,
    Tls, TlsOrigin, Workload, bundle, measurement,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::ENCLAVE_PROGRAM;
use super::answers::{Answer, hardware, login, logs, me, ok, part, partial, projects, refuse};
use super::enclave::{FakeEnclave, Launch};

/// How a platform deviates from what it should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Starts another enclave program.
    OtherProgram,
    /// Changes a byte of the code that was uploaded.
    ChangedCode,
    /// Runs the app longer than it was asked to, and says so.
    LaterExpiry,
    /// Runs the app longer than it was asked to, and does not say so.
    HiddenExpiry,
    /// Passes other environment to the app.
    OtherEnvironment,
    /// Its enclaves' evidence is another platform's.
    OtherRoot,
    /// The enclave takes no secrets.
    RefusesSecrets,
    /// The app ends after it got its secrets.
    EndsAfterProvisioning,
    /// No app lives as long as is asked for.
    EarlierExpiry,
    /// The enclave never comes up.
    NeverReady,
    /// Makes the app, but the answer is lost.
    LosesAnswer,
    /// Says that the app runs before it can.
    RunsAtOnce,
    /// Has no hardware left.
    NoHardware,
    /// Stops are refused.
    CannotStop,
}

/// A call that a platform got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// A platform; it ends when this is dropped.
pub(crate) struct FakePlatform {
    state: Arc<State>,
    address: SocketAddr,
    _runtime: Runtime,
    _folder: TempDir,
}

struct State {
    simulated: Arc<Platform>,
    other: Arc<Platform>,
    lies: Mutex<Vec<Lie>>,
    apps: Mutex<BTreeMap<AppId, Running>>,
    made: Mutex<BTreeMap<String, AppId>>,
    calls: Mutex<Vec<Call>>,
    attempts: Arc<AtomicUsize>,
}

struct Running {
    app: App,
    enclave: Option<FakeEnclave>,
}

impl FakePlatform {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let platform = |name: &str| {
            Arc::new(Platform::create(&folder.path().join(name), SystemTime::now()).unwrap())
        };
        let state = Arc::new(State {
            simulated: platform("simulated"),
            other: platform("other"),
            lies: Mutex::default(),
            apps: Mutex::default(),
            made: Mutex::default(),
            calls: Mutex::default(),
            attempts: Arc::default(),
        });
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&state);
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&serving);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let state = Arc::clone(&state);
                        async move { state.answer(request).await }
                    });
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            state,
            address,
            _runtime: runtime,
            _folder: folder,
        }
    }

    pub(crate) fn lying(lie: Lie) -> Self {
        let platform = Self::start();
        platform.tell(lie);
        platform
    }

    /// Makes it lie from now on.
    pub(crate) fn tell(&self, lie: Lie) {
        self.state.lies.lock().unwrap().push(lie);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn trust_anchor(&self) -> String {
        self.state.simulated.trust_anchor().to_toml()
    }

    pub(crate) fn other_trust_anchor(&self) -> String {
        self.state.other.trust_anchor().to_toml()
    }

    /// Everything it was asked so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap().clone()
    }

    /// The calls of `method` whose path begins with `path`.
    pub(crate) fn count(&self, method: &str, path: &str) -> usize {
        self.calls()
            .iter()
            .filter(|call| call.method == method && call.path.starts_with(path))
            .count()
    }

    /// The ids of the apps that have not ended.
    pub(crate) fn live(&self) -> Vec<AppId> {
        self.state
            .apps
            .lock()
            .unwrap()
            .values()
            .filter(|running| !running.app.status.is_terminated())
            .map(|running| running.app.id)
            .collect()
    }

    /// The secrets that the enclave of an app got.
    pub(crate) fn secrets(&self, id: &str) -> Option<String> {
        let apps = self.state.apps.lock().unwrap();
        let enclave = apps[&id.parse().unwrap()].enclave.as_ref()?;
        let received = enclave.received.lock().unwrap();
        received.as_ref()?.secrets.clone()
    }

    /// How often somebody tried to hand secrets to any of its enclaves.
    pub(crate) fn provisioning_attempts(&self) -> usize {
        self.state.attempts.load(Ordering::SeqCst)
    }

    /// Puts an app there that nobody deployed.
    pub(crate) fn add_app(&self, app: App) {
        let running = Running { app, enclave: None };
        self.state
            .apps
            .lock()
            .unwrap()
            .insert(running.app.id, running);
    }
}

impl State {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Lost> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        let path = parts
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default();
        self.calls.lock().unwrap().push(Call {
            method: parts.method.to_string(),
            path: path.clone(),
            body: body.to_vec(),
        });
        let (route, query) = path.split_once('?').unwrap_or((&path, ""));
        let words: Vec<&str> = route.trim_matches('/').split('/').collect();
        let authorized = parts
            .headers
            .get("authorization")
            .is_some_and(|value| value == "Bearer access-token");
        Ok(match (&parts.method, &words[..]) {
            (&Method::GET, ["platform"]) => ok(&PlatformInfo {
                version: "0.0.0".to_owned(),
                tee: "simulated".to_owned(),
                gateway: "127.0.0.1:7343".to_owned(),
                pccs_path: "/pccs".to_owned(),
            }),
            (&Method::GET, ["pccs", ..]) => self.collateral(&path),
            (&Method::POST, ["login"]) => login(&body),
            _ if !authorized => refuse(ErrorCode::Unauthorized, "the login is not valid"),
            (&Method::POST, ["logout"]) => ok(&json!({})),
            (&Method::GET, ["users", "me"]) => ok(&me()),
            (&Method::GET, ["projects"]) => ok(&projects(query)),
            (&Method::GET, ["hardwares", "4g-eu-001"]) => ok(&hardware()),
            (&Method::GET, ["apps"]) => ok(&self.list(query)),
            (&Method::POST, ["apps"]) => return self.create(&parts.headers, body).await,
            (&Method::GET, ["apps", id]) => match self.look(id) {
                Some(app) => ok(&app),
                None => refuse(
                    ErrorCode::NotFound,
                    &format!("Cannot find the app with id {id}"),
                ),
            },
            (&Method::POST, ["apps", id, "stop"]) => self.stop(id),
            (&Method::GET, ["apps", _, "logs"]) if query.contains("follow=true") => logs(query),
            (&Method::GET, ["apps", _, "logs"]) => ok(&json!({ "stdout": "one\ntwo\n" })),
            (&Method::GET, ["apps", _, "metrics"]) => {
                ok(&json!({ "cpu_usage": [0, 1.5], "amount_of_connection": [0, 3] }))
            }
            _ => refuse(ErrorCode::NotFound, &format!("there is no {route}")),
        })
    }

    fn lies(&self, lie: Lie) -> bool {
        self.lies.lock().unwrap().contains(&lie)
    }

    fn collateral(&self, path: &str) -> Answer {
        let platform = if self.lies(Lie::OtherRoot) {
            &self.other
        } else {
            &self.simulated
        };
        let collateral = platform.collateral(SystemTime::now()).unwrap();
        let path = path.strip_prefix("/pccs").unwrap();
        match pccs::respond(path, &collateral) {
            Some(answer) => {
                let mut response = Response::builder();
                for (name, value) in answer.headers {
                    response = response.header(name, value);
                }
                response.body(answer.body.into()).unwrap()
            }
            None => refuse(ErrorCode::NotFound, "unknown platform"),
        }
    }

    fn list(&self, query: &str) -> Vec<PartialApp> {
        let wanted = |app: &App| {
            query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .all(|pair| match pair.split_once('=') {
                    Some(("name", name)) => app.name == name,
                    Some(("status", statuses)) => statuses
                        .split("%2C")
                        .any(|status| status == app.status.as_str()),
                    Some(("project", project)) => app.project_id.to_string() == project,
                    other => panic!("{other:?}"),
                })
        };
        let apps = self.apps.lock().unwrap();
        apps.values()
            .filter(|running| wanted(&running.app))
            .map(|running| partial(&running.app))
            .collect()
    }

    /// An app, one step further than it was.
    fn look(&self, id: &str) -> Option<App> {
        let mut apps = self.apps.lock().unwrap();
        let running = apps.get_mut(&id.parse().ok()?)?;
        let provisioned = running
            .enclave
            .as_ref()
            .is_some_and(|enclave| enclave.received.lock().unwrap().is_some());
        running.app.status = match running.app.status {
            AppStatus::Spawning if self.lies(Lie::NeverReady) => AppStatus::Spawning,
            AppStatus::Spawning if self.lies(Lie::RunsAtOnce) => AppStatus::Running,
            AppStatus::Spawning => AppStatus::Initializing,
            AppStatus::Initializing if provisioned && self.lies(Lie::EndsAfterProvisioning) => {
                running.app.status_reason = Some("the app crashed".to_owned());
                AppStatus::OnError
            }
            AppStatus::Initializing if provisioned => AppStatus::Running,
            status => status,
        };
        Some(running.app.clone())
    }

    fn stop(&self, id: &str) -> Answer {
        if self.lies(Lie::CannotStop) {
            return refuse(ErrorCode::Internal, "the stop button is broken");
        }
        let mut apps = self.apps.lock().unwrap();
        let Some(running) = id.parse().ok().and_then(|id: AppId| apps.get_mut(&id)) else {
            return refuse(ErrorCode::NotFound, "no such app");
        };
        running.app.status = AppStatus::Stopped;
        running.enclave = None;
        ok(&json!({}))
    }

    async fn create(&self, headers: &http::HeaderMap, body: Bytes) -> Result<Answer, Lost> {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        let made = self.made.lock().unwrap().get(&key).copied();
        if let Some(id) = made {
            return Ok(ok(&self.look(&id.to_string()).unwrap()));
        }
        if self.lies(Lie::NoHardware) {
            return Ok(refuse(ErrorCode::NoHardware, "all `4g-eu-001` are in use"));
        }
        let boundary = headers["content-type"]
            .to_str()
            .unwrap()
            .split_once("boundary=")
            .unwrap()
            .1;
        let conf: CreateApp = serde_json::from_slice(&part(&body, boundary, "conf")).unwrap();
        let mut code = part(&body, boundary, "code");
        let said = conf.bundle_digest.as_deref().unwrap();
        assert_eq!(bundle::digest_of(&code[..]).unwrap().to_string(), said);
        if self.lies(Lie::ChangedCode) {
            // In the ciphertext of the first file, behind its header, nonce and tag.
            code[512 + 40] ^= 1;
        }
        let id = AppId::generate();
        let app = self.launch(id, conf, code).await;
        self.made.lock().unwrap().insert(key, id);
        if self.lies(Lie::LosesAnswer) {
            return Err(Lost);
        }
        Ok(ok(&app))
    }

    async fn launch(&self, id: AppId, conf: CreateApp, code: Vec<u8>) -> App {
        let asked = conf.expires_at;
        let domain_name = format!("{}.mse.localhost", conf.name);
        let config_domain_name = format!("{id}.mse.localhost");
        let year: jiff::SignedDuration = jiff::SignedDuration::from_hours(24 * 365);
        let mut expires_at = asked.unwrap_or(Timestamp::now() + year);
        if self.lies(Lie::LaterExpiry) {
            expires_at += year;
        }
        if self.lies(Lie::EarlierExpiry) {
            expires_at = Timestamp::now() + year / 365;
        }
        let names = [domain_name.clone(), config_domain_name.clone()];
        let mut workload = workload_of(id, &conf, &code, names, expires_at);
        if self.lies(Lie::HiddenExpiry) {
            workload.expires_at = workload.expires_at.map(|seconds| seconds + 1);
        }
        if self.lies(Lie::OtherEnvironment) {
            workload
                .environment
                .insert("DEBUG".to_owned(), "1".to_owned());
        }
        let program = if self.lies(Lie::OtherProgram) {
            &b"another program"[..]
        } else {
            ENCLAVE_PROGRAM
        };
        let measurement =
            measurement::simulated(&EnclaveDigest(Digest::of(program)), &workload.digest());
        let enclave = FakeEnclave::start(Launch {
            measurement,
            bundle: code,
            platform: Arc::clone(if self.lies(Lie::OtherRoot) {
                &self.other
            } else {
                &self.simulated
            }),
            attempts: Arc::clone(&self.attempts),
            refuses: self.lies(Lie::RefusesSecrets),
            workload: workload.clone(),
        })
        .await;
        let app = App {
            id,
            name: conf.name,
            project_id: Uuid::from_u128(1),
            owner_id: "owner".to_owned(),
            domain_name,
            config_domain_name,
            docker: conf.docker,
            created_at: Timestamp::now(),
            ready_at: None,
            stopped_at: None,
            status: AppStatus::Spawning,
            hardware_name: conf.hardware,
            ssl_certificate_origin: workload.tls.origin,
            expires_at,
            python_application: conf.python_application,
            healthcheck_endpoint: conf.healthcheck_endpoint,
            url: format!("https://localhost:{}", enclave.address.port()),
            gateway: enclave.address.to_string(),
            tls_names: workload.tls.names,
            tee: "simulated".to_owned(),
            memory_mib: 4096,
            millicores: 380,
            status_reason: None,
            confinement: Vec::new(),
        };
        let running = Running {
            app: app.clone(),
            enclave: Some(enclave),
        };
        self.apps.lock().unwrap().insert(id, running);
        app
    }
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Lost;

impl From<Infallible> for Lost {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The workload that an honest platform makes of a request.
fn workload_of(
    id: AppId,
    conf: &CreateApp,
    code: &[u8],
    names: [String; 2],
    expires_at: Timestamp,
) -> Workload {
    Workload {
        format: FORMAT,
        app_id: id,
        application: conf.python_application.clone(),
        image: ImageIdentity {
            name: conf.docker.clone(),
            digest: conf.image_digest.as_deref().unwrap().parse().unwrap(),
        },
        bundle: bundle::digest_of(code).unwrap(),
        source_commitment: conf.source_commitment.as_deref().unwrap().parse().unwrap(),
        code_key_check: conf.code_key_check.as_deref().unwrap().parse().unwrap(),
        tls: Tls {
            origin: if conf.dev_mode {
                TlsOrigin::Operator
            } else {
                TlsOrigin::Enclave
            },
            names: names
                .into_iter()
                .chain(["localhost".to_owned(), "127.0.0.1".to_owned()])
                .collect(),
            certificate: None,
        },
        expires_at: u64::try_from(expires_at.as_second()).ok(),
        resources: Resources {
            memory_mib: 4096,
            millicores: 380,
        },
        health_endpoint: HealthEndpoint::try_from(conf.healthcheck_endpoint.clone()).unwrap(),
        environment: conf.environment.clone(),
        provisioning: Provisioning::Owner {},
    }
}
