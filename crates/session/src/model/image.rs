//! Images: the volumes and files that a service's container gets.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::model::{ImageName, SecretName, UpdatePolicy, VolumeName};
use crate::template::Template;

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name in the session.
    pub name: ImageName,
    /// The volumes in it.
    pub volumes: Vec<MountedVolume>,
    /// The files put into it, in memory that only the program sees.
    pub injection_files: Vec<InjectedFile>,
    /// Secrets that templates in its file system may name; None: all. It restricts neither
    /// commands, environments nor contents that stand in the session.
    pub provide_secrets: Option<BTreeSet<SecretName>>,
}

/// A volume in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedVolume {
    /// Which.
    pub name: VolumeName,
    /// Where.
    pub path: String,
    /// Which of its states are accepted.
    pub update_policy: UpdatePolicy,
}

/// A file that the program finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedFile {
    /// Where.
    pub path: String,
    /// What is in it; None: the file of the image, with the references in it replaced.
    pub content: Option<Template>,
    /// Its permissions.
    pub permission: Permission,
}

/// Permissions of a file: of its owner, who is the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permission(u16);

impl Permission {
    /// The bits: `0o700` and below.
    pub fn bits(self) -> u16 {
        self.0
    }
}

/// Read, write and execute.
impl Default for Permission {
    fn default() -> Self {
        Self(0o700)
    }
}

/// `0600`, `0o600`, `600`.
impl FromStr for Permission {
    type Err = InvalidPermission;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let is_octal =
            (3..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        u16::from_str_radix(digits, 8)
            .ok()
            .filter(|bits| is_octal && bits & !0o700 == 0)
            .map(Self)
            .ok_or_else(|| InvalidPermission(text.to_owned()))
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0o{:03o}", self.0)
    }
}

/// A text that is no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no permission for an owner: octal, `0o700` or fewer bits", mse_yaml::shown(.0))]
pub struct InvalidPermission(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_the_owners() {
        for text in ["0600", "0o600", "600"] {
            assert_eq!(text.parse(), Ok(Permission(0o600)), "{text}");
        }
        assert_eq!(Permission::default().to_string(), "0o700");
        for bad in [
            "", "0644", "0o777", "rw", "800", "1700", "00600", "+600", "0x180",
        ] {
            assert!(bad.parse::<Permission>().is_err(), "{bad}");
        }
    }
}
