//! Values that are kept outside of every CAS: in a key-value store, or in a hardware module.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::str::FromStr;

use mse_yaml::shown;

use crate::model::SecretName;

/// Where a CAS fetches a value that it neither makes nor finds in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum External {
    /// A key-value store that speaks the HTTP API of Vault's KV, version 2.
    Kv(KvImport),
    /// A token behind PKCS#11.
    Pkcs11(Pkcs11Import),
}

impl External {
    /// The secret of this session that opens it: it has to be there first.
    pub fn credential(&self) -> Option<&SecretName> {
        match self {
            Self::Kv(import) => Some(&import.token),
            Self::Pkcs11(import) => import.pin.as_ref(),
        }
    }
}

/// A field of a secret in a key-value store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvImport {
    /// The server.
    pub url: KvUrl,
    /// Where its engine is mounted: `secret` if nothing is said.
    pub mount: KvPath,
    /// The secret there.
    pub path: KvPath,
    /// The field of the secret.
    pub field: String,
    /// The version; None: the newest.
    pub version: Option<NonZeroU32>,
    /// The secret of this session that is the access token.
    pub token: SecretName,
    /// Certificates in PEM that alone vouch for the server; None: the roots of the system.
    pub ca: Option<String>,
}

/// An object on a token behind PKCS#11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11Import {
    /// The operator's name for a library. Never a path: a session chooses no code.
    pub module: ModuleName,
    /// The label of the token.
    pub token: TokenLabel,
    /// The label of the object.
    pub object: String,
    /// The secret of this session that is the PIN; None: the operator knows it.
    pub pin: Option<SecretName>,
}

/// A server: `https://host[:port]`, or `http://` and an address of the machine's own.
///
/// Lower-case, without the port that is the scheme's own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KvUrl {
    is_plain: bool,
    /// A name, or an address; of IPv6, in brackets.
    host: String,
    port: u16,
}

impl KvUrl {
    /// Whether the connection is not encrypted: to the machine itself only.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The name or address, the latter in brackets where it is one of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for KvUrl {
    type Err = InvalidKvUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || InvalidKvUrl::Form(text.to_owned());
        let (scheme, authority) = text.split_once("://").ok_or_else(form)?;
        let is_plain = match scheme.to_ascii_lowercase().as_str() {
            "https" => false,
            "http" => true,
            _ => return Err(form()),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = split_port(authority).ok_or_else(form)?;
        let host = host.to_ascii_lowercase();
        let address = address(&host);
        if address.is_none() && (!is_host(&host) || looks_like_an_address(&host)) {
            return Err(form());
        }
        if is_plain && !address.is_some_and(|address| address.is_loopback()) {
            return Err(InvalidKvUrl::Plain(text.to_owned()));
        }
        // One spelling of each address.
        let host = match address {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            Some(IpAddr::V4(address)) => address.to_string(),
            None => host,
        };
        Ok(Self {
            is_plain,
            host,
            port: port.unwrap_or(default_port(is_plain)),
        })
    }
}

impl fmt::Display for KvUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_plain { "http" } else { "https" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port != default_port(self.is_plain) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl fmt::Debug for KvUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KvUrl({self})")
    }
}

fn default_port(is_plain: bool) -> u16 {
    if is_plain { 80 } else { 443 }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let colon = match authority.rfind(']') {
        // What follows the bracket.
        Some(end) if end + 1 == authority.len() => None,
        Some(end) => Some(authority[end + 1..].starts_with(':').then_some(end + 1)?),
        None => authority.find(':'),
    };
    let Some(colon) = colon else {
        return Some((authority, None));
    };
    let digits = &authority[colon + 1..];
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let port = digits.parse().ok().filter(|port| is_number && *port > 0)?;
    Some((&authority[..colon], Some(port)))
}

fn address(host: &str) -> Option<IpAddr> {
    match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(inside) => inside.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

fn is_host(host: &str) -> bool {
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// `127.1`, `0x7f.1`: some clients read these as addresses.
fn looks_like_an_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.bytes().all(|b| b.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A text that names no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKvUrl {
    /// Not of the form.
    #[error(
        "`{}` is no server: write `https://host` or `https://host:port`, without user, path and question mark",
        shown(.0)
    )]
    Form(String),
    /// Plain HTTP over a network.
    #[error(
        "`{}` would send the token in clear: write `https://`; `http://` is for 127.0.0.1 and [::1] only",
        shown(.0)
    )]
    Plain(String),
}

/// A mount or a path in a key-value store: segments between `/`, at most 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KvPath(String);

impl KvPath {
    /// The mount that is meant where none is named.
    pub const DEFAULT_MOUNT: &str = "secret";

    /// Where a server has its first key-value engine.
    pub fn default_mount() -> Self {
        Self(Self::DEFAULT_MOUNT.to_owned())
    }

