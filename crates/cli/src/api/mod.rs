//! The platform's REST API. What it answers is the operator's word: nothing here is believed
//! that matters for an app's security.

mod error;
mod untrusted;
mod upload;

use std::time::Duration;

use futures_util::StreamExt;
use mse_api::{
    App, AppDefaults, AppStatus, Hardware, LogEntry, Login, Logs, PartialApp, PlatformInfo,
    Project, SessionToken, User,
};
use mse_workload::AppId;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::server_url::ServerUrl;
use crate::session::Session;

pub(crate) use error::ApiFailure;
pub(crate) use upload::Upload;

/// An answer in JSON is never larger: 16 MiB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// A line of a followed log is never longer: 16 KiB of text, six times that as escaped JSON.
const MAX_LOG_LINE: usize = 128 * 1024;
/// How long a call may take, except an upload.
const CALL: Duration = Duration::from_secs(60);
/// Pauses before a `GET` is tried again. Nothing else is ever repeated by itself.
const RETRIES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(900),
];

/// A platform's API, with or without a login.
pub(crate) struct ApiClient {
    http: Client,
    server: ServerUrl,
    session: Option<Session>,
}

/// Which apps to list.
#[derive(Default)]
pub(crate) struct AppQuery<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) statuses: &'a [AppStatus],
    pub(crate) project: Option<uuid::Uuid>,
    /// Made by the upload with this key.
    pub(crate) idempotency_key: Option<uuid::Uuid>,
}

/// The statuses of an app that lives.
pub(crate) const LIVE: [AppStatus; 3] = [
    AppStatus::Spawning,
    AppStatus::Initializing,
    AppStatus::Running,
];

impl ApiClient {
    /// The API of the platform where `session` is logged in.
    pub(crate) fn of(session: Session) -> Result<Self, Failure> {
        let server = session.server.clone();
        Ok(Self {
            http: http_client(&server)?,
            server,
            session: Some(session),
        })
    }

    /// The API at `server`, without a login.
    pub(crate) fn open(server: &ServerUrl) -> Result<Self, Failure> {
        Ok(Self {
            http: http_client(server)?,
            server: server.clone(),
            session: None,
        })
    }

    /// Where it is.
    pub(crate) fn server(&self) -> &ServerUrl {
        &self.server
    }

    pub(crate) async fn platform(&self) -> Result<PlatformInfo, ApiFailure> {
        self.get("/platform").await
    }

    pub(crate) async fn login(&self, login: &Login) -> Result<SessionToken, ApiFailure> {
        let request = self.request(Method::POST, "/login").json(login);
        self.answer(self.send(request).await?).await
    }

    pub(crate) async fn logout(&self) -> Result<(), ApiFailure> {
        self.send(self.request(Method::POST, "/logout")).await?;
        Ok(())
    }

    pub(crate) async fn me(&self) -> Result<User, ApiFailure> {
        self.get("/users/me").await
    }

    pub(crate) async fn defaults(&self) -> Result<AppDefaults, ApiFailure> {
        self.get("/apps/default").await
    }

    /// The user's project of this name.
    pub(crate) async fn project(&self, name: &str) -> Result<Option<Project>, ApiFailure> {
        let request = self
            .request(Method::GET, "/projects")
            .query(&[("name", name)]);
        let projects: Vec<Project> = self.answer(self.send_again(request).await?).await?;
        Ok(projects.into_iter().find(|project| project.name == name))
    }

    pub(crate) async fn hardware(&self, name: &str) -> Result<Hardware, ApiFailure> {
        let path: String = name.bytes().map(escaped).collect();
        self.get(&format!("/hardwares/{path}")).await
    }

    pub(crate) async fn apps(&self, query: &AppQuery<'_>) -> Result<Vec<PartialApp>, ApiFailure> {
        let mut parameters: Vec<(&str, String)> = Vec::new();
        if let Some(name) = query.name {
            parameters.push(("name", name.to_owned()));
        }
        if !query.statuses.is_empty() {
            let statuses: Vec<&str> = query
                .statuses
                .iter()
                .map(|status| status.as_str())
                .collect();
            parameters.push(("status", statuses.join(",")));
        }
        if let Some(project) = query.project {
            parameters.push(("project", project.to_string()));
        }
        if let Some(key) = query.idempotency_key {
            parameters.push(("idempotency_key", key.to_string()));
        }
        let request = self.request(Method::GET, "/apps").query(&parameters);
        self.answer(self.send_again(request).await?).await
    }

    pub(crate) async fn app(&self, id: AppId) -> Result<App, ApiFailure> {
        self.get(&format!("/apps/{id}")).await
    }

