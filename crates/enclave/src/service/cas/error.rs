//! Why a CAS gives nothing, and what that means.

use std::fmt;

use mse_ratls::cas::client::{self, InvalidAddress};
use mse_ratls::release::{self, RefusalCode, ReleaseRefusal};
use mse_tee::attester::AttesterError;
use mse_workload::launch::ServiceCheck;

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CasError {
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// Before there was an answer.
    #[error(transparent)]
    Connection(#[from] client::CasError),
    #[error("no evidence: {0}")]
    Attester(#[from] AttesterError),
    #[error(
        "the evidence of this machine is larger than a request to the CAS may be ({} bytes)",
        release::MAX_REQUEST
    )]
    Request,
    #[error("the CAS refused: {0}{check}", check = CheckOf(.0))]
    Refused(ReleaseRefusal),
    #[error("the CAS answered with status {0}: is something else at its address?")]
    Status(u16),
    #[error("the answer of the CAS is no good: {0}")]
    Answer(&'static str),
    #[error("the release does not open: {0}")]
    Release(#[from] release::ReleaseError),
}

impl CasError {
    /// Whether it may pass by itself: the host keeps the CAS away, or the CAS cannot answer now.
    pub(in crate::service) fn is_transient(&self) -> bool {
        match self {
            Self::Connection(error) => is_reachability(error),
            Self::Status(status) => *status >= 500,
            Self::Refused(refusal) => refusal.code == RefusalCode::Unavailable,
            _ => false,
        }
    }

    /// The CAS's own no, which it can mean: anything else may be the host's doing.
    pub(in crate::service) fn refusal(&self) -> Option<&ReleaseRefusal> {
        match self {
            Self::Refused(refusal) if refusal.code != RefusalCode::Unavailable => Some(refusal),
            _ => None,
        }
    }

    /// What was checked.
    pub(in crate::service) fn check(&self) -> ServiceCheck {
        match self {
            Self::Address(_) => ServiceCheck::Launch,
            Self::Connection(client::CasError::Identity(_)) => ServiceCheck::CasIdentity,
            Self::Connection(error) if is_reachability(error) => ServiceCheck::CasReachable,
            Self::Attester(_) | Self::Request => ServiceCheck::Machine,
            Self::Refused(refusal) => match refusal.code {
                RefusalCode::Unavailable => ServiceCheck::CasReachable,
                _ => ServiceCheck::Release,
            },
            Self::Connection(_) | Self::Status(_) | Self::Answer(_) | Self::Release(_) => {
                ServiceCheck::Answer
            }
        }
    }
}

/// Whether it says no more than that the CAS is out of reach now.
fn is_reachability(error: &client::CasError) -> bool {
    matches!(
        error,
        client::CasError::Unreachable(..)
            | client::CasError::Timeout(..)
            | client::CasError::Handshake(_)
            | client::CasError::Http(_)
            | client::CasError::Exporter(_)
    )
}

struct CheckOf<'a>(&'a ReleaseRefusal);

impl fmt::Display for CheckOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.check {
            Some(check) => write!(f, " (check `{check}`)"),
            None => Ok(()),
        }
    }
}
