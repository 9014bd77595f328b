//! Parameters of requests.

use mse_api::cas::{CasError, CasErrorCode};
use mse_crypto::Digest;
use mse_session::{SecretName, SessionHash, SessionName};

use crate::store::Position;

/// No request has more.
const MAX_PARAMETERS: usize = 16;

/// The parameters behind the `?`, decoded. Each stands once.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(query: Option<&str>) -> Result<Self, CasError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if pairs.len() >= MAX_PARAMETERS {
                return Err(malformed(&name, &value, "is one parameter too many"));
            }
            if pairs.iter().any(|(one, _)| *one == name) {
                return Err(malformed(&name, &value, "stands twice"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(one, _)| one == name)
            .map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str) -> Result<&str, CasError> {
        self.get(name).ok_or_else(|| {
            CasError::new(
                CasErrorCode::Malformed,
                format!("the parameter `{name}` is missing"),
            )
        })
    }

    /// The name of a session.
    pub(super) fn name(&self, parameter: &str) -> Result<SessionName, CasError> {
        name(parameter, self.required(parameter)?)
    }

    /// The name of a session, or the root.
    pub(super) fn name_or_root(&self, parameter: &str) -> Result<SessionName, CasError> {
        self.get(parameter)
            .map_or_else(|| Ok(SessionName::root()), |text| name(parameter, text))
    }

    /// The name of a secret.
    pub(super) fn secret(&self, parameter: &str) -> Result<SecretName, CasError> {
        let text = self.required(parameter)?;
        text.parse().map_err(|error: mse_session::InvalidName| {
            malformed(parameter, text, &error.to_string())
        })
    }

    /// The hash of a session, if there is one.
    pub(super) fn hash(&self, parameter: &str) -> Result<Option<SessionHash>, CasError> {
        self.get(parameter)
            .map(|text| hash(parameter, text))
            .transpose()
    }

    /// 32 bytes.
    pub(super) fn digest(&self, parameter: &str) -> Result<Digest, CasError> {
        digest(parameter, self.required(parameter)?)
    }

    /// A number, if there is one.
    pub(super) fn number(&self, parameter: &str) -> Result<Option<u64>, CasError> {
        self.get(parameter)
            .map(|text| {
                text.parse()
                    .map_err(|_| malformed(parameter, text, "is not a number"))
            })
            .transpose()
    }

    /// `sequence:head`, if there is one.
    pub(super) fn position(&self, parameter: &str) -> Result<Option<Position>, CasError> {
        let Some(text) = self.get(parameter) else {
            return Ok(None);
        };
        let read = || {
            let (sequence, head) = text.split_once(':')?;
            Some(Position {
                sequence: sequence.parse().ok()?,
                head: head.parse().ok()?,
            })
        };
        read()
            .map(Some)
            .ok_or_else(|| malformed(parameter, text, "is not `sequence:head`"))
    }
}

pub(super) fn name(field: &str, text: &str) -> Result<SessionName, CasError> {
    text.parse()
        .map_err(|error: mse_session::InvalidName| malformed(field, text, &error.to_string()))
}

pub(super) fn hash(field: &str, text: &str) -> Result<SessionHash, CasError> {
    text.parse()
        .map_err(|_| malformed(field, text, "is not 64 hex digits"))
}

pub(super) fn digest(field: &str, text: &str) -> Result<Digest, CasError> {
    text.parse()
        .map_err(|_| malformed(field, text, "is not 64 hex digits"))
}

fn malformed(field: &str, value: &str, why: &str) -> CasError {
    let value: String = value.chars().take(80).collect();
    CasError::new(
        CasErrorCode::Malformed,
        format!("`{field}` = `{}`: {why}", value.escape_debug()),
    )
}
