//! What a build resolved to: with it, another build takes exactly the same packages.

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

use crate::digest::BlobDigest;

/// The version of the lock's format.
pub const LOCK_FORMAT: u32 = 1;
/// A lock in JSON is never larger: 4 MiB.
pub const MAX_LOCK_JSON: usize = 4 << 20;

/// Everything that a spec leaves open and a build decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageLock {
    /// Version of this format: [`LOCK_FORMAT`].
    pub format: u32,
    /// The processor that it was resolved for, as Debian names it: `amd64`.
    pub architecture: String,
    /// The manifest of the base image, if the base is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BlobDigest>,
    /// Packages of Debian, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub debian: Vec<DebianPackage>,
    /// Packages of Debian that only steps of the build use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<DebianPackage>,
    /// Packages of Python, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub python: Vec<PythonPackage>,
}

/// One package of Debian.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`, or `all`.
    pub architecture: String,
    /// SHA-256 of the `.deb`.
    pub sha256: Digest,
}

/// One package of Python.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PythonPackage {
    /// Its name as pip writes it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the archive that it came in.
    pub sha256: Digest,
}

impl ImageLock {
    /// A lock of nothing.
    pub fn empty(architecture: &str) -> Self {
        Self {
            format: LOCK_FORMAT,
            architecture: architecture.to_owned(),
            base: None,
            debian: Vec::new(),
            tools: Vec::new(),
            python: Vec::new(),
        }
    }

    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidLock> {
        if json.len() > MAX_LOCK_JSON {
            return Err(InvalidLock::TooLarge(json.len()));
        }
        let lock: Self = serde_json::from_slice(json)?;
        if lock.format != LOCK_FORMAT {
            return Err(InvalidLock::Format(lock.format));
        }
        for text in lock
            .debian
            .iter()
            .chain(&lock.tools)
            .flat_map(|p| [&p.name, &p.version, &p.architecture])
            .chain(lock.python.iter().flat_map(|p| [&p.name, &p.version]))
        {
            if !is_plain(text) {
                return Err(InvalidLock::Text(text.escape_debug().to_string()));
            }
        }
        Ok(lock)
    }

    /// The JSON form, for people to read and compare.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a lock has only strings and lists");
        json.push(b'\n');
        json
    }
}

/// Whether `text` can be a name or a version: it ends up in command lines and file names.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.:~_!".contains(c))
}

/// A lock that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLock {
    /// Larger than [`MAX_LOCK_JSON`].
    #[error("the lock is {0} bytes long: at most {MAX_LOCK_JSON} are read")]
    TooLarge(usize),
    /// Not JSON, or not of this shape.
    #[error("the lock is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// A format of another time.
    #[error(
        "the lock has format {0}: this program reads format {LOCK_FORMAT}; build without it once"
    )]
    Format(u32),
    /// No name or version.
    #[error("`{0}` in the lock is neither a name nor a version nor an architecture of a package")]
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_survives_its_json_and_strange_ones_are_refused() {
        let mut lock = ImageLock::empty("amd64");
        lock.debian.push(DebianPackage {
            name: "libstdc++6".into(),
            version: "1:12.2.0-14+deb12u1~x".into(),
            architecture: "amd64".into(),
            sha256: Digest::of(b"deb"),
        });
        assert_eq!(ImageLock::from_json(&lock.to_json()).unwrap(), lock);
        lock.debian[0].name = "-o APT::x".into();
        assert!(matches!(
            ImageLock::from_json(&lock.to_json()),
            Err(InvalidLock::Text(_))
        ));
        lock.debian.clear();
        lock.format = 2;
        assert!(matches!(
            ImageLock::from_json(&lock.to_json()),
            Err(InvalidLock::Format(2))
        ));
    }
}
