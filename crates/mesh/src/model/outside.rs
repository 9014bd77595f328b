//! Hosts outside of a mesh.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host outside of the mesh that a service connects to, and who speaks TLS with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutsideHost {
    /// What the program calls it, and what its certificate says.
    pub host: HostName,
    /// Who speaks TLS.
    pub tls: HostTls,
}

/// Who speaks TLS with a host outside of the mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostTls {
    /// The program: what it sends leaves as it is.
    Program,
    /// The shield, which verifies the host by the certificates in this file (PEM).
    Shield(String),
}

/// A DNS name in lower case, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostName {
    /// A name.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let is_one = !address.is_unspecified() && !address.is_multicast();
            return is_one
                .then_some(Self::Address(address))
                .ok_or_else(|| InvalidHostName(text.to_owned()));
        }
        let name = text.to_ascii_lowercase();
        let is_label = |label: &str| {
            let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            (1..=63).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // All digits would be an address that was mistyped.
        let is_number = |label: &str| label.bytes().all(|c| c.is_ascii_digit());
        let is_name = name.len() <= 253
            && name.split('.').all(is_label)
            && !name.rsplit('.').next().is_some_and(is_number);
        if is_name {
            Ok(Self::Dns(name))
        } else {
            Err(InvalidHostName(text.to_owned()))
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// A text that is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no host: write a DNS name such as `api.example.com`, or an IP address", mse_yaml::shown(.0))]
pub struct InvalidHostName(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for (text, shown) in [
            ("API.example.com", "api.example.com"),
            ("localhost", "localhost"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "[2001:db8::1]"),
        ] {
            assert_eq!(text.parse::<HostName>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "a b",
            "*.example",
            "a:443",
            "https://a",
            "a/b",
            "-a",
            "a.",
            "0.0.0.0",
            "224.0.0.1",
            "1.2.3",
            "[::1]",
            "a_b",
            "$$MSE::a$$",
        ] {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }
}
