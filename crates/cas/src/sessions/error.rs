//! Why something is not done with a session.

use mse_session::{EncryptedSessionError, Faults, SignedSessionError};

use crate::release::attestation::Unresolved;
use crate::release::configuration::ConfigurationError;
use crate::release::mounting::MountingError;
use crate::sources::GatherError;
use crate::store::StoreError;
use crate::values::ValuesError;

/// Why something is not done with a session. Names what is wrong, and no secret value.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is none.
    #[error("there is no session `{0}`")]
    NoSession(String),
    /// Who asks may not, or there is nothing: which, is not said.
    #[error("you may not {operation} `{name}`, or there is no such session")]
    Forbidden {
        /// What they wanted.
        operation: &'static str,
        /// The session.
        name: String,
        /// How to be let.
        hint: String,
    },
    /// No key is known of who asks.
    #[error("this needs a TLS client certificate, and you showed none")]
    Anonymous,
    /// The text has faults.
    #[error("the session has faults:\n{0}")]
    Faults(#[from] Faults),
    /// The signed form is not one.
    #[error(transparent)]
    Signed(#[from] SignedSessionError),
    /// The encrypted form is not one, or not for this CAS.
    #[error(transparent)]
    Encrypted(#[from] EncryptedSessionError),
    /// A field has a value that it cannot have here.
    #[error("`{field}`: {what}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it, with the fix.
        what: String,
    },
    /// Something that this CAS does not do.
    #[error("`{field}`: {what} is not supported by this CAS")]
    Unsupported {
        /// Where it stands.
        field: &'static str,
        /// What.
        what: &'static str,
    },
    /// The session was changed meanwhile.
    #[error(
        "`{name}` is at version {current} by now, not at {given}: read it, and make your change on top"
    )]
    Moved {
        /// The session.
        name: String,
        /// Its current version.
        current: String,
        /// What the client took for it.
        given: String,
    },
    /// It exists.
    #[error("the session `{0}` exists: name its current version as `predecessor` to update it")]
    Exists(String),
    /// It was revoked.
    #[error("the session `{0}` was revoked: it is of no use any more; use another name")]
    Revoked(String),
    /// Values cannot be made.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// Values that are kept outside cannot be had.
    #[error(transparent)]
    Sources(#[from] GatherError),
    /// A service could never be told what the session says.
    #[error("the service `{service}` could never be configured: {source}")]
    Configuration {
        /// Which.
        service: String,
        /// Why.
        source: ConfigurationError,
    },
    /// A service's attestation cannot be worked out.
    #[error("the attestation of the service `{service}` cannot be worked out: {source}")]
    Attestation {
        /// Which.
        service: String,
        /// Why.
        source: Unresolved,
    },
    /// A service's volumes cannot be had.
    #[error("the volumes of the service `{service}`: {source}")]
    Volumes {
        /// Which.
        service: String,
        /// Why.
        source: Box<MountingError>,
    },
    /// There is no such secret, or none of this kind.
    #[error("the session `{session}` has no secret `{secret}` {what}")]
    NoSecret {
        /// The session.
        session: String,
        /// The secret.
        secret: String,
        /// What was looked for: `that is exported to all`.
        what: &'static str,
    },
    /// There is no such proposal.
    #[error("there is no proposal `{id}` for `{session}`: it was taken, dropped, or has lapsed")]
    NoProposal {
        /// The session.
        session: String,
        /// The proposal.
        id: String,
    },
    /// The proposal can no longer be taken.
    #[error("the proposal `{id}` {why}")]
    ProposalOver {
        /// Which.
        id: String,
        /// `lapsed at …`
        why: String,
    },
    /// An approval that is not taken.
    #[error("the approval is not taken: {0}")]
    Approval(String),
    /// Too many imports behind each other, or in a circle.
    #[error("`{0}` imports through more than 8 sessions, or in a circle")]
    ImportsTooDeep(String),
    /// It changes faster than it is read.
    #[error("the session `{0}` changes all the time: try again")]
    Busy(String),
    /// What is stored cannot be read.
    #[error("the session `{0}` cannot be read from the store: {1}")]
    Broken(String, String),
    /// The store does not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}
