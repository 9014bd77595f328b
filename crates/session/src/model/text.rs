//! Values that are given, or come from a secret.

use std::fmt;

use mse_crypto::Zeroizing;

use crate::reference::Reference;

/// A setting that stands in the session, or comes from one of its secrets (a config-fragment, as a
/// rule: imported from the session of whoever decides about it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrReference<T> {
    /// It stands in the session.
    Given(T),
    /// It comes from a secret.
    From(Reference),
}

impl<T> OrReference<T> {
    /// The setting, if it stands in the session.
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::From(_) => None,
        }
    }
}

/// A key of 32 bytes that stands in the session. Wiped when dropped; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey32(Zeroizing<[u8; 32]>);

impl SecretKey32 {
    /// Reads 64 hex digits.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text, &mut *bytes).ok()?;
        Some(Self(bytes))
    }

    /// The key.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey32(…)")
    }
}
