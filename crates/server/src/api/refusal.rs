//! Everything that is not a success, in the one form that clients know.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use mse_api::{ApiError, ErrorCode};

use crate::store::{CreateRefused, StoreError};

/// An [`ApiError`] with its status.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) ApiError);

impl Refusal {
    /// A fault of ours: the log says what, the caller that it happened.
    pub(super) fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!("{what}");
        Self(ApiError::new(
            ErrorCode::Internal,
            "the platform failed; its log says why",
        ))
    }

    pub(super) fn not_found(what: impl Into<String>) -> Self {
        Self(ApiError::new(ErrorCode::NotFound, what))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let bearer = header::HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if !error.is_passing() {
            return Self::internal(error);
        }
        tracing::warn!(%error, "a request is refused");
        let message = "the platform's database is out of reach";
        Self(ApiError::new(ErrorCode::Unavailable, message).with_hint("try again in a minute"))
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error)
    }
}

impl From<CreateRefused> for Refusal {
    fn from(refused: CreateRefused) -> Self {
        let message = refused.to_string();
        Self(match refused {
            CreateRefused::NameTaken { .. } => ApiError::new(ErrorCode::NameTaken, message)
                .with_hint("stop that app first, or choose another name"),
            CreateRefused::DomainTaken(_) => ApiError::new(ErrorCode::NameTaken, message)
                .with_hint("stop that app first, or use another domain"),
            CreateRefused::NoSlot { .. } => ApiError::new(ErrorCode::NoHardware, message)
                .with_hint("stop an app that uses it, or choose another hardware"),
            CreateRefused::KeyReused(_) => ApiError::new(ErrorCode::Invalid, message)
                .with_hint("use a new key for a new request"),
            CreateRefused::Store(error) => return error.into(),
        })
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self(ApiError::new(
            code_of(rejection.status()),
            rejection.body_text(),
        ))
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self(ApiError::new(
            code_of(rejection.status()),
            rejection.body_text(),
        ))
    }
}

fn code_of(status: StatusCode) -> ErrorCode {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
        StatusCode::UNPROCESSABLE_ENTITY => ErrorCode::Invalid,
        _ => ErrorCode::BadRequest,
    }
}
