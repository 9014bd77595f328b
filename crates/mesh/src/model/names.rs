//! Names of services.

use std::fmt;
use std::str::FromStr;

use mse_yaml::shown;

/// The name of a service: part of the name of its session, and of its objects in Kubernetes.
///
/// 1 to 63 characters of `[A-Za-z0-9_.-]`; the first and the last are letters or digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(String);

impl ServiceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name in the characters that DNS has: lower case, `-` for `_` and `.`. Two services of a
    /// mesh never have the same.
    pub fn dns_label(&self) -> String {
        self.0.to_ascii_lowercase().replace(['_', '.'], "-")
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let is_name = text.len() <= 63
            && is_end(text.chars().next())
            && is_end(text.chars().next_back())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidServiceName(text.to_owned()))
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no name of a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no name of a service: 1 to 63 letters, digits, `_`, `-` and `.`, with a letter or digit at both ends",
    shown(.0)
)]
pub struct InvalidServiceName(String);
