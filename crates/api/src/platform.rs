//! Users, projects, hardware, and the platform itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// `GET /users/me`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Opaque id.
    pub id: String,
    /// Given name, may be empty.
    pub given_name: String,
    /// Family name, may be empty.
    pub family_name: String,
    /// How the user logs in.
    pub email: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Whether the profile is complete.
    pub configured: bool,
    /// Whether the e-mail address was confirmed.
    pub email_verified: bool,
}

/// `GET /projects?name=` (a list) and `GET /projects/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique for an owner.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whose it is.
    pub owner_id: String,
    /// Whether it is the one used when none is named.
    pub is_default: bool,
    /// Billing, not used yet.
    #[serde(default)]
    pub stripe_customer_id: Option<String>,
    /// Billing, not used yet.
    #[serde(default)]
    pub stripe_payment_method_id: Option<String>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was deleted.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
}

/// `GET /hardwares/{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Hardware {
    /// Such as `4g-eu-001`.
    pub name: String,
    /// Memory in GiB.
    pub memory: u32,
    /// Cores; the free size may have a fraction.
    pub cores: f64,
    /// Enclave memory in MiB.
    pub enclave_size: u32,
}

/// `GET /apps/default`: what `init` and `scaffold` propose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppDefaults {
    /// Project name.
    pub project: String,
    /// Image reference.
    pub docker: String,
    /// Hardware name.
    pub hardware: String,
}

/// Ours: `POST /login`, with either a one-time token or an e-mail address and a password.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Login {
    /// The token the platform printed; it works once.
    Token {
        /// The token.
        one_time_token: String,
    },
    /// A local account.
    Password {
        /// The account.
        email: String,
        /// Its password.
        password: String,
    },
}

/// The answer to `POST /login`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionToken {
    /// Sent as `Authorization: Bearer …`.
    pub access_token: String,
    /// Who logged in.
    pub email: String,
    /// When the token ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// Ours: `GET /platform`, open to all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlatformInfo {
    /// Version of the server.
    pub version: String,
    /// The TEE it launches enclaves in: `simulated`, …
    pub tee: String,
    /// `host:port` of the gateway.
    pub gateway: String,
    /// Path under this API where collateral is served in PCCS form.
    pub pccs_path: String,
}
