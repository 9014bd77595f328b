//! Makes values, and makes them anew when their time has come.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::time::SystemTime;

use mse_crypto::{Zeroizing, random};
use serde_json::Map;

use crate::certificate::{Certified, IssueError, NEVER, Order};
use crate::key::PrivateKey;
use crate::pgp::PgpKey;
use crate::spec::{CertificateSpec, JwtSpec, KeySource};
use crate::value::{Body, Token};
use crate::{Kind, Role, Spec, SubjectAltName, Value, jwt};

/// The secrets that others are made from, by name: issuers, private keys, signers.
pub trait Dependencies {
    /// The current value of the secret `name`.
    fn value(&self, name: &str) -> Option<&Value>;
}

impl Dependencies for BTreeMap<String, Value> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

impl<S: BuildHasher> Dependencies for HashMap<String, Value, S> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

/// Makes the value of the secret `name` at the time `now`.
pub fn generate(
    name: &str,
    spec: &Spec,
    dependencies: &dyn Dependencies,
    now: SystemTime,
) -> Result<Value, GenerateError> {
    let found = Found(dependencies);
    let body = match spec {
        Spec::Ascii { size } => Body::Text(ascii(size.get())),
        Spec::Binary { size } => Body::Bytes(random::secret_vec(size.get())),
        Spec::PrivateKey { key_type, .. } => Body::PrivateKey(PrivateKey::generate(*key_type)),
        Spec::PublicKey { private_key } => {
            Body::PublicKey(found.key("private_key", private_key)?.public().clone())
        }
        Spec::Certificate(certificate) => {
            let key = match &certificate.key {
                KeySource::Secret(name) => found.key("private_key", name)?.clone(),
                KeySource::Fresh(key_type) => PrivateKey::generate(*key_type),
            };
            issue(name, certificate, &key, &found, seconds(now)?)?
        }
        Spec::PgpKey => Body::Pgp(PgpKey::generate(seconds(now)?).ok_or(GenerateError::Clock)?),
        Spec::Jwt(token) => sign(token, &found, seconds(now)?)?,
        Spec::Explicit { given, private_key } => {
            return match private_key {
                None => Ok(given.value().clone()),
                Some(name) => given
                    .with_key(found.key("private_key", name)?)
                    .ok_or_else(|| GenerateError::OtherKey(name.clone())),
            };
        }
    };
    Ok(Value {
        kind: spec.kind(),
        body,
    })
}

/// Makes the certificate or token `old` of the secret `name` anew: a certificate with the same
/// private key and by its issuer as it is now, a token with the claims of `spec`.
///
/// An issuer that is to be renewed as well comes first: what it issues never outlives it.
pub fn renew(
    name: &str,
    spec: &Spec,
    old: &Value,
    dependencies: &dyn Dependencies,
    now: SystemTime,
) -> Result<Value, GenerateError> {
    let found = Found(dependencies);
    let body = match (spec, &old.body) {
        (Spec::Certificate(certificate), Body::Certificate(before))
            if spec.kind() == old.kind() =>
        {
            let key = before
                .key
                .as_ref()
                .ok_or(GenerateError::NotRenewed(old.kind()))?;
            issue(name, certificate, key, &found, seconds(now)?)?
        }
        (Spec::Jwt(token), Body::Jwt(_)) => sign(token, &found, seconds(now)?)?,
        _ => return Err(GenerateError::NotRenewed(old.kind())),
    };
    Ok(Value {
        kind: old.kind(),
        body,
    })
}

/// Whether an update of a session keeps the value of a secret of the same name.
///
/// Generated `ascii` and `binary` of the same size and `pgp-key` are kept, a `private-key` of the
/// same type if both versions say `migrate: true`. Everything else is made anew or replaced.
pub fn migrates(old: &Spec, new: &Spec) -> bool {
    match (old, new) {
        (Spec::Ascii { size: old }, Spec::Ascii { size: new })
        | (Spec::Binary { size: old }, Spec::Binary { size: new }) => old == new,
        (Spec::PgpKey, Spec::PgpKey) => true,
        (
            Spec::PrivateKey {
                key_type: old,
                migrate: true,
            },
            Spec::PrivateKey {
                key_type: new,
                migrate: true,
            },
        ) => old == new,
        _ => false,
    }
}

/// The characters of generated texts: 64 that no shell, YAML, JSON, URL or INI file reads as
/// anything but themselves.
pub const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// How many of [`ALPHABET`] are letters: with one of them a text begins, so that it is neither an
/// option of a command nor a number.
const LETTERS: u8 = 52;

/// One of 52 letters (5.7 bits), then each one of 64 (6 bits): 119.7 bits in 20 characters.
fn ascii(size: usize) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(size));
    // Six bits of a byte have no bias; of the first, values past the letters are thrown away.
    let first = loop {
        let [byte] = *random::secret_bytes::<1>();
        if byte & 63 < LETTERS {
            break byte;
        }
    };
    text.push(character(first));
    for byte in random::secret_vec(size - 1).iter() {
        text.push(character(*byte));
    }
    text
}

fn character(byte: u8) -> char {
    char::from(ALPHABET[usize::from(byte & 63)])
}

