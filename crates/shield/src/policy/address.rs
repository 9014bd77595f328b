//! Ports and destinations.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use rustls_pki_types::{DnsName, ServerName};

use super::error::Fault;

/// A host and a port to connect to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Destination {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// A host as the program calls it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Host {
    /// A name, in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// Whether it is this machine, as every program has it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Address(address) => address.is_loopback(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

const PORT_FORM: &str = "TCP:port";
const DESTINATION_FORM: &str = "TCP:host:port";

/// `TCP:8080`.
pub(crate) fn port(text: &str) -> Result<u16, Fault> {
    let malformed = || Fault::Address {
        found: shown(text),
        expected: PORT_FORM,
    };
    number(tcp(text, malformed)?).ok_or_else(malformed)
}

/// `TCP:host:port`; an IPv6 address stands in brackets.
pub(crate) fn destination(text: &str) -> Result<Destination, Fault> {
    let malformed = || Fault::Address {
        found: shown(text),
        expected: DESTINATION_FORM,
    };
    let (host, port) = tcp(text, malformed)?
        .rsplit_once(':')
        .ok_or_else(malformed)?;
    let host = match host.strip_prefix('[') {
        Some(host) => host
            .strip_suffix(']')
            .and_then(|host| host.parse::<Ipv6Addr>().ok())
            .map(|address| Host::Address(address.into())),
        None => match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => None,
            Ok(address) => Some(Host::Address(address)),
            Err(_) => name(host).map(Host::Name),
        },
    };
    Ok(Destination {
        host: host.ok_or_else(malformed)?,
        port: number(port).ok_or_else(malformed)?,
    })
}

/// An address that can be connected to.
pub(crate) fn ip_address(text: &str) -> Result<IpAddr, Fault> {
    text.parse()
        .ok()
        .filter(|address: &IpAddr| !address.is_unspecified() && !address.is_multicast())
        .ok_or_else(|| Fault::IpAddress(shown(text)))
}

/// A name in the certificate of a client. In lower case, as names are compared.
pub(crate) fn client_name(text: &str) -> Result<String, Fault> {
    name(text).ok_or_else(|| Fault::ClientName(shown(text)))
}

/// The name that a certificate must have.
pub(crate) fn server_name(text: &str) -> Result<ServerName<'static>, Fault> {
    ServerName::try_from(text.to_owned()).map_err(|_| Fault::ServerName(shown(text)))
}

/// What a certificate for `host` must have.
pub(crate) fn server_name_of(host: &Host) -> Result<ServerName<'static>, Fault> {
    match host {
        Host::Name(name) => server_name(name),
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
    }
}

/// What follows `TCP:`.
fn tcp(text: &str, malformed: impl Fn() -> Fault) -> Result<&str, Fault> {
    let (protocol, rest) = text.split_once(':').ok_or_else(&malformed)?;
    match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Ok(rest),
        "unix" => Err(Fault::UnixSocket(shown(text))),
        _ if protocol.bytes().all(|byte| byte.is_ascii_alphabetic()) && !rest.is_empty() => {
            Err(Fault::Protocol(shown(text)))
        }
        _ => Err(malformed()),
    }
}

fn number(port: &str) -> Option<u16> {
    let is_plain = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = is_plain.then(|| port.parse().ok())??;
    (port != 0).then_some(port)
}

/// A name of a host: what can stand in a certificate and in `/etc/hosts`.
fn name(host: &str) -> Option<String> {
    let lower = host.to_ascii_lowercase();
    DnsName::try_from(lower.as_str())
        .ok()
        .filter(|_| lower.bytes().all(|byte| byte.is_ascii_graphic()))?;
    Some(lower)
}

/// Short texts are shown as they are. Longer ones may be a key in the wrong place.
pub(crate) fn shown(text: &str) -> String {
    const SHORT: usize = 80;
    if text.len() > SHORT || text.contains("-----") {
        return format!("({} bytes)", text.len());
    }
    text.escape_debug().to_string()
}
