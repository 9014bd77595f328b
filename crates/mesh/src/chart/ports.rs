//! Under which ports a service is reached.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Installation;
use crate::compile::PlannedService;
use crate::model::MeshService;

/// Mesh variables by which the charts of the original are told the only port.
const PORT_VARIABLES: [&str; 2] = ["APP_SERVICE_PORT", "PYTHON_SERVICE_PORT"];

/// The ports of a service: how the Meshfile opens them, and each that it listens on, which is the one
/// that the network shield of others connects to.
pub(super) struct Ports {
    /// Name and the port listened on, by the port that others see.
    seen: BTreeMap<u16, (String, u16)>,
}

impl Ports {
    pub(super) fn of(
        installation: &Installation<'_>,
        service: &MeshService,
        planned: &PlannedService,
    ) -> Self {
        let listens = installation.images.get(&service.name);
        let listens = listens.into_iter().flat_map(|image| &image.template.listen);
        let names: BTreeMap<_, _> = listens
            .filter_map(|one| Some((one.port.get(), one.name.clone()?)))
            .collect();
        let opened = service.ports.iter().map(|one| {
            let target = one.target.unwrap_or(one.port).get();
            let name = one.name.clone().or_else(|| names.get(&target).cloned());
            (one.port.get(), target, name)
        });
        let listened = planned.ports.iter().map(|port| {
            let port = port.get();
            (port, port, names.get(&port).cloned())
        });
        let mut all: Vec<_> = opened.chain(listened).collect();
        if all.is_empty() {
            let given = PORT_VARIABLES
                .iter()
                .find_map(|name| planned.values.get(name));
            let port = given
                .and_then(|text| text.parse().ok())
                .filter(|port| *port > 0);
            all.extend(port.map(|port| (port, port, None)));
        }
        let (mut seen, mut taken) = (BTreeMap::new(), BTreeSet::new());
        for (port, target, name) in all {
            if seen.contains_key(&port) {
                continue;
            }
            let name = name
                .filter(|name| is_port_name(name) && !taken.contains(name))
                .unwrap_or_else(|| format!("tcp-{port}"));
            taken.insert(name.clone());
            seen.insert(port, (name, target));
        }
        Self { seen }
    }

    /// Those that it listens on.
    pub(super) fn listened(&self) -> BTreeSet<u16> {
        self.seen.values().map(|(_, target)| *target).collect()
    }

    pub(super) fn values(&self) -> Value {
        let ports = self.seen.iter().map(
            |(port, (name, target))| json!({"name": name, "port": port, "targetPort": target}),
        );
        ports.collect()
    }
}

/// Kubernetes wants a letter in it, and none but letters and digits at its ends.
fn is_port_name(name: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    (1..=15).contains(&name.len())
        && is_end(name.chars().next())
        && is_end(name.chars().next_back())
        && !name.contains("--")
        && name.contains(|c: char| c.is_ascii_lowercase())
}
