//! The kinds of secrets, as sessions name them.

use std::fmt;
use std::str::FromStr;

/// What a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Printable characters.
    Ascii,
    /// Bytes.
    Binary,
    /// A private key, PKCS#8.
    PrivateKey,
    /// The public half of a private key, SubjectPublicKeyInfo.
    PublicKey,
    /// A certificate with its private key.
    X509,
    /// A certificate that issues others, with its private key.
    X509Ca,
    /// An OpenPGP key.
    PgpKey,
    /// A JSON web token.
    Jwt,
    /// A token for Azure's vault.
    AadToken,
    /// A piece of configuration that takes the place of its reference.
    ConfigFragment,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Ascii,
        Self::Binary,
        Self::PrivateKey,
        Self::PublicKey,
        Self::X509,
        Self::X509Ca,
        Self::PgpKey,
        Self::Jwt,
        Self::AadToken,
        Self::ConfigFragment,
    ];

    /// As written in a session.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ascii => "ascii",
            Self::Binary => "binary",
            Self::PrivateKey => "private-key",
            Self::PublicKey => "public-key",
            Self::X509 => "x509",
            Self::X509Ca => "x509-ca",
            Self::PgpKey => "pgp-key",
            Self::Jwt => "jwt",
            Self::AadToken => "aad-token",
            Self::ConfigFragment => "config-fragment",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A word that names no kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of secret")]
pub struct UnknownKind(pub String);

/// The type of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum KeyType {
    /// NIST P-256.
    #[default]
    P256,
    /// NIST P-384.
    P384,
    /// Edwards curve 25519.
    Ed25519,
    /// RSA with a modulus of 2048 bits.
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    Rsa3072,
}

impl KeyType {
    /// All types.
    pub const ALL: [Self; 5] = [
        Self::P256,
        Self::P384,
        Self::Ed25519,
        Self::Rsa2048,
        Self::Rsa3072,
    ];

    /// As written in a session.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
        }
    }
}

impl FromStr for KeyType {
    type Err = UnknownKeyType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKeyType(text.to_owned()))
    }
}

/// A word that names no type of key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no type of key")]
pub struct UnknownKeyType(pub String);
