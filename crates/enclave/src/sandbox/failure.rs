//! Why a stage of the sandbox cannot go on.

use std::io;

use super::root::RootError;
use super::wire::{Event, WireError};

/// What a stage reports before it ends without having run the app.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("cannot {action}: {source}")]
    Os {
        action: String,
        source: io::Error,
        fix: Option<String>,
    },
    #[error("mse-enclave ended while its sandbox was being made")]
    Orphaned,
    #[error("{measure} did not take effect: {detail}")]
    Unconfined {
        measure: &'static str,
        detail: String,
    },
    #[error("the plan is for an image, and there is no copy of one")]
    NoRoot,
    #[error(transparent)]
    Root(#[from] RootError),
    #[error("`{0}` is there already, or was sent twice")]
    DuplicateFile(String),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl StageError {
    /// The same error with what would help.
    pub(super) fn with_fix(self, advice: Option<String>) -> Self {
        match self {
            Self::Os {
                action,
                source,
                fix: None,
            } => Self::Os {
                action,
                source,
                fix: advice,
            },
            other => other,
        }
    }

    pub(super) fn os_error(&self) -> Option<i32> {
        match self {
            Self::Os { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    pub(super) fn into_event(self) -> Event {
        let message = self.to_string();
        match self {
            Self::Root(_) => Event::NotRooted { message },
            Self::Os { fix, .. } => Event::Failed { message, fix },
            _ => Event::Failed { message, fix: None },
        }
    }
}

/// Says what was being done when the system refused.
pub(super) trait Doing<T> {
    /// `action` completes "cannot …".
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, StageError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, StageError> {
        self.map_err(|source| StageError::Os {
            action: action(),
            source: source.into(),
            fix: None,
        })
    }
}
