//! The REST API by hand: for tests that stop half-way, which `mse` never does.

use std::path::Path;

use mse_api::{App, AppStatus, CreateApp, IDEMPOTENCY_KEY, PART_CODE, PART_CONF};
use mse_workload::{HealthEndpoint, ImageIdentity, Provisioning, Resources, Tls, Workload};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Response, StatusCode};
use serde_json::json;

use crate::enclave::{FLASK, OwnedApp};
use crate::platform::{PATIENCE, Server};

/// A logged-in client.
pub struct Rest {
    client: Client,
    url: String,
    token: String,
}

impl Rest {
    /// Logs in with the server's one-time token.
    pub async fn log_in(server: &Server) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder().timeout(PATIENCE).build().unwrap();
        let answer = client
            .post(format!("{}/login", server.url()))
            .json(&json!({"one_time_token": server.ready.token}))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let session: serde_json::Value = answer.json().await.unwrap();
        Self {
            client,
            url: server.url(),
            token: session["access_token"].as_str().unwrap().to_owned(),
        }
    }

    /// The bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// `POST /apps` with what the owner of `app` would send.
    pub async fn create(&self, app: &OwnedApp, name: &str) -> Response {
        let archive = std::fs::read(&app.bundle).unwrap();
        let form = Form::new()
            .part(PART_CODE, Part::bytes(archive).file_name("app.tar"))
            .part(PART_CONF, conf_part(&conf(app, name)));
        self.client
            .post(format!("{}/apps", self.url))
            .bearer_auth(&self.token)
            .header(IDEMPOTENCY_KEY, app.workload.app_id.to_string())
            .multipart(form)
            .send()
            .await
            .unwrap()
    }

    /// `GET /apps/{id}`.
    pub async fn app(&self, id: mse_workload::AppId) -> App {
        let answer = self.get(&format!("/apps/{id}")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.unwrap()
    }

    /// Any `GET`.
    pub async fn get(&self, path: &str) -> Response {
        self.client
            .get(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .send()
            .await
            .unwrap()
    }

    /// Any `POST` without a body.
    pub async fn post(&self, path: &str) -> Response {
        self.client
            .post(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .send()
            .await
            .unwrap()
    }

    /// Polls until the app has `status`.
    pub async fn until(&self, id: mse_workload::AppId, status: AppStatus) -> App {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let app = self.app(id).await;
            if app.status == status {
                return app;
            }
            assert!(
                !app.status.is_terminated() && tokio::time::Instant::now() < deadline,
                "the app is `{}` ({:?}) and not `{status}`",
                app.status,
                app.status_reason
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// What an owner asks for.
pub fn conf(app: &OwnedApp, name: &str) -> CreateApp {
    CreateApp {
        name: name.to_owned(),
        project: "default".into(),
        dev_mode: false,
        healthcheck_endpoint: app.workload.health_endpoint.as_str().to_owned(),
        python_application: app.workload.application.clone(),
        expires_at: None,
        ssl_certificate: None,
        domain_name: None,
        hardware: "4g-eu-001".into(),
        docker: FLASK.into(),
        image_digest: Some(app.workload.image.digest.to_string()),
        bundle_digest: Some(app.workload.bundle.to_string()),
        source_commitment: Some(app.workload.source_commitment.to_string()),
        code_key_check: Some(app.workload.code_key_check.to_string()),
        environment: std::collections::BTreeMap::new(),
    }
}

/// The workload of `app` once the platform has made it `told`.
pub fn workload_of(app: &OwnedApp, told: &App) -> Workload {
    Workload {
        format: mse_workload::FORMAT,
        app_id: told.id,
        application: app.workload.application.clone(),
        image: ImageIdentity {
            name: told.docker.clone(),
            digest: app.workload.image.digest,
        },
        bundle: app.workload.bundle,
        source_commitment: app.workload.source_commitment,
        code_key_check: app.workload.code_key_check,
        tls: Tls {
            origin: told.ssl_certificate_origin,
            names: told.tls_names.clone(),
            certificate: None,
        },
        expires_at: Some(u64::try_from(told.expires_at.as_second()).unwrap()),
        resources: Resources {
            memory_mib: told.memory_mib,
            millicores: told.millicores,
        },
        health_endpoint: HealthEndpoint::try_from(told.healthcheck_endpoint.clone()).unwrap(),
        environment: std::collections::BTreeMap::new(),
        provisioning: Provisioning::Owner {},
    }
}

fn conf_part(conf: &CreateApp) -> Part {
    Part::text(serde_json::to_string(conf).unwrap())
        .mime_str("application/json")
        .unwrap()
}

/// Whether any file below `dir` holds `needle`.
pub fn files_with(dir: &Path, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file()
                && std::fs::read(entry.path())
                    .is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
            {
                found.push(entry.path());
            }
        }
    }
    found
}
