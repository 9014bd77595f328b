//! The CASes of a mesh.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use mse_session::{Hex, KeyHash};
use mse_yaml::shown;

use super::CasTrust;

/// A CAS, and what the mesh uses it for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cas {
    /// The role that it is named after.
    pub name: Role,
    /// Its other roles.
    pub aliases: BTreeSet<Role>,
    /// Where it is.
    pub url: CasHost,
    /// The hash of its key, which is checked when it is attested.
    pub key: Option<KeyHash>,
    /// The X25519 key that sessions are encrypted for.
    pub encryption_key: Option<Hex<32>>,
    /// How strictly it is attested.
    pub trust: CasTrust,
    /// How the sessions get to it; None: they are uploaded.
    pub mode: Option<UploadMode>,
}

impl Cas {
    /// Whether it has `role`.
    pub fn serves(&self, role: Role) -> bool {
        self.name == role || self.aliases.contains(&role)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$one:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$one])* $name,)* }

        impl $type {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As written in a Meshfile.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

words! {
    /// What a CAS is used for.
    Role {
        /// The sessions of the services.
        Cas = "cas",
        /// The policies of the images.
        Image = "image",
        /// What attestation tolerates.
        Security = "security",
        /// Who may change sessions.
        Access = "access",
        /// What services must prove.
        Attestation = "attestation",
    }
}

words! {
    /// How sessions get to their CAS.
    UploadMode {
        /// They are uploaded by whoever builds the mesh.
        Upload = "Upload",
        /// Signed, as objects of Kubernetes.
        SignedManifest = "SignedManifest",
        /// Signed and encrypted, as objects of Kubernetes.
        EncryptedManifest = "EncryptedManifest",
        /// They stay where they are built.
        NoUpload = "NoUpload",
        /// Encrypted, as files only.
        EncryptedOnly = "EncryptedOnly",
        /// Signed by somebody else, at an address that is given when the mesh is built.
        SignOnline = "SignOnline",
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for UploadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a CAS is: a host, perhaps with the port for its clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CasHost {
    host: String,
    port: Option<NonZeroU16>,
}

impl CasHost {
    /// A DNS name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if it is said.
    pub fn port(&self) -> Option<NonZeroU16> {
        self.port
    }
}

impl FromStr for CasHost {
    type Err = InvalidCasHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidCasHost(text.to_owned());
        let after = text.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match text[after..].rsplit_once(':') {
            Some((_, port)) => (&text[..text.len() - port.len() - 1], Some(port)),
            None => (text, None),
        };
        let port = match port {
            Some(port) if !port.starts_with('+') => Some(port.parse().map_err(|_| invalid())?),
            Some(_) => return Err(invalid()),
            None => None,
        };
        let is_host = match host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                host.len() <= 253
                    && host.split('.').all(|label| {
                        (1..=63).contains(&label.len())
                            && label
                                .bytes()
                                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                    })
            }
        };
        if !is_host {
            return Err(invalid());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for CasHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// A text that is no place of a CAS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no place of a CAS: write `host` or `host:port`, without `https://`", shown(.0))]
pub struct InvalidCasHost(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("edge.cas.example", "edge.cas.example", None),
            ("192.0.2.7:8081", "192.0.2.7", Some(8081)),
            ("[2001:db8::1]:8081", "[2001:db8::1]", Some(8081)),
            ("[2001:db8::1]", "[2001:db8::1]", None),
            ("cas-5-9.default", "cas-5-9.default", None),
        ] {
            let place: CasHost = text.parse().unwrap();
            assert_eq!(
                (place.host(), place.port().map(NonZeroU16::get)),
                (host, port),
                "{text}"
            );
            assert_eq!(place.to_string(), text);
        }
        for bad in [
            "",
            "https://cas.example",
            "cas:0",
            "cas:+1",
            "cas:",
            "a..b",
            "2001:db8::1",
            "[x]",
            "cas.example/",
            "a b",
        ] {
            assert!(bad.parse::<CasHost>().is_err(), "{bad}");
        }
    }
}
