//! A server in a folder of its own, and a client of it.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures_util::future::BoxFuture;
use mse_crypto::{CodeKey, Digest};
use mse_runtime::images::{Catalogue, Image};
use mse_runtime::process::guard::Guard;
use mse_server::config::{CommandLine, Config};
use mse_server::deploy::Environments;
use mse_server::server::Server;
use mse_server::store::Store;
use mse_workload::bundle::{CodeTree, NonceSource, SourceSalt, seal};
use mse_workload::launch::Python;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

pub(crate) const IMAGE: &str = "mse-flask:20261123000000";
/// How long anything may take before the test is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server that can crash and come back.
pub(crate) struct Bench {
    folder: TempDir,
    config: Config,
    /// Opened for preparing environments; without a permit they are never ready.
    pub(crate) environments: Arc<Semaphore>,
    running: Option<(Runtime, Server)>,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        Self::start_with(&["--hardware", "4g-eu-001=4:64:0.5"]).await
    }

    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), options);
        let mut bench = Self {
            folder,
            config,
            environments: Arc::new(Semaphore::new(1000)),
            running: None,
        };
        bench.restart().await;
        bench
    }

    /// Starts the server on what is in the folder.
    pub(crate) async fn restart(&mut self) {
        // A runtime of its own, so that a crash takes everything at once.
        let runtime = Runtime::new().unwrap();
        let config = self.config.clone();
        let environments = Arc::new(FakeEnvironments(Arc::clone(&self.environments)));
        let server = runtime
            .spawn(async move { Server::start_with(&config, environments).await })
            .await
            .unwrap()
            .unwrap();
        self.running = Some((runtime, server));
    }

    /// Everything stops where it is, as after `kill -9`.
    pub(crate) async fn crash(&mut self) {
        // Tasks are dropped one after the other: one must not write that it saw another's end.
        self.store().close().await;
        let (runtime, server) = self.running.take().unwrap();
        tokio::task::spawn_blocking(move || {
            runtime.shutdown_timeout(Duration::from_secs(5));
            drop(server);
        })
        .await
        .unwrap();
    }

    /// Stops in order.
    pub(crate) async fn shut_down(&mut self) {
        let (runtime, server) = self.running.take().unwrap();
        runtime.spawn(server.shut_down()).await.unwrap();
        runtime.shutdown_background();
    }

    pub(crate) fn server(&self) -> &Server {
        &self.running.as_ref().unwrap().1
    }

    pub(crate) fn data(&self) -> &Path {
        &self.config.data_dir
    }

    pub(crate) fn store(&self) -> &Store {
        &self.server().fleet().platform().store
    }

    /// The owner account, logged in with the one-time token.
    pub(crate) async fn owner(&self) -> Session {
        let token = self.server().token().to_owned();
        self.log_in(&json!({"one_time_token": token})).await
    }

    pub(crate) async fn log_in(&self, login: &Value) -> Session {
        let anonymous = self.anonymous();
        let (status, answer) = anonymous.call(Method::POST, "/login", Some(login)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        Session {
            token: answer["access_token"].as_str().unwrap().to_owned(),
            ..anonymous
        }
    }

    pub(crate) fn anonymous(&self) -> Session {
        Session {
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
            base: self.server().api_url().to_owned(),
            token: String::new(),
        }
    }

    /// A bundle that the stand-in does not look into.
    pub(crate) fn bundle(&self) -> Bundle {
        let code = self.folder.path().join("code");
        fs::create_dir_all(&code).unwrap();
        fs::write(code.join("app.py"), "app = None\n").unwrap();
        let archive = tempfile::tempfile().unwrap();
        let sealed = seal(
            &CodeTree::collect(&code).unwrap(),
            &CodeKey::generate(),
            &NonceSource::Fresh,
            &SourceSalt::generate(),
            &archive,
            &|_| (),
        )
        .unwrap();
        let mut bytes = Vec::new();
        let mut archive = archive;
        std::io::Seek::rewind(&mut archive).unwrap();
        std::io::Read::read_to_end(&mut archive, &mut bytes).unwrap();
        Bundle {
            bytes,
            digest: sealed.digest,
        }
    }

    /// Everything below the data folder that only a live app or a running upload may leave.
    pub(crate) fn leftovers(&self) -> Vec<PathBuf> {
        ["blobs", "instances"]
            .into_iter()
            .flat_map(|name| files_below(&self.data().join(name)))
            .collect()
    }

    /// Sends what a user's TLS client would begin with, and then `text`: the stand-in answers in
    /// clear, with how much it saw.
    pub(crate) async fn through_gateway(&self, name: &str, text: &str) -> Vec<u8> {
        self.through(self.server().gateway(), name, text).await
    }

    pub(crate) async fn through(&self, address: &str, name: &str, text: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&client_hello(name)).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(PATIENCE, read).await.unwrap();
        answer
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A runtime must not wait for its end in an asynchronous context.
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) struct Bundle {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: Digest,
}

