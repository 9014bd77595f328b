//! Ports, and how a service shows that it is well.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use mse_yaml::shown;

use super::Seconds;

/// A TCP port that a service listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Its number.
    pub port: NonZeroU16,
    /// What it is for: `http`, `metrics`. At most 15 characters of `[a-z0-9-]`.
    pub name: Option<String>,
}

/// A sign of health.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// A GET is answered by a status below 400.
    Http {
        /// The path.
        path: HttpPath,
        /// The port.
        port: NonZeroU16,
    },
    /// A connection is accepted.
    Tcp {
        /// The port.
        port: NonZeroU16,
    },
}

/// How the health of a service is looked at in a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// By what sign.
    pub check: Health,
    /// How often; None: as whoever looks does.
    pub period: Option<Seconds>,
    /// How long an answer may take.
    pub timeout: Option<Seconds>,
    /// How many bad answers in a row make it ill.
    pub failures: Option<u32>,
}

impl From<Health> for Probe {
    fn from(check: Health) -> Self {
        Self {
            check,
            period: None,
            timeout: None,
            failures: None,
        }
    }
}

/// A path of a URL: `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpPath(String);

impl HttpPath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HttpPath {
    type Err = InvalidHttpPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_path = text.starts_with('/')
            && text.len() <= 1024
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'\\'));
        if is_path {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidHttpPath(text.to_owned()))
        }
    }
}

impl fmt::Display for HttpPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no path of a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no path of a URL: it begins with `/`, and has no spaces", shown(.0))]
pub struct InvalidHttpPath(String);
