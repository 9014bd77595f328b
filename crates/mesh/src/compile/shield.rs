//! The network shield that a mesh asks for by `connections`.
//!
//! | port | who gets in |
//! | --- | --- |
//! | that another service connects to | the services that connect to it, by the names in their certificates |
//! | that no service connects to, called `https` or `tls…` | everybody: the program speaks TLS itself |
//! | any other that no service connects to | everybody, by TLS with the certificate of the mesh |

use std::collections::{BTreeMap, BTreeSet};

use mse_session::{SecretName, SessionName};
use serde_json::{Value, json};

use super::CompileError;
use super::secrets::exports;
use super::service::{Compiled, Speech};
use crate::model::{
    Connection, Destination, HostName, HostTls, ImageSource, Meshfile, OutsideHost, ServiceName,
};

/// How the secrets of the shield begin.
pub(super) const PREFIX: &str = "mesh-";
/// The authority of the mesh.
const CA: &str = "mesh-ca";
/// Where its certificate lies.
const CA_FILE: &str = "/run/mesh/ca.pem";
/// How long certificates hold; the CAS renews them before.
const VALID_FOR: &str = "30 days";

/// Who connects to whom.
#[derive(Default)]
pub(super) struct Shield {
    services: BTreeMap<ServiceName, Shielded>,
}

struct Shielded {
    session: SessionName,
    label: String,
    /// Its ports, and how each is guarded.
    ports: BTreeMap<u16, Guard>,
    /// Label and port of each service that it connects to.
    destinations: BTreeSet<(String, u16)>,
    /// Hosts outside of the mesh, with their ports, and what is done with each.
    outside: BTreeMap<(HostName, u16), Outside>,
}

/// What happens to connections that leave the mesh.
#[derive(PartialEq, Eq)]
enum Outside {
    /// They are passed on as they are.
    AsTheyAre,
    /// They are TLS, and the host is verified by these certificates.
    Tls(String),
}

enum Guard {
    /// Mutual TLS with the services that have these labels.
    Mesh(BTreeSet<String>),
    /// TLS, for everybody.
    Public,
    /// What the program makes of it.
    Own,
}

impl Guard {
    /// Has a service connect, and nobody else but those that may already.
    fn admit(&mut self, client: String) {
        match self {
            Self::Mesh(clients) => {
                clients.insert(client);
            }
            Self::Public | Self::Own => *self = Self::Mesh(BTreeSet::from([client])),
        }
    }

    /// Whether the shield speaks TLS there.
    fn is_tls(&self) -> bool {
        !matches!(self, Self::Own)
    }
}

/// What the shield adds to the session of a service.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) environment: Vec<(String, String)>,
    pub(super) files: Vec<(String, String)>,
    pub(super) secrets: Vec<SecretName>,
}

