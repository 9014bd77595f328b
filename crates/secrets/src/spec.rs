//! What a secret is to be: its kind with the parameters of the kind.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::{Given, KeyType, Kind, SubjectAltName, Validity};

/// What is to be made, or what an owner gave.
///
/// Names of other secrets (`private_key`, `issuer`, `signer`) are looked up when the value is made:
/// [`generate`](crate::generate).
#[derive(Clone, Debug)]
pub enum Spec {
    /// Printable characters.
    Ascii {
        /// Characters.
        size: Size,
    },
    /// Random bytes.
    Binary {
        /// Bytes.
        size: Size,
    },
    /// A private key.
    PrivateKey {
        /// Its type.
        key_type: KeyType,
        /// Whether an update of the session keeps it; both versions must say so.
        migrate: bool,
    },
    /// The public half of a private key.
    PublicKey {
        /// The name of the private key.
        private_key: String,
    },
    /// A certificate and its key: `x509` or `x509-ca`, by its role.
    Certificate(CertificateSpec),
    /// An OpenPGP key.
    PgpKey,
    /// A JSON web token, signed with ES384.
    Jwt(JwtSpec),
    /// A value that the owner gave.
    Explicit {
        /// The value, checked.
        given: Given,
        /// The name of the private key that belongs to a given certificate.
        private_key: Option<String>,
    },
}

impl Spec {
    /// The kind of secret.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ascii { .. } => Kind::Ascii,
            Self::Binary { .. } => Kind::Binary,
            Self::PrivateKey { .. } => Kind::PrivateKey,
            Self::PublicKey { .. } => Kind::PublicKey,
            Self::Certificate(certificate) => certificate.role.kind(),
            Self::PgpKey => Kind::PgpKey,
            Self::Jwt(_) => Kind::Jwt,
            Self::Explicit { given, .. } => given.kind(),
        }
    }

    /// The secrets that must exist before this one can be made.
    pub fn dependencies(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::PublicKey { private_key } => (Some(private_key), None),
            Self::Certificate(certificate) => (
                match &certificate.key {
                    KeySource::Secret(name) => Some(name),
                    KeySource::Fresh(_) => None,
                },
                certificate.issuer.as_ref(),
            ),
            Self::Jwt(jwt) => (Some(&jwt.signer), None),
            Self::Explicit { private_key, .. } => (private_key.as_ref(), None),
            Self::Ascii { .. } | Self::Binary { .. } | Self::PrivateKey { .. } | Self::PgpKey => {
                (None, None)
            }
        };
        first.into_iter().chain(second).map(String::as_str)
    }
}

/// How many characters or bytes are made: 1 to [`Size::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size(u16);

impl Size {
    /// The most that is made.
    pub const MAX: u16 = 4096;

    /// A size within the limits.
    pub fn new(size: u64) -> Result<Self, InvalidSize> {
        u16::try_from(size)
            .ok()
            .filter(|size| (1..=Self::MAX).contains(size))
            .map(Self)
            .ok_or(InvalidSize(size))
    }

    /// The number.
    pub fn get(self) -> usize {
        usize::from(self.0)
    }
}

/// 20, as sessions have it.
impl Default for Size {
    fn default() -> Self {
        Self(20)
    }
}

/// A size out of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`size: {0}` is not between 1 and 4096")]
pub struct InvalidSize(pub u64);

/// A certificate to be issued.
#[derive(Clone, Debug)]
pub struct CertificateSpec {
    /// Whose certificate it is.
    pub key: KeySource,
    /// The name of the `x509-ca` secret that issues it. None: it is self-signed.
    pub issuer: Option<String>,
    /// The subject's common name, at most 64 characters. None: the first DNS name, or else the
    /// secret's own name.
    pub common_name: Option<String>,
    /// How long it holds from the day of issue, at most as long as its issuer. None: without an
    /// end (RFC 5280 §4.1.2.5).
    pub valid_for: Option<Validity>,
    /// What it may do.
    pub role: Role,
}