fn issue(
    name: &str,
    spec: &CertificateSpec,
    key: &PrivateKey,
    found: &Found<'_>,
    now: u64,
) -> Result<Body, GenerateError> {
    let issuer = spec
        .issuer
        .as_ref()
        .map(|issuer| found.authority(issuer))
        .transpose()?;
    let certified = Order {
        subject: subject(name, spec)?,
        role: &spec.role,
        key,
        issuer,
        valid_for: spec.valid_for,
        now,
    }
    .issue()?;
    Ok(Body::Certificate(Box::new(certified)))
}

/// The common name: as the owner says, or the first DNS name, or the secret's name.
fn subject<'a>(name: &'a str, spec: &'a CertificateSpec) -> Result<&'a str, GenerateError> {
    let dns = match &spec.role {
        Role::EndEntity { names, .. } => names.iter().find_map(|name| match name {
            SubjectAltName::Dns(name) => Some(name.as_str()),
            SubjectAltName::Ip(_) => None,
        }),
        Role::Authority { .. } => None,
    };
    let fits = |subject: &&str| {
        // RFC 5280, appendix A: ub-common-name.
        (1..=64).contains(&subject.chars().count()) && !subject.chars().any(char::is_control)
    };
    if let Some(subject) = &spec.common_name {
        return Some(subject.as_str())
            .filter(fits)
            .ok_or_else(|| GenerateError::CommonName(subject.clone()));
    }
    dns.into_iter()
        .chain([name])
        .find(fits)
        .ok_or_else(|| GenerateError::CommonName(name.to_owned()))
}

fn sign(spec: &JwtSpec, found: &Found<'_>, now: u64) -> Result<Body, GenerateError> {
    let signer = found.key("signer", &spec.signer)?;
    let expires = now + spec.validity.duration().as_secs();
    let mut claims = Map::new();
    for (name, value) in spec.payload.claims() {
        claims.insert(name.clone(), value.clone().into());
    }
    for (name, time) in [("iat", now), ("nbf", now), ("exp", expires)] {
        claims.insert(name.to_owned(), time.into());
    }
    let text =
        jwt::sign(&claims, signer).map_err(|_| GenerateError::SignerType(spec.signer.clone()))?;
    Ok(Body::Jwt(Token {
        text,
        issued: now,
        expires,
    }))
}

/// Seconds since 1970, so that a century later is still within the calendar.
fn seconds(now: SystemTime) -> Result<u64, GenerateError> {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
        .filter(|seconds| *seconds < NEVER / 2)
        .ok_or(GenerateError::Clock)
}

struct Found<'a>(&'a dyn Dependencies);

impl<'a> Found<'a> {
    fn value(&self, field: &'static str, name: &str) -> Result<&'a Value, GenerateError> {
        self.0.value(name).ok_or_else(|| GenerateError::Missing {
            field,
            name: name.to_owned(),
        })
    }

    fn key(&self, field: &'static str, name: &str) -> Result<&'a PrivateKey, GenerateError> {
        let value = self.value(field, name)?;
        match &value.body {
            Body::PrivateKey(key) => Ok(key),
            _ => Err(GenerateError::WrongKind {
                field,
                name: name.to_owned(),
                kind: value.kind(),
                wanted: Kind::PrivateKey,
            }),
        }
    }

    fn authority(&self, name: &str) -> Result<&'a Certified, GenerateError> {
        let value = self.value("issuer", name)?;
        match &value.body {
            Body::Certificate(certified) if value.kind() == Kind::X509Ca => Ok(certified),
            _ => Err(GenerateError::WrongKind {
                field: "issuer",
                name: name.to_owned(),
                kind: value.kind(),
                wanted: Kind::X509Ca,
            }),
        }
    }
}

/// Why a value is not made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A name that leads nowhere.
    #[error("`{field}: {name}` names no secret of this session")]
    Missing {
        /// The field that names it.
        field: &'static str,
        /// What it says.
        name: String,
    },
    /// A name of something else.
    #[error("`{field}: {name}` names a secret of the kind `{kind}`; it must be `{wanted}`")]
    WrongKind {
        /// The field that names it.
        field: &'static str,
        /// What it says.
        name: String,
        /// What it is.
        kind: Kind,
        /// What it must be.
        wanted: Kind,
    },
    /// The key of another certificate.
    #[error("`private_key: {0}` is not the key of the given certificate")]
    OtherKey(String),
    /// A signer of another type.
    #[error("`signer: {0}` is not of the type P-384, which ES384 needs: set its `key_type: P-384`")]
    SignerType(String),
    /// A subject that no certificate can have.
    #[error(
        "`{0}` cannot be the common name of a certificate, which has 1 to 64 characters: set `common_name`"
    )]
    CommonName(String),
    /// The certificate cannot be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// Nothing that is renewed, or without the key that it needs.
    #[error(
        "this secret of the kind `{0}` is not renewed: it has no end, or its key is elsewhere, or it has become another kind"
    )]
    NotRenewed(Kind),
    /// A clock that cannot be right.
    #[error("the clock is before 1970 or past what dates can say")]
    Clock,
}
