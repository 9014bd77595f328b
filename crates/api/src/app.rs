//! Apps: what a client asks for, and what it is told.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use mse_workload::launch::Confinement;
use mse_workload::{AppId, TlsOrigin};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Plain environment: integrity only, the operator sees it.
pub type Environment = BTreeMap<String, String>;

/// The part `conf` of `POST /apps`. Never here: the private key, the code key, the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApp {
    /// Unique among the project's live apps; 1 to 255 characters.
    pub name: String,
    /// The project's name.
    pub project: String,
    /// TLS ends at the operator's gateway (`--untrusted-ssl`).
    pub dev_mode: bool,
    /// Path that tells whether the app is well; starts with `/`.
    pub healthcheck_endpoint: String,
    /// `module:variable`.
    pub python_application: String,
    /// When the app shall stop, `2026-11-24T12:00:00.000000Z`; the platform may shorten it.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The owner's certificate chain as PEM: origin `owner`.
    pub ssl_certificate: Option<String>,
    /// The owner's domain; with `ssl_certificate`.
    pub domain_name: Option<String>,
    /// Name of a hardware of the project.
    pub hardware: String,
    /// The runtime image, such as `mse-flask:20261123000000`.
    pub docker: String,
    /// Ours: SHA-256 of the image's definition as the client knows it; the platform refuses another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Ours: bundle digest of the uploaded archive; the platform refuses another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_digest: Option<String>,
    /// Ours: the source commitment that goes into the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_commitment: Option<String>,
    /// Ours: the key check value that goes into the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_key_check: Option<String>,
    /// Ours: plain environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: Environment,
}

/// How far an app is: `spawning → initializing → running`, then for good `on_error` or `stopped`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppStatus {
    /// The platform is launching the enclave.
    Spawning,
    /// The enclave shows its evidence and waits for its secrets.
    Initializing,
    /// The app answers.
    Running,
    /// Ended by a fault.
    OnError,
    /// Ended by its owner or its expiry.
    Stopped,
}

impl AppStatus {
    /// Every status, in order.
    pub const ALL: [Self; 5] = [
        Self::Spawning,
        Self::Initializing,
        Self::Running,
        Self::OnError,
        Self::Stopped,
    ];

    /// Whether nothing comes after it.
    pub fn is_terminated(self) -> bool {
        matches!(self, Self::OnError | Self::Stopped)
    }

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spawning => "spawning",
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::OnError => "on_error",
            Self::Stopped => "stopped",
        }
    }

    /// Reads the wire form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl fmt::Display for AppStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An app, whole: `GET /apps/{id}` and the answer to `POST /apps`.
///
/// Everything here is the operator's word. A client believes none of it: what matters goes into
/// the workload, which the client builds itself and compares with the measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct App {
    /// This deployment's id.
    #[schema(value_type = Uuid)]
    pub id: AppId,
    /// Its name.
    pub name: String,
    /// Its project.
    pub project_id: Uuid,
    /// Who deployed it.
    pub owner_id: String,
    /// The host its users open: stays when the same app is deployed again with the same origin.
    pub domain_name: String,
    /// The host at which its enclave is verified and provisioned.
    pub config_domain_name: String,
    /// Its image.
    pub docker: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it began to answer.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ready_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub stopped_at: Option<Timestamp>,
    /// How far it is.
    pub status: AppStatus,
    /// Its hardware.
    pub hardware_name: String,
    /// `self`, `owner` or `operator`.
    #[schema(value_type = String)]
    pub ssl_certificate_origin: TlsOrigin,
    /// When it stops by itself.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// `module:variable`.
    pub python_application: String,
    /// Its health path.
    pub healthcheck_endpoint: String,

    /// Ours: a URL that any program on this machine can open (the embedded platform gives every
    /// app a loopback port of its own; elsewhere `https://domain_name`).
    #[serde(default)]
    pub url: String,
    /// Ours: `host:port` of the gateway to connect to for either domain name (TLS by SNI).
    #[serde(default)]
    pub gateway: String,
    /// Ours: the DNS names and addresses that the enclave's certificate covers, as measured.
    #[serde(default)]
    pub tls_names: Vec<String>,
    /// Ours: `simulated`, `sgx`, … as the operator says it.
    #[serde(default)]
    pub tee: String,
    /// Ours: enclave memory in MiB, as measured.
    #[serde(default)]
    pub memory_mib: u32,
    /// Ours: thousandths of a core, as measured.
    #[serde(default)]
    pub millicores: u32,
    /// Ours: why it ended, or what it is doing.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Ours: what confines the app, and what this machine did not allow.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    pub confinement: Vec<Confinement>,
}

/// An app in a list: `GET /apps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartialApp {
    /// This deployment's id.
    #[schema(value_type = Uuid)]
    pub id: AppId,
    /// Its name.
    pub name: String,
    /// The host its users open.
    pub domain_name: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it began to answer.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ready_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub stopped_at: Option<Timestamp>,
    /// How far it is.
    pub status: AppStatus,
    /// Its hardware.
    pub hardware_name: String,
    /// Ours: see [`App::url`].
    #[serde(default)]
    pub url: String,
}

/// `GET /apps/{id}/logs`: the last 64 kB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Logs {
    /// Everything as one text.
    pub stdout: String,
}

/// One line of `GET /apps/{id}/logs?follow=true&after=N`, which streams JSON lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEntry {
    /// Counts up within an app.
    pub number: u64,
    /// When it was read.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Whose line it is.
    pub stream: LogStream,
    /// The line, at most 16 KiB.
    pub text: String,
}

/// Who wrote a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// The app, on its standard output or error.
    App,
    /// The program in the enclave.
    Enclave,
    /// The platform.
    Platform,
}
