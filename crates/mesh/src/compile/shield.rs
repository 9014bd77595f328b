//! The network shield that a mesh asks for by `connections`.
//!
//! | port | who gets in |
//! | --- | --- |
//! | that another service connects to | services of the mesh that connect to any, by their certificates |
//! | that no service connects to, called `https` or `tls…` | everybody: the program speaks TLS itself |
//! | any other that no service connects to | everybody, by TLS with the certificate of the mesh |

use std::collections::{BTreeMap, BTreeSet};

use mse_session::{SecretName, SessionName};
use serde_json::{Value, json};

use super::CompileError;
use super::secrets::exports;
use super::service::Compiled;
use crate::model::{Connection, Destination, MeshService, Meshfile, ServiceName};

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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// Mutual TLS.
    Mesh,
    /// TLS, for everybody.
    Public,
    /// What the program makes of it.
    Own,
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
    pub(super) fn of(mesh: &Meshfile, services: &[Compiled<'_>]) -> Result<Self, CompileError> {
        let mut shield = Self::default();
        if mesh.services.iter().all(|one| one.connections.is_none()) {
            return Ok(shield);
        }
        for (service, compiled) in mesh.services.iter().zip(services) {
            shield.services.insert(
                service.name.clone(),
                Shielded {
                    session: compiled.session_name().clone(),
                    label: service.name.dns_label(),
                    ports: ports(service, compiled),
                    destinations: BTreeSet::new(),
                },
            );
        }
        for service in &mesh.services {
            for connection in service.connections.iter().flatten() {
                let Destination::Service(to) = &connection.to else {
                    return Err(CompileError::NotServed {
                        field: "services[].connections[].network",
                        why: "the shield carries connections to services of the mesh; others would leave in the clear",
                    });
                };
                for port in shield.ports_of(connection, to) {
                    shield.connect(&service.name, to, port)?;
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
        *server.ports.get_mut(&port).ok_or_else(unknown)? = Guard::Mesh;
        let destination = (server.label.clone(), port);
        if let Some(client) = self.services.get_mut(from) {
            client.destinations.insert(destination);
        }
        Ok(())
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
                let mut secret = json!({
                    "name": name,
                    "kind": "x509",
                    "issuer": CA,
                    "common_name": shielded.label,
                    "endpoint": endpoint,
                    "valid_for": VALID_FOR,
                    "export": exports([&shielded.session]),
                });
                if endpoint == "server" {
                    secret["dns"] = json!([shielded.label]);
                }
                secrets.push(secret);
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
        if self.ports.values().any(|guard| *guard != Guard::Own) {
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
            let mode = match guard {
                Guard::Own => "unprotected",
                Guard::Mesh | Guard::Public => "protected",
            };
            rules.set(&server, mode);
            rules.set(&format!("{server}_PORT"), &format!("TCP:{port}"));
            if *guard != Guard::Own {
                rules.set(&format!("{server}_IDENTITY"), &identity("server"));
                let clients = match guard {
                    Guard::Mesh => format!("file:{CA_FILE}"),
                    _ => "disabled".to_owned(),
                };
                rules.set(&format!("{server}_CLIENT_AUTH"), &clients);
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

/// What a service listens on, by its manifest and the Meshfile.
fn ports(service: &MeshService, compiled: &Compiled<'_>) -> BTreeMap<u16, Guard> {
    let listens = compiled.image.template.listen.iter();
    let listens = listens.map(|one| (one.port.get(), one.name.as_deref()));
    let opened = service.ports.iter().map(|one| {
        let port = one.target.unwrap_or(one.port).get();
        (port, one.name.as_deref())
    });
    let mut ports = BTreeMap::new();
    for (port, name) in listens.chain(opened) {
        let speaks_tls = name.is_some_and(|name| name == "https" || name.starts_with("tls"));
        if speaks_tls {
            ports.insert(port, Guard::Own);
        } else {
            ports.entry(port).or_insert(Guard::Public);
        }
    }
    ports
}
