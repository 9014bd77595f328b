//! Secrets: what they are, where their values are from, and who gets them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use mse_secrets::{KeyType, Kind};
use serde_json::Value;

use crate::model::{Export, External, ImportFrom, SecretName};
use crate::template::Template;

/// A secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// Its name.
    pub name: SecretName,
    /// What it is. None only for imports: the exporter knows.
    pub kind: Option<Kind>,
    /// Where its value is from.
    pub source: SecretSource,
    /// Who may import it.
    pub exports: Vec<Export>,
    /// Whether anybody may read it.
    pub export_public: bool,
    /// Whether a generated private key stays when the session is updated. It must be said in both
    /// versions.
    pub migrate: bool,
}

/// Where the value of a secret is from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// The CAS makes it.
    Generated(Generated),
    /// It stands in the session.
    Explicit(Explicit),
    /// It is another session's.
    Imported(ImportFrom),
    /// It is in Azure's vault.
    Vault(VaultImport),
    /// It is in another key-value store, or in a hardware module.
    External(External),
}

/// What the CAS makes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Generated {
    /// Printable characters: so many.
    Ascii(u32),
    /// So many bytes.
    Binary(u32),
    /// A private key.
    PrivateKey(KeyType),
    /// The public half of a private key.
    PublicKey(SecretName),
    /// A certificate (`x509` or `x509-ca`).
    Certificate(Box<CertificateRequest>),
    /// An OpenPGP key.
    PgpKey,
    /// A JSON web token.
    Jwt(JwtRequest),
    /// A token for Azure's vault.
    AadToken(AadToken),
}

/// What stands in the session.
#[derive(Clone, PartialEq, Eq)]
pub enum Explicit {
    /// A text: as it is (`ascii`), hex (`binary`), PEM (keys and certificates).
    Text {
        /// The text.
        value: Template,
        /// For a certificate: the secret that is its private key.
        private_key: Option<SecretName>,
    },
    /// The value of a config-fragment.
    Fragment(Value),
}

/// Without any value.
impl fmt::Debug for Explicit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { .. } => f.write_str("Text"),
            Self::Fragment(_) => f.write_str("Fragment"),
        }
    }
}

/// A certificate to issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The secret that is its private key; None: a key of its own.
    pub private_key: Option<SecretName>,
    /// The certificate authority; None: it signs itself.
    pub issuer: Option<SecretName>,
    /// Its common name, of at most 64 characters; None: the first DNS name, else the secret's name.
    pub common_name: Option<String>,
    /// For which end of a connection; None: both.
    pub endpoint: Option<Endpoint>,
    /// Its subject alternative names.
    pub names: Vec<AlternativeName>,
    /// How long it is valid; None: practically for ever.
    pub valid_for: Option<Lifetime>,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// Who connects.
    Client,
    /// Who is connected to.
    Server,
}

impl Endpoint {
    /// As written in a session.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// A subject alternative name: `dns:host.example` or `ip:192.0.2.1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AlternativeName {
    /// A DNS name; the first label may be `*`.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl AlternativeName {
    pub(crate) fn dns(text: &str) -> Option<Self> {
        let host = text.strip_prefix("*.").unwrap_or(text);
        let is_host = !host.is_empty()
            && text.len() <= 253
            && host.split('.').all(|label| {
                (1..=63).contains(&label.len())
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
        is_host.then(|| Self::Dns(text.to_owned()))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("dns", name) => Self::dns(name.trim()),
            ("ip", address) => address.trim().parse().ok().map(Self::Ip),
            _ => None,
        }
    }
}

impl fmt::Display for AlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
        }
    }
}

/// How long something is valid: `90 days`, `1 year`, `59d`, `24h`.
///
/// A month is 30 days and a year 365.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lifetime {
    seconds: u64,
}

impl Lifetime {
    /// In seconds: at least one, at most 100 years.
    pub fn seconds(self) -> u64 {
        self.seconds
    }
}

