//! The client API of a CAS (`mse-cas`): sessions, proposals, secrets, audit log.
//!
//! HTTP/1.1 on TLS 1.3 whose certificate chain ends in the CAS's pinned root key. Who asks is known
//! by the key of the TLS client certificate, which may be self-signed, and by signatures over the
//! session that is sent. Bodies are JSON; names of sessions have slashes, so they travel as query
//! parameters and never as a part of a path.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/cas` | what the CAS says it is |
//! | `POST /v1/attest` | evidence of it, bound to this connection (`mse_ratls::cas`) |
//! | `POST /v1/sessions` [`Upload`] | [`StoredSession`]: created, or updated if it names a predecessor |
//! | `GET /v1/sessions?within=NAMESPACE` | [`SessionList`] |
//! | `GET /v1/session?name=&hash=` | [`SessionView`] |
//! | `GET /v1/session/history?name=` | [`SessionHistory`] |
//! | `POST /v1/session/revoke` [`Revocation`] | [`Done`] |
//! | `POST /v1/proposals` [`NewProposal`] | [`ProposalView`] |
//! | `GET /v1/proposals?session=` | [`ProposalList`] |
//! | `GET /v1/proposal?session=&id=` | [`ProposalView`] with the text |
//! | `POST /v1/proposal/approve`, `…/withdraw` [`Vote`] | [`ProposalView`] |
//! | `POST /v1/proposal/drop` [`ProposalId`] | [`Done`] |
//! | `GET /v1/secrets?session=` | [`SecretList`]: names and versions, no value |
//! | `POST /v1/secrets/rotate` [`Rotation`] | [`SecretList`] |
//! | `PUT /v1/secrets/value` [`GivenValue`] | [`SecretList`] |
//! | `GET /v1/value?session=&secret=` | [`PublicValue`]: for anybody, of what is exported to all |
//! | `GET /v1/audit/head` | the newest signed head, for anybody |
//! | `GET /v1/audit/lines?from=&limit=` | [`AuditLines`] |
//! | `GET /v1/position?seen=` | [`PositionView`]; an error if the store does not follow from `seen` |
//! | `POST /v1/backup` | [`BackupMade`] |
//! | `GET /v1/openapi.json` | [`document`] |
//!
//! Each answer to something that changed the store has its position in the header
//! [`POSITION_HEADER`]: clients keep it, and ask with it as `seen` later, so that a CAS whose store
//! was set back is found out.

mod openapi;

pub use openapi::document;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// `POST` [`Upload`]; `GET` with `within`.
pub const SESSIONS: &str = "/v1/sessions";
/// `GET` with `name` and perhaps `hash`.
pub const SESSION: &str = "/v1/session";
/// `GET` with `name`.
pub const SESSION_HISTORY: &str = "/v1/session/history";
/// `POST` [`Revocation`].
pub const SESSION_REVOKE: &str = "/v1/session/revoke";
/// `POST` [`NewProposal`]; `GET` with `session`.
pub const PROPOSALS: &str = "/v1/proposals";
/// `GET` with `session` and `id`.
pub const PROPOSAL: &str = "/v1/proposal";
/// `POST` [`Vote`].
pub const PROPOSAL_APPROVE: &str = "/v1/proposal/approve";
/// `POST` [`Vote`].
pub const PROPOSAL_WITHDRAW: &str = "/v1/proposal/withdraw";
/// `POST` [`ProposalId`].
pub const PROPOSAL_DROP: &str = "/v1/proposal/drop";
/// `GET` with `session`.
pub const SECRETS: &str = "/v1/secrets";
/// `POST` [`Rotation`].
pub const SECRETS_ROTATE: &str = "/v1/secrets/rotate";
/// `PUT` [`GivenValue`].
pub const SECRETS_VALUE: &str = "/v1/secrets/value";
/// `GET` with `session` and `secret`.
pub const VALUE: &str = "/v1/value";
/// `GET`.
pub const AUDIT_HEAD: &str = "/v1/audit/head";
/// `GET` with `from` and `limit`.
pub const AUDIT_LINES: &str = "/v1/audit/lines";
/// `GET` with `seen`.
pub const POSITION: &str = "/v1/position";
/// `POST`, no body.
pub const BACKUP: &str = "/v1/backup";
/// `GET`: this API as an OpenAPI document.
pub const OPENAPI: &str = "/v1/openapi.json";