    pub(crate) async fn stop(&self, id: AppId) -> Result<(), ApiFailure> {
        let request = self.request(Method::POST, &format!("/apps/{id}/stop"));
        self.send(request).await?;
        Ok(())
    }

    /// The last 64 kB of the log.
    pub(crate) async fn logs(&self, id: AppId) -> Result<Logs, ApiFailure> {
        self.get(&format!("/apps/{id}/logs")).await
    }

    /// Gives `line` every line of the log after number `after`, as they come, until the app ends
    /// or the connection does. The answer is the number of the last line.
    pub(crate) async fn follow_logs(
        &self,
        id: AppId,
        after: u64,
        mut line: impl FnMut(LogEntry) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let request = self
            .request(Method::GET, &format!("/apps/{id}/logs"))
            .query(&[("follow", "true".to_owned()), ("after", after.to_string())])
            .timeout(Duration::from_hours(24));
        let mut chunks = self.send_again(request).await?.bytes_stream();
        let mut pending: Vec<u8> = Vec::new();
        let mut last = after;
        while let Some(Ok(chunk)) = chunks.next().await {
            pending.extend_from_slice(&chunk);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let json: Vec<u8> = pending.drain(..=end).collect();
                if json.trim_ascii().is_empty() {
                    continue;
                }
                let entry: LogEntry = untrusted::from_json(&json)
                    .map_err(|error| self.unreadable(error.to_string()))?;
                last = entry.number;
                line(entry)?;
            }
            if pending.len() > MAX_LOG_LINE {
                return Err(self
                    .unreadable("a line of the log is too long".to_owned())
                    .into());
            }
        }
        Ok(last)
    }

    /// Figures of a running app: name → `[time, value]`.
    pub(crate) async fn metrics(&self, id: AppId) -> Result<Value, ApiFailure> {
        self.get(&format!("/apps/{id}/metrics")).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiFailure> {
        let request = self.request(Method::GET, path);
        self.answer(self.send_again(request).await?).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .http
            .request(method, self.server.at(path))
            .timeout(CALL);
        match &self.session {
            Some(session) => request.bearer_auth(session.access_token.as_str()),
            None => request,
        }
    }

    /// Sends a request that may be repeated.
    async fn send_again(&self, request: RequestBuilder) -> Result<Response, ApiFailure> {
        let mut last = self.send_copy(&request).await;
        for pause in RETRIES {
            match &last {
                Err(failure) if failure.is_passing() => sleep(pause).await,
                _ => break,
            }
            last = self.send_copy(&request).await;
        }
        last
    }

    async fn send_copy(&self, request: &RequestBuilder) -> Result<Response, ApiFailure> {
        match request.try_clone() {
            Some(copy) => self.send(copy).await,
            None => Err(self.unreadable("the request cannot be repeated".to_owned())),
        }
    }

    /// Sends a request once.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ApiFailure> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = read_bounded(response, MAX_ANSWER).await.unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    async fn answer<T: DeserializeOwned>(&self, response: Response) -> Result<T, ApiFailure> {
        let body = read_bounded(response, MAX_ANSWER)
            .await
            .map_err(|why| self.unreadable(why))?;
        untrusted::from_json(&body).map_err(|error| self.unreadable(error.to_string()))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ApiFailure {
        ApiFailure::refused(&self.server.to_string(), status.as_u16(), body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> ApiFailure {
        ApiFailure::unreachable(self.server.to_string(), error)
    }

    fn unreadable(&self, why: String) -> ApiFailure {
        ApiFailure::Unreadable {
            server: self.server.to_string(),
            why,
        }
    }
}

/// An HTTP client for `server`: no redirects (they would carry the login elsewhere), and on this
/// machine neither proxies nor the system's certificates, which a small machine may not have.
pub(crate) fn http_client(server: &ServerUrl) -> Result<Client, Failure> {
    let mut builder = Client::builder()
        .user_agent(concat!("mse-cli/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10));
    if server.is_loopback() {
        builder = builder.no_proxy();
    }
    if server.is_plain() {
        builder = builder.tls_certs_only([]);
    }
    builder.build().map_err(|error| {
        Failure::other(format!(
            "HTTPS cannot be set up: {}",
            crate::failure::root_cause(&error)
        ))
        .with_hint("install the system's CA certificates, on Debian and Ubuntu with `apt install ca-certificates`")
    })
}

/// The body of `response`, up to `limit` bytes.
pub(crate) async fn read_bounded(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| crate::failure::root_cause(&error))?
    {
        if body.len() + chunk.len() > limit {
            return Err(format!("it is longer than {limit} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// A byte of a path's part, percent-encoded unless it is unreserved (RFC 3986).
fn escaped(byte: u8) -> String {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}
