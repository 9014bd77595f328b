//! What a session says of the network of a service.
//!
//! ```text
//! MSE_NETWORK_SHIELD=protected
//! MSE_NETWORK_SHIELD_SERVER_redis=protected       …_PORT=TCP:6379  …_IDENTITY  …_CLIENT_AUTH
//! MSE_NETWORK_SHIELD_CLIENT_db=protected          …_DESTINATION=TCP:db:5432    …_SERVER_AUTH
//! ```
//!
//! The same names with `SCONE_` in front are read as well. `docs/network-shield.md` has the table.

mod address;
mod error;
mod rules;
mod variables;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use rustls_pki_types::ServerName;
use zeroize::Zeroizing;

pub use address::{Destination, Host};
pub use error::{Fault, PolicyError};
pub use variables::is_shield_variable;

/// A service's connections.
///
/// No `Debug`: sources of keys may hold them.
#[derive(Clone, PartialEq, Eq)]
pub struct Policy {
    /// For whatever no rule names.
    pub mode: Mode,
    /// Ports that the service listens on.
    pub servers: Vec<ServerRule>,
    /// Where the service connects to.
    pub clients: Vec<ClientRule>,
    /// What was asked for and is done more strictly: one sentence each, for the log.
    pub remarks: Vec<String>,
}

impl Policy {
    /// Has destinations that are called by a name of `hosts` be reached there, unless the policy says
    /// where they are.
    pub fn route(&mut self, hosts: &BTreeMap<String, IpAddr>) {
        for rule in &mut self.clients {
            if let (None, Host::Name(name)) = (rule.address, &rule.destination.host) {
                rule.address = hosts.get(name).copied();
            }
        }
    }

    /// Takes the variables of the shield out of `environment`: the program is told none of them.
    ///
    /// `None` if there is none.
    ///
    /// # Errors
    ///
    /// What is wrong with which variable; then `environment` holds none of them either.
    pub fn take(
        environment: &mut BTreeMap<String, Zeroizing<String>>,
    ) -> Result<Option<Self>, PolicyError> {
        let settings = variables::Settings::take(environment)?;
        settings.as_ref().map(rules::policy).transpose()
    }

    /// Whether the program gets a network of its own, in which the shield is the only way out.
    pub fn isolates(&self) -> bool {
        self.mode == Mode::Protected
    }
}

/// What happens to connections that no rule names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// There is no shield.
    Disabled,
    /// They are made in the clear.
    Unprotected,
    /// They are impossible.
    Protected,
}

/// What happens to the connections of a rule.
#[derive(Clone, PartialEq, Eq)]
pub enum Guard<T> {
    /// They are passed on in the clear.
    Unprotected,
    /// They are TLS.
    Protected(T),
    /// They are impossible.
    Refused,
}

/// The name of a rule, which is the name of the variable that begins it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RuleName(pub(crate) String);

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A port that the service listens on.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerRule {
    /// Its name.
    pub name: RuleName,
    /// The port, outside and inside.
    pub port: u16,
    /// What happens to connections.
    pub guard: Guard<ServerTls>,
}

/// TLS of a [`ServerRule`].
#[derive(Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Key and certificates that it shows.
    pub identity: Source,
    /// Who may connect.
    pub clients: ClientAuth,
}

/// Who may connect.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// Anybody: clients need no certificate.
    Disabled,
    /// Who has a certificate of these authorities, and with it one of the names if there are any.
    Authorities {
        /// Who issues the certificates.
        issued_by: Source,
        /// Whose certificates get in: in lower case, never an empty list.
        names: Option<BTreeSet<String>>,
    },
}

/// Where the service connects to.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientRule {
    /// Its name.
    pub name: RuleName,
    /// What the program calls it.
    pub destination: Destination,
    /// Where the shield connects to; without it, the name is looked up.
    pub address: Option<IpAddr>,
    /// What happens to connections.
    pub guard: Guard<ClientTls>,
}

/// TLS of a [`ClientRule`].
#[derive(Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Key and certificates that it shows, if any.
    pub identity: Option<Source>,
    /// Who issues the server's certificate.
    pub authorities: Source,
    /// The name in the server's certificate.
    pub server_name: ServerName<'static>,
}

/// PEM, or where it is.
///
/// No `Debug`: it may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    /// The variable that gave it.
    pub variable: String,
    pub(crate) text: SourceText,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SourceText {
    Pem(Zeroizing<String>),
    /// Paths of released files, one after the other.
    Files(Vec<String>),
}
