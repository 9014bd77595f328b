//! What a secret is: generated or given material.

use std::time::SystemTime;

use mse_crypto::Zeroizing;

use crate::Kind;
use crate::certificate::{Certificate, Certified, NEVER, Origin, time, two_thirds};
use crate::frame;
use crate::key::{PrivateKey, PublicKey};
use crate::pgp::PgpKey;

/// The value of a secret. Wiped when dropped; it has no `Debug`.
///
/// [`render`](crate::render) gives it the form that a program wants; [`Value::to_bytes`] gives the
/// form to be stored, which is a secret itself: seal it.
#[derive(Clone)]
pub struct Value {
    pub(crate) kind: Kind,
    pub(crate) body: Body,
}

#[derive(Clone)]
pub(crate) enum Body {
    Text(Zeroizing<String>),
    Bytes(Zeroizing<Vec<u8>>),
    PrivateKey(PrivateKey),
    PublicKey(PublicKey),
    Certificate(Box<Certified>),
    Pgp(PgpKey),
    Jwt(Token),
}

/// A signed token and its times, in seconds since 1970.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) text: Zeroizing<String>,
    pub(crate) issued: u64,
    pub(crate) expires: u64,
}

impl Value {
    /// The kind of secret.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// When it ends: certificates and tokens with an end.
    pub fn expires_at(&self) -> Option<SystemTime> {
        match &self.body {
            Body::Certificate(certified) if certified.certificate.has_end() => {
                Some(certified.certificate.not_after())
            }
            Body::Jwt(token) => Some(time(token.expires)),
            _ => None,
        }
    }

    /// When it is to be renewed: after two thirds of the time from its issue to its end. None for
    /// what has no end, and for what an owner gave.
    pub fn renew_at(&self) -> Option<SystemTime> {
        match &self.body {
            Body::Certificate(certified) => certified.renew_at(),
            Body::Jwt(token) => Some(two_thirds(token.issued, token.expires)),
            _ => None,
        }
    }

    /// Whether the time to renew it has come.
    pub fn needs_renewal(&self, now: SystemTime) -> bool {
        self.renew_at().is_some_and(|at| at <= now)
    }

    /// The private key in it, if it has one.
    pub fn private_key(&self) -> Option<&PrivateKey> {
        match &self.body {
            Body::PrivateKey(key) => Some(key),
            Body::Certificate(certified) => certified.key.as_ref(),
            _ => None,
        }
    }

    /// What of it anyone may see: a certificate without its key, the public half of a private key.
    /// None where nothing is public by its nature.
    pub fn public_part(&self) -> Option<Self> {
        match &self.body {
            Body::Certificate(certified) => Some(Self {
                kind: self.kind,
                body: Body::Certificate(Box::new(Certified {
                    key: None,
                    certificate: certified.certificate.clone(),
                    chain: certified.chain.clone(),
                    // Without its key it cannot be renewed here.
                    origin: Origin::Given,
                })),
            }),
            Body::PrivateKey(key) => Some(Self {
                kind: Kind::PublicKey,
                body: Body::PublicKey(key.public().clone()),
            }),
            Body::PublicKey(_) => Some(self.clone()),
            _ => None,
        }
    }

