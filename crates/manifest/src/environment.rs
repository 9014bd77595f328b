use std::fmt;
use std::str::FromStr;

/// The name of a plain environment variable: `[A-Za-z_][A-Za-z0-9_]*`, at most 255 characters,
/// and none that decides how the app is started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentName(String);

impl EnvironmentName {
    /// The name as the app sees it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvironmentName {
    type Err = InvalidEnvironmentName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !(1..=255).contains(&text.len())
            || text.as_bytes()[0].is_ascii_digit()
            || !text.bytes().all(word)
        {
            return Err(InvalidEnvironmentName::Form);
        }
        if RESERVED.contains(&text)
            || RESERVED_PREFIXES
                .iter()
                .any(|prefix| text.starts_with(prefix))
        {
            return Err(InvalidEnvironmentName::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no [`EnvironmentName`]; worded to follow the name of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEnvironmentName {
    /// Other characters than a shell accepts, or a digit first.
    #[error("must be named with 1 to 255 letters, digits and `_`, and no digit first")]
    Form,
    /// The enclave sets it, or the loader of Python obeys it.
    #[error("is reserved: the enclave decides it")]
    Reserved,
}

/// What tells the enclave, the loader or Python where to take code or data from.
const RESERVED: [&str; 4] = ["PATH", "PYTHONPATH", "HOME", "SECRETS_PATH"];
const RESERVED_PREFIXES: [&str; 2] = ["LD_", "MSE_"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_a_shell_does() {
        for name in ["A", "_", "log_level", "PATHS", "OLD_PATH", "X9"] {
            assert_eq!(name.parse::<EnvironmentName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_other_forms() {
        for name in ["", "9A", "A-B", "A=B", "Ä", "A B", "A\0", &"A".repeat(256)] {
            assert_eq!(
                name.parse::<EnvironmentName>(),
                Err(InvalidEnvironmentName::Form),
                "{name}"
            );
        }
    }

    #[test]
    fn refuses_reserved_names() {
        for name in [
            "PATH",
            "PYTHONPATH",
            "HOME",
            "SECRETS_PATH",
            "LD_PRELOAD",
            "MSE_",
            "MSE_ID",
        ] {
            assert_eq!(
                name.parse::<EnvironmentName>(),
                Err(InvalidEnvironmentName::Reserved),
                "{name}"
            );
        }
    }
}
