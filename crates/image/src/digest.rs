//! How OCI writes digests.

use std::fmt;
use std::str::FromStr;

use mse_crypto::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The SHA-256 of a blob or manifest, written `sha256:` and 64 lower-case hexadecimal digits. Other
/// algorithms are refused: nothing in use has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobDigest(pub Digest);

impl BlobDigest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Digest::of(bytes))
    }

    /// The tag under which things about an image are found that know only its digest:
    /// `sha256-` and the digits.
    pub fn as_tag(&self) -> String {
        format!("sha256-{}", self.0)
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for BlobDigest {
    type Err = InvalidBlobDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix("sha256:")
            .filter(|digits| digits.len() == 64 && !digits.contains(|c: char| c.is_uppercase()))
            .and_then(|digits| digits.parse().ok())
            .map(Self)
            .ok_or_else(|| InvalidBlobDigest(text.chars().take(100).collect()))
    }
}

impl Serialize for BlobDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Not a digest that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: `sha256:` and 64 lower-case hexadecimal digits are expected")]
pub struct InvalidBlobDigest(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_way_of_writing_is_read() {
        let digest = BlobDigest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let digits = digest.0.to_string();
        for bad in [
            digits.clone(),
            format!("sha512:{digits}"),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256: {digits}"),
            format!("sha256:{digits}0"),
            "sha256:".into(),
        ] {
            assert!(bad.parse::<BlobDigest>().is_err(), "{bad}");
        }
    }
}