    /// Its segments: none is empty, `.` or `..`.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for KvPath {
    type Err = InvalidKvPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_path = text.len() <= 512
            && text.split('/').all(|segment| {
                !matches!(segment, "" | "." | "..")
                    && !segment
                        .contains(|c: char| c.is_control() || matches!(c, '?' | '#' | '\\' | '%'))
            });
        if is_path {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKvPath(text.to_owned()))
        }
    }
}

impl fmt::Display for KvPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no path of a key-value store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no path in a key-value store: write segments between single `/`, without one at the ends, `.`, `..`, `?`, `#`, `%` and backslashes, at most 512 bytes",
    shown(.0)
)]
pub struct InvalidKvPath(String);

/// The operator's name for a PKCS#11 library: 1 to 64 of `[A-Za-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleName(String);

impl ModuleName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModuleName {
    type Err = InvalidModuleName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidModuleName(text.to_owned()))
        }
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that names no module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no module: write the name that the operator of the CAS gives it, 1 to 64 of `A-Za-z0-9_-`, and no path",
    shown(.0)
)]
pub struct InvalidModuleName(String);

/// The label of a token: 1 to 32 bytes, without blanks at the end (PKCS#11 fills up with them).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenLabel(String);

impl TokenLabel {
    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenLabel {
    type Err = InvalidTokenLabel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if (1..=32).contains(&text.len())
            && !text.ends_with(' ')
            && !text.contains(char::is_control)
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTokenLabel(text.to_owned()))
        }
    }
}

impl fmt::Display for TokenLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no token's label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no token's label: 1 to 32 bytes, without blanks at the end", shown(.0))]
pub struct InvalidTokenLabel(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_one_spelling() {
        for (text, spelling) in [
            ("https://vault.example", "https://vault.example"),
            ("HTTPS://Vault.Example:443/", "https://vault.example"),
            ("https://vault.example:8200", "https://vault.example:8200"),
            ("https://[2001:DB8:0::1]:8200", "https://[2001:db8::1]:8200"),
            ("https://192.0.2.1", "https://192.0.2.1"),
            ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
            ("http://[::1]", "http://[::1]"),
        ] {
            let url: KvUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), spelling);
            assert_eq!(spelling.parse(), Ok(url));
        }
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for text in [
            "",
            "vault.example",
            "https://",
            "https://a:b",
            "https://a:0",
            "https://a:65536",
            "https://a:+1",
            "https://me@vault.example",
            "https://vault.example/v1",
            "https://vault.example?x",
            "https://vault.example#x",
            "https://a..b",
            "https://a b",
            "https://[::1",
            "https://[::1]x",
            "https://::1",
            "https://127.1",
            "https://0x7f000001",
            "ftp://127.0.0.1",
        ] {
            let error = text.parse::<KvUrl>();
            assert!(matches!(error, Err(InvalidKvUrl::Form(_))), "{text}");
        }
        for text in [
            "http://vault.example",
            "http://localhost:8200",
            "http://192.0.2.1",
        ] {
            let error = text.parse::<KvUrl>();
            assert!(matches!(error, Err(InvalidKvUrl::Plain(_))), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_read_again(text in "(?i)(https?)://[a-z0-9.:\\[\\]-]{0,20}(:[0-9]{0,6})?/?") {
            if let Ok(url) = text.parse::<KvUrl>() {
                proptest::prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }

        #[test]
        fn no_text_panics(text in proptest::prelude::any::<String>()) {
            let _ = text.parse::<KvUrl>();
            let _ = text.parse::<KvPath>();
            let _ = text.parse::<ModuleName>();
            let _ = text.parse::<TokenLabel>();
        }
    }

    #[test]
    fn paths_stay_where_they_are() {
        for good in ["a", "shop/db", "with blank/x", "é"] {
            assert_eq!(good.parse::<KvPath>().unwrap().to_string(), good);
        }
        for bad in [
            "", "/a", "a/", "a//b", ".", "a/../b", "a?b", "a#b", "a%2fb", "a\\b", "a\nb",
        ] {
            assert!(bad.parse::<KvPath>().is_err(), "{bad}");
        }
        assert!("a".repeat(513).parse::<KvPath>().is_err());
    }

    #[test]
    fn a_module_is_no_path() {
        assert!("softhsm-2".parse::<ModuleName>().is_ok());
        for bad in ["", "/usr/lib/x.so", "x.so", "..", "a b"] {
            assert!(bad.parse::<ModuleName>().is_err(), "{bad}");
        }
        assert!("shop keys".parse::<TokenLabel>().is_ok());
        for bad in ["", "shop ", &"a".repeat(33), "a\tb"] {
            assert!(bad.parse::<TokenLabel>().is_err(), "{bad:?}");
        }
    }
}
