//! Names in certificates.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A name in a certificate: `dns:example.org`, `ip:10.0.0.1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubjectAltName {
    /// A DNS name.
    Dns(DnsName),
    /// An address.
    Ip(IpAddr),
}

impl FromStr for SubjectAltName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix("dns:") {
            name.parse().map(Self::Dns)
        } else if let Some(address) = text.strip_prefix("ip:") {
            address
                .parse()
                .map(Self::Ip)
                .map_err(|_| InvalidName::Address(address.to_owned()))
        } else {
            Err(InvalidName::Prefix(text.to_owned()))
        }
    }
}

/// A DNS name as certificates carry it: at most 253 characters, in labels of at most 63 letters,
/// digits, hyphens and underscores (which names of containers have); the first label may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let labels = text.strip_prefix("*.").unwrap_or(text);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if text.len() <= 253 && labels.split('.').all(is_label) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Dns(text.to_owned()))
        }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that cannot be a name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Neither `dns:` nor `ip:`.
    #[error("`san: {0}` begins with neither `dns:` nor `ip:`")]
    Prefix(String),
    /// No DNS name.
    #[error("`{0}` is no DNS name that a certificate can carry")]
    Dns(String),
    /// No address.
    #[error("`{0}` is no IP address")]
    Address(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates() {
        let long = format!("dns:{}", "a.".repeat(127));
        for text in [
            "dns:example.org",
            "dns:*.example.org",
            "dns:web_1",
            "dns:1.2.3.4",
            "ip:10.0.0.1",
            "ip:::1",
        ] {
            assert!(text.parse::<SubjectAltName>().is_ok(), "{text}");
        }
        for text in [
            "example.org",
            "dns:",
            "dns:a..b",
            "dns:.a",
            "dns:a.",
            "dns:*",
            "dns:a.*.b",
            "dns:*a.b",
            "dns:-a",
            "dns:a b",
            "dns:ä.de",
            "ip:10.0.0",
            "ip:host",
            "ip:10.0.0.1/8",
            "DNS:a",
            &long,
        ] {
            assert!(text.parse::<SubjectAltName>().is_err(), "{text}");
        }
    }
}