impl Shield {
    /// Of nobody, if no service says what it connects to.
    pub(super) fn of(
        mesh: &Meshfile,
        services: &[Compiled<'_>],
        authorities: &BTreeMap<String, String>,
    ) -> Result<Self, CompileError> {
        let mut shield = Self::default();
        if mesh.services.iter().all(|one| one.connections.is_none()) {
            let mut services = mesh.services.iter();
            return match services.find(|one| matches!(one.image, ImageSource::Curated(_))) {
                Some(bare) => Err(CompileError::NoShield(bare.name.clone())),
                None => Ok(shield),
            };
        }
        for (service, compiled) in mesh.services.iter().zip(services) {
            shield.services.insert(
                service.name.clone(),
                Shielded {
                    session: compiled.session_name().clone(),
                    label: service.name.dns_label(),
                    ports: ports(compiled),
                    destinations: BTreeSet::new(),
                    outside: BTreeMap::new(),
                },
            );
        }
        for service in &mesh.services {
            for connection in service.connections.iter().flatten() {
                match &connection.to {
                    Destination::Service(to) => {
                        for port in shield.ports_of(connection, to) {
                            shield.connect(&service.name, to, port)?;
                        }
                    }
                    Destination::Host(host) => {
                        shield.leave(&service.name, host, connection, authorities)?;
                    }
                    Destination::Network(network) => {
                        return Err(CompileError::Network {
                            service: service.name.clone(),
                            network: *network,
                        });
                    }
                }
            }
        }
        Ok(shield)
    }

    /// Those that a connection names, or all that the other listens on.
    fn ports_of(&self, connection: &Connection, to: &ServiceName) -> Vec<u16> {
        if connection.ports.is_empty() {
            let server = self.services.get(to).into_iter();
            return server.flat_map(|one| one.ports.keys().copied()).collect();
        }
        connection.ports.iter().map(|port| port.get()).collect()
    }

    fn connect(
        &mut self,
        from: &ServiceName,
        to: &ServiceName,
        port: u16,
    ) -> Result<(), CompileError> {
        let unknown = || CompileError::NoSuchPort {
            service: from.clone(),
            to: to.to_string(),
            port,
        };
        let server = self.services.get_mut(to).ok_or_else(unknown)?;
        let guard = server.ports.get_mut(&port).ok_or_else(unknown)?;
        guard.admit(from.dns_label());
        let destination = (server.label.clone(), port);
        if let Some(client) = self.services.get_mut(from) {
            client.destinations.insert(destination);
        }
        Ok(())
    }

    fn leave(
        &mut self,
        from: &ServiceName,
        to: &OutsideHost,
        connection: &Connection,
        authorities: &BTreeMap<String, String>,
    ) -> Result<(), CompileError> {
        let wrong = |why: String| CompileError::Text {
            service: from.clone(),
            what: format!("the connection to `{}`", to.host),
            why,
        };
        let Some(client) = self.services.get_mut(from) else {
            return Ok(());
        };
        for port in &connection.ports {
            let outside = match &to.tls {
                HostTls::Program => Outside::AsTheyAre,
                HostTls::Shield(file) => {
                    let pem = authorities.get(file);
                    let pem = pem.ok_or_else(|| wrong(format!("`{file}` was not read")))?;
                    Outside::Tls(pem.clone())
                }
            };
            let key = (to.host.clone(), port.get());
            if let Some(earlier) = client.outside.insert(key, outside)
                && client.outside.get(&(to.host.clone(), port.get())) != Some(&earlier)
            {
                return Err(wrong(format!("port {port} is named twice, differently")));
            }
        }
        Ok(())
    }

    /// What leaves the mesh as programs send it.
    pub(super) fn warn(&self, warnings: &mut Vec<String>) {
        for (service, shielded) in &self.services {
            let bare = shielded.outside.iter();
            for ((host, port), _) in bare.filter(|(_, one)| **one == Outside::AsTheyAre) {
                warnings.push(format!(
                    "{service}: UNPROTECTED BY THE SHIELD: what the program sends to `{host}:{port}` leaves as it is, so the program itself must speak TLS, and verify the host"
                ));
            }
        }
    }

    /// The authority, and what each service shows.
    pub(super) fn secrets(&self) -> Vec<Value> {
        if self.services.is_empty() {
            return Vec::new();
        }
        let all = exports(self.services.values().map(|one| &one.session));
        let mut secrets = vec![json!({
            "name": CA, "kind": "x509-ca", "common_name": "mesh", "export": all, "export_public": true,
        })];
        for shielded in self.services.values() {
            for (name, endpoint) in shielded.certificates() {
                secrets.push(json!({
                    "name": name,
                    "kind": "x509",
                    "issuer": CA,
                    "common_name": shielded.label,
                    "endpoint": endpoint,
                    "san": [format!("dns:{}", shielded.label)],
                    "valid_for": VALID_FOR,
                    "export": exports([&shielded.session]),
                }));
            }
        }
        secrets
    }

    /// What the session of a service has for it.
    pub(super) fn of_service(&self, name: &ServiceName) -> Rules {
        self.services
            .get(name)
            .map(Shielded::rules)
            .unwrap_or_default()
    }
}

impl Shielded {
    /// Names and purposes of the certificates that it needs.
    fn certificates(&self) -> Vec<(String, &'static str)> {
        let mut certificates = Vec::new();
        if self.ports.values().any(Guard::is_tls) {
            certificates.push((format!("{PREFIX}{}-server", self.label), "server"));
        }
        if !self.destinations.is_empty() {
            certificates.push((format!("{PREFIX}{}-client", self.label), "client"));
        }
        certificates
    }

