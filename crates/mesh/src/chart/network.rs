//! Who may connect to whom.
//!
//! A port that some service says it connects to is open to those that say so; any other that a
//! service listens on is open to everybody. A service that says whom it connects to reaches nothing
//! else, but names and the CAS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::ports::Ports;
use crate::model::{
    Connection, Destination, HostName, MeshService, Meshfile, OutsideHost, ServiceName,
};

/// The connections of a mesh.
pub(super) struct Connections<'a> {
    mesh: &'a Meshfile,
    /// The ports that each service listens on.
    listened: BTreeMap<&'a ServiceName, BTreeSet<u16>>,
}

impl<'a> Connections<'a> {
    pub(super) fn of(mesh: &'a Meshfile, ports: &[Ports]) -> Self {
        let services = mesh.services.iter().zip(ports);
        Self {
            mesh,
            listened: services
                .map(|(service, ports)| (&service.name, ports.listened()))
                .collect(),
        }
    }

    /// Whether any service says whom it connects to: then the network shield guards all of them.
    pub(super) fn are_shielded(&self) -> bool {
        self.mesh
            .services
            .iter()
            .any(|one| one.connections.is_some())
    }

    /// The values of a service's network policy.
    pub(super) fn values(&self, service: &MeshService) -> Value {
        json!({
            "enabled": true,
            "ingress": self.ingress(&service.name),
            "egress": self.egress(service),
        })
    }

    /// What a service's network policy cannot keep.
    pub(super) fn warn(service: &MeshService, warnings: &mut Vec<String>) {
        for connection in service.connections.iter().flatten() {
            let Destination::Host(OutsideHost {
                host: HostName::Dns(host),
                ..
            }) = &connection.to
            else {
                continue;
            };
            let ports: Vec<_> = connection.ports.iter().map(ToString::to_string).collect();
            warnings.push(format!(
                "{}: Kubernetes' network policies know no names: its pods may reach port {} of every address, and the network shield alone keeps to `{host}`. If it has an address that stays, name that as `host`",
                service.name,
                ports.join(" or "),
            ));
        }
    }

    fn ingress(&self, name: &ServiceName) -> Value {
        let listened = self.listened.get(name).into_iter().flatten();
        let rules = listened.map(|port| {
            let from: Vec<_> = self
                .mesh
                .services
                .iter()
                .filter(|other| self.connects(other, name, *port))
                .map(|other| other.name.dns_label())
                .collect();
            json!({"port": port, "from": from})
        });
        rules.collect()
    }

    fn connects(&self, from: &MeshService, to: &ServiceName, port: u16) -> bool {
        from.connections.iter().flatten().any(|connection| {
            connection.to == Destination::Service(to.clone())
                && self.ports(connection, to).contains(&port)
        })
    }

    fn egress(&self, service: &MeshService) -> Value {
        let Some(connections) = &service.connections else {
            return json!({"unrestricted": true, "services": [], "networks": []});
        };
        let (mut services, mut networks) = (BTreeSet::new(), Vec::new());
        for connection in connections {
            match &connection.to {
                Destination::Service(to) => {
                    let ports = self.ports(connection, to);
                    services.extend(ports.into_iter().map(|port| (to.dns_label(), port)));
                }
                Destination::Network(network) => networks.push(json!({
                    "cidr": network.to_string(),
                    "ports": connection.ports,
                })),
                // Network policies know no names: the shield keeps what they cannot.
                Destination::Host(outside) => networks.extend(
                    cidrs(&outside.host)
                        .map(|cidr| json!({"cidr": cidr, "ports": connection.ports})),
                ),
            }
        }
        let services: Vec<_> = services
            .into_iter()
            .map(|(name, port)| json!({"name": name, "port": port}))
            .collect();
        json!({"unrestricted": false, "services": services, "networks": networks})
    }

    /// The ports that a connection names, or all.
    fn ports(&self, connection: &Connection, to: &ServiceName) -> BTreeSet<u16> {
        if connection.ports.is_empty() {
            return self.listened.get(to).cloned().unwrap_or_default();
        }
        connection.ports.iter().map(|port| port.get()).collect()
    }
}

/// The addresses that a host may have.
fn cidrs(host: &HostName) -> impl Iterator<Item = String> {
    let cidrs = match host {
        HostName::Dns(_) => vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()],
        HostName::Address(IpAddr::V4(address)) => vec![format!("{address}/32")],
        HostName::Address(IpAddr::V6(address)) => vec![format!("{address}/128")],
    };
    cidrs.into_iter()
}
