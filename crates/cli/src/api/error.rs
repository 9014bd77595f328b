//! What can go wrong with a call, and what that means for a command.

use mse_api::{ApiError, ErrorCode};

use super::untrusted;
use crate::exit::Exit;
use crate::failure::{Failure, root_cause};
use crate::server_url::ServerUrl;
use crate::session::LOG_IN_AGAIN;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiFailure {
    /// The platform said no: it has understood the call, and did nothing.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its kind, if the platform said one.
        code: Option<ErrorCode>,
        /// What it said.
        message: String,
        /// How to mend it.
        hint: Option<String>,
    },
    /// No answer. Whether the call was heard is not known.
    #[error("the platform at {server} cannot be reached: {why}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// Why.
        why: String,
        /// Whether not even a connection came about.
        not_connected: bool,
        /// Whether what answers does not speak TLS.
        speaks_http: bool,
    },
    /// An answer that makes no sense.
    #[error("the answer of the platform at {server} cannot be read: {why}")]
    Unreadable {
        /// Its URL.
        server: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ApiFailure {
    pub(super) fn refused(server: &str, status: u16, body: &[u8]) -> Self {
        if let Ok(error) = untrusted::from_json::<ApiError>(body) {
            return Self::Refused {
                status,
                code: Some(error.code),
                message: error.message,
                hint: error.hint,
            };
        }
        let mut message = format!("the platform at {server} answered with status {status}");
        let text = untrusted::cleaned(&String::from_utf8_lossy(body));
        let text: String = text.trim().chars().take(300).collect();
        if !text.is_empty() {
            message = format!("{message}: {text}");
        }
        Self::Refused {
            status,
            code: None,
            message,
            hint: None,
        }
    }

    pub(super) fn unreachable(server: String, error: &reqwest::Error) -> Self {
        let why = if error.is_timeout() {
            "it does not answer in time".to_owned()
        } else {
            root_cause(error)
        };
        Self::Unreachable {
            speaks_http: why.contains(NOT_TLS),
            server,
            why,
            not_connected: error.is_connect(),
        }
    }

    /// Whether it may be otherwise in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 502 | 503),
            Self::Unreachable { not_connected, .. } => *not_connected,
            Self::Unreadable { .. } => false,
        }
    }

    /// Whether it says nothing of what was asked about: the platform is out of reach or fails.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status >= 500,
            Self::Unreachable { .. } | Self::Unreadable { .. } => true,
        }
    }

    /// Whether the platform may have done what it was asked, without our knowing.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Self::Refused { .. } => false,
            Self::Unreachable { not_connected, .. } => !not_connected,
            Self::Unreadable { .. } => true,
        }
    }

    /// Whether there is no such thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }
}

/// What rustls says of an answer in clear.
const NOT_TLS: &str = "received corrupt message";

impl From<ApiFailure> for Failure {
    fn from(failure: ApiFailure) -> Self {
        let message = failure.to_string();
        match failure {
            ApiFailure::Refused { status: 401, .. } => Self::new(Exit::NotLoggedIn, message)
                .with_hint(LOG_IN_AGAIN),
            ApiFailure::Refused { status, hint, code, .. } => {
                let exit = if status == 404 { Exit::NotFound } else { Exit::Platform };
                let failure = Self::new(exit, message)
                    .details(serde_json::json!({ "status": status, "platform_code": code }));
                match hint {
                    Some(hint) => failure.with_hint(hint),
                    None if status == 503 => failure.with_hint("try again later"),
                    None => failure,
                }
            }
            ApiFailure::Unreachable { server, speaks_http: true, .. } => {
                let plain = server.replacen("https://", "http://", 1);
                let hint = match plain.parse::<ServerUrl>() {
                    Ok(url) => format!("it does not speak TLS: it is probably `{url}`"),
                    Err(_) => "it does not speak TLS, and a login is not sent in clear over the network: is it the right port?".to_owned(),
                };
                Self::new(Exit::Platform, message).with_hint(hint)
            }
            ApiFailure::Unreachable { .. } => Self::new(Exit::Platform, message)
                .with_hint("is it running? `mse-server` starts one on this machine; `mse login --server URL` chooses another"),
            ApiFailure::Unreadable { .. } => Self::new(Exit::Platform, message)
                .with_hint("is this the API of an MSE platform, and of a version that fits this `mse`?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_the_platforms_words() {
        let body = serde_json::to_vec(
            &ApiError::new(ErrorCode::NoHardware, "all `4g-eu-001` are in use")
                .with_hint("stop one"),
        )
        .unwrap();
        let failure: Failure = ApiFailure::refused("http://x", 409, &body).into();
        assert_eq!(failure.exit(), Exit::Platform);
        assert_eq!(failure.message(), "all `4g-eu-001` are in use");
        assert_eq!(failure.hint(), Some("stop one"));
    }

    #[test]
    fn no_message_is_ever_empty() {
        let failure: Failure = ApiFailure::refused("http://x", 500, b"").into();
        assert_eq!(
            failure.message(),
            "the platform at http://x answered with status 500"
        );
        let failure: Failure = ApiFailure::refused("http://x", 404, b"no").into();
        assert_eq!(failure.exit(), Exit::NotFound);
        let failure: Failure = ApiFailure::refused("http://x", 401, b"").into();
        assert_eq!(failure.exit(), Exit::NotLoggedIn);
    }
}