    fn rules(&self) -> Rules {
        let mut rules = Rules::default();
        rules.set("", "protected");
        for (port, guard) in &self.ports {
            let server = format!("_SERVER_{port}");
            let mode = if guard.is_tls() {
                "protected"
            } else {
                "unprotected"
            };
            rules.set(&server, mode);
            rules.set(&format!("{server}_PORT"), &format!("TCP:{port}"));
            if guard.is_tls() {
                rules.set(&format!("{server}_IDENTITY"), &identity("server"));
            }
            match guard {
                Guard::Mesh(clients) => {
                    let names: Vec<_> = clients.iter().map(String::as_str).collect();
                    rules.set(&format!("{server}_CLIENT_AUTH"), &format!("file:{CA_FILE}"));
                    rules.set(&format!("{server}_CLIENT_NAMES"), &names.join(","));
                }
                Guard::Public => rules.set(&format!("{server}_CLIENT_AUTH"), "disabled"),
                Guard::Own => {}
            }
        }
        for (number, (label, port)) in (1..).zip(&self.destinations) {
            let client = format!("_CLIENT_{number}");
            rules.set(&client, "protected");
            let destination = format!("TCP:{label}:{port}");
            rules.set(&format!("{client}_DESTINATION"), &destination);
            rules.set(&format!("{client}_IDENTITY"), &identity("client"));
            rules.set(&format!("{client}_SERVER_AUTH"), &format!("file:{CA_FILE}"));
        }
        let first = self.destinations.len() + 1;
        for (number, ((host, port), outside)) in (first..).zip(&self.outside) {
            let client = format!("_CLIENT_{number}");
            let destination = format!("TCP:{host}:{port}");
            rules.set(&format!("{client}_DESTINATION"), &destination);
            match outside {
                Outside::AsTheyAre => rules.set(&client, "unprotected"),
                Outside::Tls(pem) => {
                    let path = format!("/run/mesh/outside-{number}.pem");
                    rules.set(&client, "protected");
                    rules.set(&format!("{client}_SERVER_AUTH"), &format!("file:{path}"));
                    rules.files.push((path, pem.clone()));
                }
            }
        }
        let certificates = self.certificates();
        if !certificates.is_empty() {
            rules.add(CA);
            rules.files.push((CA_FILE.into(), format!("$$MSE::{CA}$$")));
        }
        for (name, endpoint) in certificates {
            rules.add(&name);
            for (ending, form) in [("key", ":privatekey"), ("pem", "")] {
                let path = format!("/run/mesh/{endpoint}.{ending}");
                rules.files.push((path, format!("$$MSE::{name}{form}$$")));
            }
        }
        rules
    }
}

impl Rules {
    fn set(&mut self, rule: &str, value: &str) {
        let name = format!("MSE_NETWORK_SHIELD{rule}");
        self.environment.push((name, value.to_owned()));
    }

    fn add(&mut self, secret: &str) {
        let name = secret.parse();
        self.secrets
            .push(name.expect("labels have the characters of secrets' names"));
    }
}

fn identity(endpoint: &str) -> String {
    format!("file:/run/mesh/{endpoint}.key,file:/run/mesh/{endpoint}.pem")
}

/// How each port of a service is guarded as long as nobody connects to it.
fn ports(compiled: &Compiled<'_>) -> BTreeMap<u16, Guard> {
    let guard = |speech: &Speech| match speech {
        Speech::Plain => Guard::Public,
        Speech::Tls => Guard::Own,
    };
    let ports = compiled.ports.iter();
    ports
        .map(|(port, speech)| (port.get(), guard(speech)))
        .collect()
}
