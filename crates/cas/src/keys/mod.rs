//! The root key of a CAS, and everything that is derived from it.
//!
//! One random key of 32 bytes is the root of all that a CAS keeps. It exists in the memory of
//! attested enclaves only; at rest it is [wrapped](mod@wrap) for an enclave identity, and on paper it
//! is [split](shares) among people. Nothing is encrypted under the root key itself: each
//! [`Purpose`] has a key of its own, derived by label.

pub mod shares;
pub mod wrap;

use std::fmt;
use std::str::FromStr;

use mse_crypto::sealing::SealingKey;

pub use wrap::{SealToEnclave, UnwrapError, named, unwrap, wrap};

/// The root key of a CAS: 32 random bytes. Wiped when dropped; it has no `Debug`.
#[derive(Clone)]
pub struct RootKey(SealingKey);

impl RootKey {
    /// A fresh key, for a new CAS.
    pub fn generate() -> Self {
        Self(SealingKey::generate())
    }

    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SealingKey::from_bytes(bytes))
    }

    /// The bytes: to be wrapped, or split into shares, never to be written.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Names the key and says nothing of it: it is derived like every other key.
    pub fn id(&self) -> KeyId {
        let derived = self.0.derive("mse-cas-root-key-id-v1", b"");
        let mut id = [0; 12];
        id.copy_from_slice(&derived.expose()[..12]);
        KeyId(id)
    }

    /// The key for one purpose.
    pub fn derive(&self, purpose: Purpose) -> SealingKey {
        self.0.derive(purpose.label(), b"")
    }
}

/// What a key derived from the root key is for. Keys of different purposes say nothing of each
/// other (HKDF, see [`SealingKey::derive`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Values at rest in the store.
    StoreCells,
    /// The store's chain, its history and the sum over its cells.
    StoreChain,
    /// The witness file beside the store.
    Witness,
    /// Seed of the Ed25519 key that signs the audit log.
    AuditSigning,
    /// Seed of the key that identifies this CAS to its clients.
    Identity,
    /// Authentication of challenges and bearer tokens that the CAS keeps no state for.
    TokenMac,
    /// Seed of the key that clients encrypt sessions to.
    SessionEncryption,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 7] = [
        Self::StoreCells,
        Self::StoreChain,
        Self::Witness,
        Self::AuditSigning,
        Self::Identity,
        Self::TokenMac,
        Self::SessionEncryption,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::StoreCells => "mse-cas-store-cells-v1",
            Self::StoreChain => "mse-cas-store-chain-v1",
            Self::Witness => "mse-cas-witness-v1",
            Self::AuditSigning => "mse-cas-audit-signing-v1",
            Self::Identity => "mse-cas-identity-v1",
            Self::TokenMac => "mse-cas-token-mac-v1",
            Self::SessionEncryption => "mse-cas-session-encryption-v1",
        }
    }
}

/// Names a root key: 12 bytes, shown as 24 hexadecimal digits. Public.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 12]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 12];
        hex::decode_to_slice(text.trim(), &mut id)
            .map_err(|_| InvalidKeyId(text.chars().take(40).collect()))?;
        Ok(Self(id))
    }
}

/// The text is not 24 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` names no root key: 24 hexadecimal digits are expected")]
pub struct InvalidKeyId(String);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_purpose_has_a_key_of_its_own_and_none_is_the_root() {
        let root = RootKey::from_bytes([7; 32]);
        let keys: HashSet<_> = Purpose::ALL
            .iter()
            .map(|purpose| *root.derive(*purpose).expose())
            .chain([*root.expose()])
            .collect();
        assert_eq!(keys.len(), Purpose::ALL.len() + 1);
    }

    #[test]
    fn a_key_id_is_stable_and_round_trips() {
        let id = RootKey::from_bytes([7; 32]).id();
        assert_eq!(id, RootKey::from_bytes([7; 32]).id());
        assert_ne!(id, RootKey::from_bytes([8; 32]).id());
        assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        assert!("00".parse::<KeyId>().is_err());
    }
}