/// `sequence:head`: where the store is, in answers; what a client saw, in `seen`.
pub const POSITION_HEADER: &str = "mse-position";
/// Longest body of a request: a session of 1 MiB, signed and encrypted.
pub const MAX_BODY: usize = 4 * 1024 * 1024;
/// Most lines of the audit log in one answer.
pub const MAX_LINES: u64 = 1024;

/// A session on its way to the CAS. One of the three.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Upload {
    /// The text of a session whose variables are replaced; the TLS client is its creator.
    Text(String),
    /// A signed session (`docs/session.md`).
    #[schema(value_type = Object)]
    Signed(Value),
    /// A signed session, sealed to this CAS.
    #[schema(value_type = Object)]
    Encrypted(Value),
}

/// A version of a session that is stored now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StoredSession {
    /// Its name.
    pub name: String,
    /// Its hash, hex: what a successor names as `predecessor`.
    pub hash: String,
    /// Its number; the first is 1.
    pub number: u64,
    /// The version that it replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<String>,
    /// What the check warns of, as `mse session check` prints it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub warnings: Vec<Value>,
}

/// Names of sessions that the client may list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionList {
    /// In order of name.
    pub sessions: Vec<SessionLine>,
}

/// A session in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionLine {
    /// Its name.
    pub name: String,
    /// Hash of the current version, hex.
    pub hash: String,
    /// Number of the current version.
    pub number: u64,
    /// `active` or `revoked`.
    pub state: SessionState,
}

/// Whether a session may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// It may.
    Active,
    /// Never again.
    Revoked,
}

/// One version of a session, without the values that the CAS generated.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionView {
    /// Its name.
    pub name: String,
    /// Its hash, hex.
    pub hash: String,
    /// Its number.
    pub number: u64,
    /// The version that it replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<String>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Whether this is the current version.
    pub is_current: bool,
    /// Of the session.
    pub state: SessionState,
    /// What it says: the canonical text.
    pub text: String,
}

/// All versions of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionHistory {
    /// Hashes, the first version first.
    pub hashes: Vec<String>,
}

/// Ends a session for good: it is served to nobody any more, and running services are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Which.
    pub name: String,
    /// The version that the client means, hex: the current one.
    pub hash: String,
    /// Of those whom the session knows by signing keys; they count beside the TLS client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<RevocationSignature>,
}

/// What one signer says to a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevocationSignature {
    /// The signer's public key, SPKI as PEM.
    pub signer: String,
    /// Signature in hex, in the domain [`REVOCATION_DOMAIN`], over the hash of the version: 32 bytes.
    /// A version names its session, so it revokes nothing else.
    pub signature: String,
}

/// What revocations are signed for.
pub const REVOCATION_DOMAIN: &str = "mse-session-revocation-v1";

/// Nothing more to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Done {}

/// Proposes an update to those whose approval it takes.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProposal {
    /// What is proposed. Signatures in it count as approvals.
    pub upload: Upload,
    /// Seconds until it lapses: 60 to 30 days.
    pub expires_in: u64,
}

/// Names a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposalId {
    /// The session.
    pub session: String,
    /// 64 hex digits.
    pub id: String,
}

/// What one signer says to a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Vote {
    /// The session.
    pub session: String,
    /// The proposal, 64 hex digits.
    pub id: String,
    /// The signer's public key, SPKI as PEM.
    pub signer: String,
    /// Signature in hex, in the domain [`APPROVAL_DOMAIN`] or [`WITHDRAWAL_DOMAIN`], over the
    /// proposal's id and the hash of the proposed session: 32 bytes each.
    pub signature: String,
}

/// What approvals are signed for. The message is `domain ‖ 0 ‖ proposal id ‖ session hash`.
pub const APPROVAL_DOMAIN: &str = "mse-proposal-approval-v1";
/// What withdrawals are signed for. The message is as that of an approval.
pub const WITHDRAWAL_DOMAIN: &str = "mse-proposal-withdrawal-v1";

/// An update that waits for approvals.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposalView {
    /// The session.
    pub session: String,
    /// Names it, 64 hex digits.
    pub id: String,
    /// Hash that the session will have, hex: what approvals are over.
    pub hash: String,
    /// The version that it replaces, hex.
    pub predecessor: String,
    /// When it lapses.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// What was said to it.
    pub approvals: Vec<ApprovalView>,
    /// Where it stands.
    pub state: ProposalState,
    /// What is proposed: canonical text. Only where one proposal is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What one signer said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalView {
    /// The signer's public key, SPKI as PEM.
    pub signer: String,
    /// Whether the approval was taken back; it cannot be given to this proposal again.
    pub withdrawn: bool,
}