/// A client with or without a session.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) base: String,
    pub(crate) token: String,
}

impl Session {
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str) -> (StatusCode, Value) {
        self.call(Method::POST, path, None).await
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// `POST /apps` with these two parts.
    pub(crate) async fn create(&self, conf: &Value, bundle: &[u8]) -> (StatusCode, Value) {
        self.create_with_key(conf, bundle, None).await
    }

    pub(crate) async fn create_with_key(
        &self,
        conf: &Value,
        bundle: &[u8],
        key: Option<&str>,
    ) -> (StatusCode, Value) {
        let code = Part::bytes(bundle.to_vec())
            .file_name("app.tar")
            .mime_str("application/tar")
            .unwrap();
        let conf = Part::text(conf.to_string())
            .mime_str("application/json")
            .unwrap();
        self.send_form(Form::new().part("code", code).part("conf", conf), key)
            .await
    }

    pub(crate) async fn send_form(&self, form: Form, key: Option<&str>) -> (StatusCode, Value) {
        let mut request = self
            .client
            .post(format!("{}/apps", self.base))
            .bearer_auth(&self.token)
            .multipart(form);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Deploys an app whose enclave behaves as `kind` says.
    pub(crate) async fn deploy(&self, bench: &Bench, name: &str, kind: &str) -> Value {
        let bundle = bench.bundle();
        let (status, app) = self.create(&conf(name, kind, &bundle), &bundle.bytes).await;
        assert_eq!(status, StatusCode::OK, "{app}");
        app
    }

    pub(crate) async fn until(&self, app: &Value, status: &str) -> Value {
        let path = format!("/apps/{}", app["id"].as_str().unwrap());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (code, app) = self.get(&path).await;
            assert_eq!(code, StatusCode::OK, "{app}");
            if app["status"] == status {
                return app;
            }
            assert!(Instant::now() < deadline, "not `{status}`: {app}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Deploys an app and gives it its secrets, so to say.
    pub(crate) async fn deploy_and_provision(&self, bench: &Bench, name: &str) -> Value {
        let app = self.deploy(bench, name, "normal").await;
        self.until(&app, "initializing").await;
        self.provision(bench, &app).await
    }

    pub(crate) async fn provision(&self, bench: &Bench, app: &Value) -> Value {
        let config_domain = app["config_domain_name"].as_str().unwrap();
        bench.through_gateway(config_domain, "PROVISION").await;
        self.until(app, "running").await
    }
}

/// What a client asks for.
pub(crate) fn conf(name: &str, kind: &str, bundle: &Bundle) -> Value {
    let image = Catalogue::builtin().resolve(IMAGE).unwrap();
    json!({
        "name": name,
        "project": "default",
        "dev_mode": false,
        "healthcheck_endpoint": "/health",
        "python_application": format!("fake:{kind}"),
        "expires_at": null,
        "ssl_certificate": null,
        "domain_name": null,
        "hardware": "4g-eu-001",
        "docker": IMAGE,
        "image_digest": image.digest().to_string(),
        "bundle_digest": bundle.digest.to_string(),
        "source_commitment": Digest::of(b"source").to_string(),
        "code_key_check": Digest::of(b"key").to_string(),
    })
}

pub(crate) fn with(mut conf: Value, key: &str, value: impl Into<Value>) -> Value {
    conf[key] = value.into();
    conf
}

pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// The stand-in for the enclave program, as an executable file.
pub(crate) fn fake_enclave(folder: &Path) -> PathBuf {
    let path = folder.join("fake-enclave");
    fs::write(&path, include_str!("fake_enclave.py")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn config(folder: &Path, options: &[&str]) -> Config {
    let data = folder.join("data");
    let enclave = fake_enclave(folder);
    let fixed = [
        "mse-server",
        "--listen",
        "127.0.0.1:0",
        "--gateway",
        "127.0.0.1:0",
        "--app-ports",
        "0",
        "--data-dir",
        data.to_str().unwrap(),
        "--enclave",
        enclave.to_str().unwrap(),
    ];
    let line = CommandLine::try_parse_from(fixed.iter().chain(options)).unwrap();
    let (_, config) = line.into_config().unwrap();
    Config {
        // The program here is the test, which does not know how to become an enclave.
        guard: Guard::None,
        ..config
    }
}

struct FakeEnvironments(Arc<Semaphore>);

impl Environments for FakeEnvironments {
    fn prepare<'a>(
        &'a self,
        _: &'a Image,
    ) -> BoxFuture<'a, Result<Python, Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            self.0.acquire().await?.forget();
            Ok(Python {
                interpreter: "/usr/bin/python3".into(),
                prefixes: Vec::new(),
                environment: "/nowhere".into(),
                image: "nothing".into(),
                lock: String::new(),
                serve: String::new(),
            })
        })
    }
}
