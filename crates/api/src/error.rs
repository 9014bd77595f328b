//! Refusals: one JSON form, a stable code for programs, a sentence for people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For programs: never changes its meaning.
    pub code: ErrorCode,
    /// For people: what was wrong, with the value.
    pub message: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ApiError {
    /// A refusal without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// 400: the request is malformed.
    BadRequest,
    /// 401: no valid login.
    Unauthorized,
    /// 404: no such app, project or hardware of this user.
    NotFound,
    /// 409: an app of that name lives in the project.
    NameTaken,
    /// 409: the project's hardware of that name is all in use, or there is none.
    NoHardware,
    /// 409: not possible in the app's present state.
    WrongState,
    /// 422: the image is unknown, not built, or tagged `latest`.
    ImageRefused,
    /// 413: over a size limit.
    TooLarge,
    /// 422: a value that breaks a rule.
    Invalid,
    /// 500: a fault of the platform.
    Internal,
    /// 503: the platform is stopping or over capacity.
    Unavailable,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::NotFound => 404,
            Self::NameTaken | Self::NoHardware | Self::WrongState => 409,
            Self::TooLarge => 413,
            Self::ImageRefused | Self::Invalid => 422,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}
