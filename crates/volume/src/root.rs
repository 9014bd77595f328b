//! The root of a volume: the 32 bytes that pin one state.

use std::fmt;
use std::str::FromStr;

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;
use serde::{Deserialize, Serialize};

/// Pins one state of a volume: SHA-256 over `"mse-volume-root-v1" ‖ 0`, the header and the sealed
/// root manifest, each after its length. Shown and stored as 64 lower-case hex digits. It is not
/// secret: the host sees it as the name of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeRoot(Digest);

impl VolumeRoot {
    /// The root of these bytes, as the CAS stores them.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Digest(bytes))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }

    pub(crate) fn of(header: &[u8], sealed_manifest: &[u8]) -> Self {
        let mut hasher = Hasher::with_domain("mse-volume-root-v1");
        hasher.update_field(header);
        hasher.update_field(sealed_manifest);
        Self(hasher.finish())
    }
}

impl fmt::Display for VolumeRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for VolumeRoot {
    type Err = InvalidRoot;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| InvalidRoot(text.chars().take(80).collect()))
    }
}

/// The text is not 64 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the root of a volume: 64 hexadecimal digits are expected")]
pub struct InvalidRoot(String);
