//! Why a CAS gives nothing, and what that means.

use std::fmt;
use std::io;
use std::time::Duration;

use mse_ratls::release::{self, RefusalCode, ReleaseRefusal};
use mse_workload::launch::ServiceCheck;

use mse_tee::attester::AttesterError;

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CasError {
    #[error("the address of the CAS is `{0}`: write `HOST:PORT`")]
    Address(String),
    #[error("the CAS at `{0}` cannot be reached: {1}")]
    Unreachable(String, #[source] io::Error),
    #[error("the CAS gave nothing: {0} took longer than {seconds} seconds", seconds = .1.as_secs())]
    Timeout(&'static str, Duration),
    #[error("the TLS 1.3 handshake with the CAS failed: {0}")]
    Handshake(#[source] io::Error),
    #[error("the server is not the CAS that was measured: {0}")]
    Identity(String),
    #[error("the TLS connection gives no exporter value: {0}")]
    Exporter(#[source] rustls::Error),
    #[error("the connection to the CAS broke off: {0}")]
    Http(#[from] hyper::Error),
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
    pub(super) fn from_handshake(error: io::Error) -> Self {
        let refused = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match refused {
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(why))) => {
                Self::Identity(why.to_string())
            }
            Some(rustls::Error::InvalidCertificate(why)) => Self::Identity(why.to_string()),
            _ => Self::Handshake(error),
        }
    }

    /// Whether it may pass by itself: the host keeps the CAS away, or the CAS cannot answer now.
    pub(in crate::service) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(..)
            | Self::Timeout(..)
            | Self::Handshake(_)
            | Self::Http(_)
            | Self::Exporter(_) => true,
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
            Self::Unreachable(..)
            | Self::Timeout(..)
            | Self::Handshake(_)
            | Self::Http(_)
            | Self::Exporter(_) => ServiceCheck::CasReachable,
            Self::Identity(_) => ServiceCheck::CasIdentity,
            Self::Attester(_) | Self::Request => ServiceCheck::Machine,
            Self::Refused(refusal) => match refusal.code {
                RefusalCode::Unavailable => ServiceCheck::CasReachable,
                _ => ServiceCheck::Release,
            },
            Self::Status(_) | Self::Answer(_) | Self::Release(_) => ServiceCheck::Answer,
        }
    }
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