    /// The compact form: a version, the kind, and the parts with their lengths. It holds the secret.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let tag = tag(self.kind);
        match &self.body {
            Body::Text(text) => frame::write(tag, &[text.as_bytes()]),
            Body::Bytes(bytes) => frame::write(tag, &[bytes]),
            Body::PrivateKey(key) => frame::write(tag, &[key.to_pkcs8()]),
            Body::PublicKey(key) => frame::write(tag, &[key.to_spki()]),
            Body::Certificate(certified) => {
                let origin = match certified.origin {
                    Origin::Given => Vec::new(),
                    Origin::Issued(at) => at.to_be_bytes().to_vec(),
                };
                let key = certified.key.as_ref().map_or(&[][..], PrivateKey::to_pkcs8);
                let mut fields = vec![&origin, key, certified.certificate.der()];
                fields.extend(certified.chain.iter().map(Certificate::der));
                frame::write(tag, &fields)
            }
            Body::Pgp(key) => frame::write(tag, &key.fields().each_ref().map(|field| &field[..])),
            Body::Jwt(token) => frame::write(
                tag,
                &[
                    token.text.as_bytes(),
                    &token.issued.to_be_bytes(),
                    &token.expires.to_be_bytes(),
                ],
            ),
        }
    }

    /// Reads what [`Value::to_bytes`] wrote, and checks it as if it came from a stranger.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidValue> {
        let (tag, fields) = frame::read(bytes).ok_or(InvalidValue)?;
        let kind = kind(tag).ok_or(InvalidValue)?;
        Body::from_fields(kind, &fields)
            .map(|body| Self { kind, body })
            .ok_or(InvalidValue)
    }
}

impl Body {
    fn from_fields(kind: Kind, fields: &[&[u8]]) -> Option<Self> {
        let text = |bytes: &[u8]| Some(Zeroizing::new(str::from_utf8(bytes).ok()?.to_owned()));
        Some(match (kind, fields) {
            (Kind::Ascii | Kind::ConfigFragment, [bytes]) => Self::Text(text(bytes)?),
            (Kind::Binary, [bytes]) => Self::Bytes(Zeroizing::new(bytes.to_vec())),
            (Kind::PrivateKey, [pkcs8]) => Self::PrivateKey(private_key(pkcs8)?),
            (Kind::PublicKey, [spki]) => Self::PublicKey(PublicKey::from_spki(spki).ok()?),
            (Kind::X509 | Kind::X509Ca, [origin, key, certificate, chain @ ..]) => {
                let certificate = Certificate::from_der(certificate)?;
                let key = match key {
                    [] => None,
                    pkcs8 => Some(private_key(pkcs8)?),
                };
                if key
                    .as_ref()
                    .is_some_and(|key| !certificate.is_of(key.public()))
                {
                    return None;
                }
                Self::Certificate(Box::new(Certified {
                    key,
                    certificate,
                    chain: chain
                        .iter()
                        .map(|der| Certificate::from_der(der))
                        .collect::<Option<_>>()?,
                    origin: match origin {
                        [] => Origin::Given,
                        at => Origin::Issued(seconds(at)?),
                    },
                }))
            }
            (Kind::PgpKey, fields) => Self::Pgp(PgpKey::from_fields(fields)?),
            (Kind::Jwt, [token, issued, expires]) => Self::Jwt(Token {
                text: text(token)?,
                issued: seconds(issued)?,
                expires: seconds(expires)?,
            }),
            _ => return None,
        })
    }
}

/// A time in seconds since 1970, within what a certificate can say.
fn seconds(field: &[u8]) -> Option<u64> {
    frame::number(field).filter(|seconds| *seconds <= NEVER)
}

/// Only the one encoding that is written.
fn private_key(pkcs8: &[u8]) -> Option<PrivateKey> {
    PrivateKey::from_pkcs8(pkcs8)
        .ok()
        .filter(|key| key.to_pkcs8() == pkcs8)
}

/// The number of a kind in the compact form. Numbers are never given anew.
fn tag(kind: Kind) -> u8 {
    match kind {
        Kind::Ascii => 1,
        Kind::Binary => 2,
        Kind::PrivateKey => 3,
        Kind::PublicKey => 4,
        Kind::X509 => 5,
        Kind::X509Ca => 6,
        Kind::PgpKey => 7,
        Kind::Jwt => 8,
        Kind::AadToken => 9,
        Kind::ConfigFragment => 10,
    }
}

fn kind(number: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| tag(*kind) == number)
}

/// Bytes that are no value. Says nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no value of a secret that this version of the CAS wrote")]
pub struct InvalidValue;