/// Where a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProposalState {
    /// It waits for more approvals.
    Open,
    /// Its time is over.
    Lapsed,
    /// The session was updated otherwise: it can never be taken.
    Overtaken,
    /// It was taken: it is the current version now.
    Taken,
}

/// Proposals for a session.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposalList {
    /// In order of their ids.
    pub proposals: Vec<ProposalView>,
}

/// The secrets of a session, without any value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretList {
    /// Hash of the session's current version, hex.
    pub session_hash: String,
    /// In the order of the session.
    pub secrets: Vec<SecretLine>,
}

/// A secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretLine {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// `generated`, `explicit`, `imported` or `external`; `given` after its owner gave it a value.
    pub source: String,
    /// Number of the current value, from 1.
    pub version: u64,
    /// Until when the value before it is accepted, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub grace_until: Option<Timestamp>,
    /// When it is renewed by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub renew_at: Option<Timestamp>,
}

/// Makes a new value of a generated secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The session.
    pub session: String,
    /// The secret.
    pub secret: String,
    /// Seconds for which the value before stays accepted: `name` is the new one, `name:previous`
    /// the one before until then, and `name:presented` the one before for half of it. 0: not at
    /// all.
    #[serde(default)]
    pub grace: u64,
}

/// A value that the owner of a session gives: sealed to the CAS, signed for this session, secret
/// and version (`mse_secrets::OwnerValue`).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenValue {
    /// The session.
    pub session: String,
    /// The secret.
    pub secret: String,
    /// The version that it becomes: the current one and 1.
    pub version: u64,
    /// The owner's public key, SPKI as PEM; the session lets it update.
    pub owner: String,
    /// The sealed value, base64.
    pub value: String,
    /// As in [`Rotation::grace`].
    #[serde(default)]
    pub grace: u64,
}

/// A value that everybody may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicValue {
    /// Its kind.
    pub kind: String,
    /// Its value: text as it is, binary as hex, certificates and public keys as PEM. Never a
    /// private key.
    pub value: String,
}

/// A part of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditLines {
    /// Lines of an export behind its header (`docs/audit.md`).
    pub lines: Vec<String>,
    /// The number of the entry after the last one in here.
    pub next: u64,
    /// The newest signed head; none before the first entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub head: Option<Value>,
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PositionView {
    /// Which store, hex.
    pub store: String,
    /// How many transactions it has seen.
    pub sequence: u64,
    /// Hash over all of them, hex.
    pub head: String,
}

/// A backup was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupMade {
    /// Name of the file in the folder `backups` of the CAS's data.
    pub file: String,
    /// SHA-256 of it, hex.
    pub digest: String,
    /// What it holds.
    pub position: PositionView,
}

/// The body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[serde(deny_unknown_fields)]
#[error("{message}")]
pub struct CasError {
    /// For programs: never changes its meaning.
    pub code: CasErrorCode,
    /// For people: what was wrong, with the field and the value, unless that is secret.
    pub message: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Faults of a session, as `mse session check --json` prints them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub faults: Vec<Value>,
}

impl CasError {
    /// A refusal without hint or faults.
    pub fn new(code: CasErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            faults: Vec::new(),
        }
    }

    /// Adds how to mend it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What kind of refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CasErrorCode {
    /// 400: not of the right shape.
    Malformed,
    /// 403: who asked may not; there may be nothing at all of that name.
    Forbidden,
    /// 404: there is no such path, secret, version or proposal.
    NotFound,
    /// 409: there is one of this name already.
    Exists,
    /// 409: it changed meanwhile: the predecessor, version or state is another by now.
    Conflict,
    /// 409: the store does not follow from what the client saw: it was set back, or is a fork.
    RolledBack,
    /// 410: the session was revoked.
    Revoked,
    /// 413: over a bound.
    TooLarge,
    /// 422: the session has faults, or asks for what cannot be given.
    Invalid,
    /// 500: a fault of the CAS.
    Internal,
    /// 503: the CAS cannot answer now.
    Unavailable,
}

impl CasErrorCode {
    /// The HTTP status that goes with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Exists | Self::Conflict | Self::RolledBack => 409,
            Self::Revoked => 410,
            Self::TooLarge => 413,
            Self::Invalid => 422,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}