impl FromStr for Lifetime {
    type Err = InvalidLifetime;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidLifetime(text.to_owned());
        let mut seconds = 0u64;
        let mut rest = text.trim();
        if rest.len() > 100 {
            return Err(invalid());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .ok_or_else(invalid)?;
            let (number, after) = rest.split_at(digits);
            let after = after.trim_start();
            let letters = after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let unit = match unit {
                "s" | "sec" | "secs" | "second" | "seconds" => 1,
                "m" | "min" | "mins" | "minute" | "minutes" => 60,
                "h" | "hour" | "hours" => 3600,
                "d" | "day" | "days" => DAY,
                "w" | "week" | "weeks" => 7 * DAY,
                "month" | "months" => 30 * DAY,
                "y" | "year" | "years" => 365 * DAY,
                _ => return Err(invalid()),
            };
            seconds = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(unit))
                .and_then(|part| part.checked_add(seconds))
                .ok_or_else(invalid)?;
            rest = after.trim_start();
        }
        if (1..=36_500 * DAY).contains(&seconds) {
            Ok(Self { seconds })
        } else {
            Err(invalid())
        }
    }
}

const DAY: u64 = 24 * 3600;

/// In days if it is whole days, else in seconds.
impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.seconds.is_multiple_of(DAY) {
            write!(f, "{}d", self.seconds / DAY)
        } else {
            write!(f, "{}s", self.seconds)
        }
    }
}

/// A text that is no lifetime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no lifetime: `90 days`, `1 year`, `24h`", mse_yaml::shown(.0))]
pub struct InvalidLifetime(String);

/// A JSON web token to issue (RFC 7519), signed by ES384.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtRequest {
    /// The secret that signs: a private key on P-384.
    pub signer: SecretName,
    /// How long it is valid.
    pub valid_for: Lifetime,
    /// Its claims: each a text, or one reference. `iat`, `nbf` and `exp` are the CAS's.
    pub payload: BTreeMap<String, Template>,
}

/// How to get a token for Azure's vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AadToken {
    /// The directory.
    pub tenant_id: String,
    /// The application.
    pub client_id: String,
    /// How it proves itself.
    pub credential: AadCredential,
}

/// How an application proves itself to Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AadCredential {
    /// By a shared secret.
    Secret(Template),
    /// By an RSA key.
    Certificate {
        /// The private key, PEM.
        private_key: Template,
        /// The thumbprint of its certificate.
        thumbprint: String,
    },
}

/// A secret in Azure's vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultImport {
    /// The vault.
    pub vault: String,
    /// Its name there.
    pub secret_name: String,
    /// The aad-token to ask with.
    pub token: SecretName,
    /// What its payload is encrypted with.
    pub decryption_key: Option<SecretName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        for (text, seconds) in [
            ("90 days", 90 * DAY),
            ("1 year", 365 * DAY),
            ("59d", 59 * DAY),
            ("1h 30 min", 5400),
            ("24h", DAY),
        ] {
            let lifetime: Lifetime = text.parse().unwrap();
            assert_eq!(lifetime.seconds(), seconds, "{text}");
            assert_eq!(lifetime.to_string().parse(), Ok(lifetime));
        }
        for bad in [
            "",
            "d",
            "5",
            "0d",
            "-1d",
            "1 eon",
            "99999999999999999999d",
            "9999 years",
        ] {
            assert!(bad.parse::<Lifetime>().is_err(), "{bad}");
        }
    }

    #[test]
    fn alternative_names() {
        for good in [
            "dns:a.example",
            "dns:*.a_b.example",
            "ip:192.0.2.1",
            "ip:2001:db8::1",
        ] {
            assert_eq!(AlternativeName::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "a.example",
            "dns:",
            "dns:a..b",
            "dns:-a",
            "ip:a",
            "uri:x",
            "dns:a b",
            "dns:a.*",
        ] {
            assert_eq!(AlternativeName::parse(bad), None, "{bad}");
        }
    }
}
