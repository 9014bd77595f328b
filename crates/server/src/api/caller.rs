//! Who asks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use jiff::Timestamp;
use mse_api::{ApiError, ErrorCode};

use super::Api;
use super::refusal::Refusal;
use crate::store::Account;

/// A caller with a valid session.
pub(super) struct Caller {
    /// Whose session it is.
    pub(super) account: Account,
    /// The session's token.
    pub(super) token: mse_crypto::Zeroizing<String>,
}

impl FromRequestParts<Arc<Api>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Refusal> {
        let token = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .ok_or_else(|| unauthorized("there is no `Authorization: Bearer …` in the request"))?;
        let store = &api.fleet.platform().store;
        match store.account_of_session(token, Timestamp::now()).await? {
            Some(account) => Ok(Self {
                account,
                token: token.to_owned().into(),
            }),
            None => Err(unauthorized("the session is not valid, or has ended")),
        }
    }
}

fn unauthorized(message: &str) -> Refusal {
    ApiError::new(ErrorCode::Unauthorized, message)
        .with_hint("log in with `mse login`")
        .into()
}
