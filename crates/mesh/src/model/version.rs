//! Versions of the language.

use std::fmt;
use std::str::FromStr;

use mse_yaml::shown;

/// The `apiVersion` of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiVersion {
    /// `mse/v1`: the language as this crate writes it.
    Mse1,
    /// `scone/5.8` or later: the language of SCONE, which has the same meaning here. Additions of
    /// MSE may stand in it, too.
    Scone {
        /// At least 5.
        major: u16,
        /// At least 8 if `major` is 5.
        minor: u16,
    },
}

impl ApiVersion {
    /// Whether it is a later one than those whose meaning is known.
    pub fn is_unknown(self) -> bool {
        matches!(self, Self::Scone { major, minor } if (major, minor) > (5, 8))
    }
}

impl FromStr for ApiVersion {
    type Err = InvalidApiVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidApiVersion(text.to_owned());
        if text == "mse/v1" {
            return Ok(Self::Mse1);
        }
        let numbers = text.strip_prefix("scone/").ok_or_else(invalid)?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_number)
        };
        let mut parts = numbers.split('.').map(number);
        let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else {
            return Err(invalid());
        };
        // A third number says nothing about the language.
        let ends = matches!((parts.next(), parts.next()), (None | Some(Some(_)), None));
        if ends && (major, minor) >= (5, 8) {
            Ok(Self::Scone { major, minor })
        } else {
            Err(invalid())
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mse1 => f.write_str("mse/v1"),
            Self::Scone { major, minor } => write!(f, "scone/{major}.{minor}"),
        }
    }
}

/// A text that is no version of the language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no version that is known: write `mse/v1`, or `scone/5.8` or later", shown(.0))]
pub struct InvalidApiVersion(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, is_unknown) in [
            ("mse/v1", false),
            ("scone/5.8", false),
            ("scone/5.8.0", false),
            ("scone/5.10", true),
            ("scone/6.0", true),
        ] {
            let version: ApiVersion = text.parse().unwrap();
            assert_eq!(version.is_unknown(), is_unknown, "{text}");
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for bad in [
            "",
            "scone/5.7",
            "scone/4.9",
            "scone/5",
            "scone/5.8.",
            "scone/+5.8",
            "v1",
            "mse/v2",
            "scone/5.8.0.1",
        ] {
            assert!(bad.parse::<ApiVersion>().is_err(), "{bad}");
        }
    }
}
