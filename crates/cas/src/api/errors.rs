//! What clients are told when something is not done.

use mse_api::cas::{CasError, CasErrorCode};
use mse_session::{Faults, SignedSessionError};
use serde_json::json;

use crate::sessions::SessionError;
use crate::store::{Refused, StoreError};

impl From<SessionError> for CasError {
    fn from(error: SessionError) -> Self {
        let message = error.to_string();
        let coded = |code| Self::new(code, message.clone());
        match &error {
            SessionError::NoSession(_)
            | SessionError::NoSecret { .. }
            | SessionError::NoProposal { .. } => coded(CasErrorCode::NotFound),
            SessionError::Forbidden { hint, .. } => {
                coded(CasErrorCode::Forbidden).with_hint(hint.clone())
            }
            SessionError::Anonymous => coded(CasErrorCode::Forbidden)
                .with_hint("`mse cas keygen` makes a client certificate"),
            SessionError::Faults(faults)
            | SessionError::Signed(SignedSessionError::Faults(faults)) => with_faults(faults),
            SessionError::Signed(_)
            | SessionError::Encrypted(_)
            | SessionError::Field { .. }
            | SessionError::Unsupported { .. }
            | SessionError::Configuration { .. }
            | SessionError::Attestation { .. }
            | SessionError::Volumes { .. }
            | SessionError::ImportsTooDeep(_)
            | SessionError::Sources(_)
            | SessionError::Values(_) => coded(CasErrorCode::Invalid),
            SessionError::Moved { .. }
            | SessionError::ProposalOver { .. }
            | SessionError::Approval(_) => coded(CasErrorCode::Conflict),
            SessionError::Exists(_) => coded(CasErrorCode::Exists),
            SessionError::Revoked(_) => coded(CasErrorCode::Revoked),
            SessionError::Busy(_) => coded(CasErrorCode::Unavailable).with_hint("try again"),
            SessionError::Broken(..) => {
                tracing::error!(%error, "a session cannot be read");
                coded(CasErrorCode::Internal)
            }
            SessionError::Store(error) => store(error),
        }
    }
}

/// A fault of ours: the log has it, the client has not.
pub(super) fn internal(error: &dyn std::error::Error) -> CasError {
    tracing::error!(%error, "a request failed");
    CasError::new(
        CasErrorCode::Internal,
        "the CAS failed; its operator finds the reason in its log",
    )
}

fn store(error: &StoreError) -> CasError {
    match error {
        StoreError::RolledBack { .. } | StoreError::Forked { .. } => {
            CasError::new(CasErrorCode::RolledBack, error.to_string())
        }
        StoreError::Database(_)
        | StoreError::Connect { .. }
        | StoreError::WriteFailed(_)
        | StoreError::Busy { .. } => {
            tracing::error!(%error, "the store cannot be reached");
            CasError::new(
                CasErrorCode::Unavailable,
                "the CAS cannot reach its store now: nothing was changed",
            )
            .with_hint("try again, or ask another replica")
        }
        StoreError::OutcomeUnknown(_) | StoreError::Stopped(_) => {
            tracing::error!(%error, "the store takes no writes");
            CasError::new(
                CasErrorCode::Unavailable,
                "the CAS cannot say whether this was done: look before you repeat it, at this replica or another",
            )
        }
        StoreError::Refused(refused) => CasError::new(refused_code(refused), refused.to_string()),
        error => internal(error),
    }
}

fn refused_code(refused: &Refused) -> CasErrorCode {
    match refused {
        Refused::BadName { .. } => CasErrorCode::Malformed,
        Refused::TooLarge { .. } => CasErrorCode::TooLarge,
        Refused::SessionExists { .. } => CasErrorCode::Exists,
        Refused::Revoked { .. } => CasErrorCode::Revoked,
        Refused::NoSession { .. } | Refused::NoSecret { .. } => CasErrorCode::NotFound,
        _ => CasErrorCode::Conflict,
    }
}

fn with_faults(faults: &Faults) -> CasError {
    let count = faults.0.len();
    let mut error = CasError::new(
        CasErrorCode::Invalid,
        format!("the session has faults ({count}): it was not stored"),
    )
    .with_hint("`mse session check FILE` explains them");
    error.faults = faults.0.iter().map(|fault| json!(fault)).collect();
    error
}