/// Where the key of a certificate comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// The `private-key` secret of this name.
    Secret(String),
    /// A key of this type, made with the certificate and kept with it.
    Fresh(KeyType),
}

/// What a certificate may do.
#[derive(Clone, Debug)]
pub enum Role {
    /// Issue others: `x509-ca`.
    Authority {
        /// How many authorities may follow below it. None: as many as its issuer leaves, and
        /// [`Role::DEFAULT_PATH_LENGTH`] below a root.
        path_length: Option<u8>,
    },
    /// Prove who a service is: `x509`.
    EndEntity {
        /// Its names.
        names: Vec<SubjectAltName>,
        /// The side of TLS that it is for. None: both.
        endpoint: Option<Endpoint>,
    },
}

impl Role {
    /// How many authorities may follow below a root that does not say it.
    pub const DEFAULT_PATH_LENGTH: u8 = 4;

    /// The kind of the secret.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Authority { .. } => Kind::X509Ca,
            Self::EndEntity { .. } => Kind::X509,
        }
    }
}

/// The side of TLS that a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `server`: extended key usage serverAuth.
    Server,
    /// `client`: extended key usage clientAuth.
    Client,
}

impl FromStr for Endpoint {
    type Err = UnknownEndpoint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "server" => Ok(Self::Server),
            "client" => Ok(Self::Client),
            _ => Err(UnknownEndpoint(text.to_owned())),
        }
    }
}

/// A word that names no side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`endpoint: {0}` is neither `server` nor `client`")]
pub struct UnknownEndpoint(pub String);

/// A token to be signed.
#[derive(Clone, Debug)]
pub struct JwtSpec {
    /// The name of the `private-key` secret that signs, of the type P-384.
    pub signer: String,
    /// How long it holds.
    pub validity: Validity,
    /// What it says.
    pub payload: JwtPayload,
}

/// The claims that the owner wrote: strings, without those that the CAS sets itself. A variable in
/// them may be a secret: `Debug` shows their names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct JwtPayload(BTreeMap<String, String>);

impl JwtPayload {
    /// Claims that the CAS sets.
    pub const RESERVED: [&str; 3] = ["iat", "nbf", "exp"];
    /// Bytes of all names and values together.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Claims within the limits, none reserved.
    pub fn new(claims: BTreeMap<String, String>) -> Result<Self, InvalidPayload> {
        if let Some(name) = Self::RESERVED
            .into_iter()
            .find(|name| claims.contains_key(*name))
        {
            return Err(InvalidPayload::Reserved(name));
        }
        let bytes: usize = claims
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if bytes > Self::MAX_BYTES {
            return Err(InvalidPayload::TooLong(bytes));
        }
        Ok(Self(claims))
    }

    /// The claims.
    pub fn claims(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl fmt::Debug for JwtPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Claims that cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// One that the CAS sets.
    #[error("`payload.{0}` is set by the CAS, from `validity` and the time of signing: remove it")]
    Reserved(&'static str),
    /// Too much.
    #[error("`payload` has {0} bytes; at most 16384 are signed")]
    TooLong(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_limits() {
        assert_eq!(Size::default().get(), 20);
        for size in [1, 20, 4096] {
            assert_eq!(
                Size::new(size).map(Size::get),
                Ok(usize::try_from(size).unwrap())
            );
        }
        for size in [0, 4097, 65536 + 20, u64::MAX] {
            assert_eq!(Size::new(size), Err(InvalidSize(size)));
        }
    }

    #[test]
    fn times_of_a_token_are_not_for_the_owner_to_say() {
        for name in JwtPayload::RESERVED {
            let claims = BTreeMap::from([(name.to_owned(), "1".to_owned())]);
            assert_eq!(JwtPayload::new(claims), Err(InvalidPayload::Reserved(name)));
        }
        let long = BTreeMap::from([("a".to_owned(), "x".repeat(16 * 1024))]);
        assert_eq!(JwtPayload::new(long), Err(InvalidPayload::TooLong(16385)));
    }
}
