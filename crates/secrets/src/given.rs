//! Values that an owner gives, checked by their kind.

use std::fmt;

use mse_crypto::{Zeroizing, pem};
use serde_json::Value as Json;

use crate::certificate::{Certificate, Certified, Origin};
use crate::key::{InvalidKey, PrivateKey, PublicKey};
use crate::value::Body;
use crate::{Kind, Value};

/// The longest text of a given value.
pub const MAX_GIVEN_BYTES: usize = 64 * 1024;
/// Certificates in one text: the one itself, and what issued it.
const MAX_CERTIFICATES: usize = 9;

/// A value that an owner gave. It has no `Debug` of the value: it shows its kind only.
#[derive(Clone)]
pub struct Given(Value);

impl Given {
    /// Reads what stands behind `value:` in a session.
    ///
    /// | kind | text |
    /// | --- | --- |
    /// | `ascii` | any text without NUL |
    /// | `binary` | hex digits |
    /// | `private-key` | PKCS#8, PEM |
    /// | `public-key` | SubjectPublicKeyInfo, PEM |
    /// | `x509`, `x509-ca` | certificates, PEM: the one itself, then what issued it, the nearest first; and its private key, PKCS#8, PEM, unless it is named elsewhere |
    /// | `config-fragment` | JSON, to which the session's YAML is brought first |
    pub fn parse(kind: Kind, text: &str) -> Result<Self, InvalidGiven> {
        if text.len() > MAX_GIVEN_BYTES {
            return Err(InvalidGiven::TooLong(text.len()));
        }
        let body = match kind {
            Kind::Ascii if text.contains('\0') => return Err(InvalidGiven::Nul),
            Kind::Ascii => Body::Text(Zeroizing::new(text.to_owned())),
            Kind::Binary if text.is_empty() => return Err(InvalidGiven::Hex),
            Kind::Binary => Body::Bytes(Zeroizing::new(
                hex::decode(text).map_err(|_| InvalidGiven::Hex)?,
            )),
            Kind::PrivateKey => Body::PrivateKey(PrivateKey::from_pem(text)?),
            Kind::PublicKey => Body::PublicKey(PublicKey::from_pem(text)?),
            Kind::X509 | Kind::X509Ca => Body::Certificate(Box::new(certificates(kind, text)?)),
            Kind::ConfigFragment => {
                serde_json::from_str::<Json>(text).map_err(|_| InvalidGiven::Json)?;
                Body::Text(Zeroizing::new(text.to_owned()))
            }
            Kind::PgpKey | Kind::Jwt | Kind::AadToken => return Err(InvalidGiven::Kind(kind)),
        };
        Ok(Self(Value { kind, body }))
    }

    /// The kind of secret.
    pub fn kind(&self) -> Kind {
        self.0.kind()
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The value with `key` as the private key of a certificate. None if it is no certificate of that
    /// key.
    pub(crate) fn with_key(&self, key: &PrivateKey) -> Option<Value> {
        let mut value = self.0.clone();
        let Body::Certificate(certified) = &mut value.body else {
            return None;
        };
        if !certified.certificate.is_of(key.public()) {
            return None;
        }
        certified.key = Some(key.clone());
        Some(value)
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given({})", self.kind())
    }
}

fn certificates(kind: Kind, text: &str) -> Result<Certified, InvalidGiven> {
    let mut key = None;
    let mut certificates = Vec::new();
    for block in pem::decode_all(text).map_err(|_| InvalidGiven::Certificates)? {
        match block.label.as_str() {
            "CERTIFICATE" => certificates
                .push(Certificate::from_der(&block.der).ok_or(InvalidGiven::Certificates)?),
            "PRIVATE KEY" if key.is_none() => key = Some(PrivateKey::from_pkcs8(&block.der)?),
            _ => return Err(InvalidGiven::Certificates),
        }
    }
    if certificates.len() > MAX_CERTIFICATES {
        return Err(InvalidGiven::TooMany(certificates.len()));
    }
    if let Some(at) = certificates
        .windows(2)
        .position(|pair| !pair[0].is_issued_by(&pair[1]))
    {
        return Err(InvalidGiven::Chain { at: at + 2 });
    }
    let mut certificates = certificates.into_iter();
    let certificate = certificates.next().ok_or(InvalidGiven::Certificates)?;
    if kind == Kind::X509Ca && !certificate.is_authority() {
        return Err(InvalidGiven::NoAuthority);
    }
    if let Some(key) = &key
        && !certificate.is_of(key.public())
    {
        return Err(InvalidGiven::OtherKey);
    }
    Ok(Certified {
        key,
        certificate,
        chain: certificates.collect(),
        origin: Origin::Given,
    })
}

/// Why a given value is refused. Says nothing of the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGiven {
    /// Too long.
    #[error("`value` has {0} bytes; at most 65536 are taken")]
    TooLong(usize),
    /// NUL in a text.
    #[error(
        "`value` contains NUL, which no argument, variable or text file can carry: use the kind `binary`"
    )]
    Nul,
    /// Not hex.
    #[error("`value` of the kind `binary` is not an even number of hex digits")]
    Hex,
    /// No key.
    #[error("`value`: {0}")]
    Key(#[from] InvalidKey),
    /// Not certificates.
    #[error(
        "`value` is not PEM with X.509 version 3 certificates (label `CERTIFICATE`) and at most one `PRIVATE KEY`"
    )]
    Certificates,
    /// Too many.
    #[error("`value` has {0} certificates; a chain has at most 9")]
    TooMany(usize),
    /// Not a chain.
    #[error(
        "certificate {at} in `value` did not issue the one before it: give the certificate first, then its issuers, the nearest first"
    )]
    Chain {
        /// The first that does not fit, counted from 1.
        at: usize,
    },
    /// It cannot issue.
    #[error(
        "`value` of the kind `x509-ca` is not a certificate of an authority (basicConstraints CA, keyUsage keyCertSign)"
    )]
    NoAuthority,
    /// The key is of something else.
    #[error("the private key in `value` is not the key of the certificate")]
    OtherKey,
    /// Not JSON.
    #[error("`value` of the kind `config-fragment` is not JSON")]
    Json,
    /// Nothing to give.
    #[error("a secret of the kind `{0}` takes no `value`: the CAS makes it")]
    Kind(Kind),
}
