//! Services in containers: their images, their network, and the way to the CAS.
//!
//! ```text
//! this machine ── 127.0.0.1:PORT ──▶ ports that no service connects to ─┐
//!                                                                      network of the mesh
//! CAS on loopback ◀── gate ◀── gateway of the network ◀─────────────────┘
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use mse_runtime::container::{
    ContainerError, ContainerRuntime, ContainerSpec, EngineAddress, Gate, ImageId, MeshId,
    MeshNetwork, Network, PublishedPort, RunningContainer,
};
use mse_runtime::running::Runtime;

use super::engine::NetworkKind;
use super::folder::RunFolder;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::store::{ImageStore, reference};
use crate::mesh::target::{RunPlan, RunService};

/// What the containers of a mesh have in common.
pub(super) struct Containers {
    runtime: ContainerRuntime,
    pub(super) mesh: MeshId,
    /// The loaded image of each service.
    images: BTreeMap<String, ImageId>,
    /// `None`: that of this machine.
    network: Option<MeshNetwork>,
    /// What each service is called.
    names: Vec<String>,
    /// `host:port` of the CAS, as containers reach it.
    pub(super) cas: String,
    _gate: Option<Gate>,
}

/// A service among the others.
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) image: ImageId,
    pub(super) ports: Vec<PublishedPort>,
    pub(super) network: Network,
    pub(super) hosts: BTreeMap<String, IpAddr>,
}

impl Containers {
    /// Removes what an earlier run left, loads the images, and makes the network.
    pub(super) async fn prepare(
        store: &ImageStore,
        plan: &RunPlan,
        folder: &RunFolder,
        network: NetworkKind,
    ) -> Result<Self, Failure> {
        let unreachable = |error: String| {
            Failure::new(Exit::Platform, error)
                .with_hint("start Podman's service (`podman system service`) or Docker, or name its socket with `DOCKER_HOST`; `--runtime process` needs neither")
        };
        if network == NetworkKind::Mesh {
            one_service_per_port(plan)?;
        }
        let address = EngineAddress::find().map_err(|error| unreachable(error.to_string()))?;
        let runtime = ContainerRuntime::connect(&address)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mesh = MeshId::new(&plan.namespace, folder.path());
        runtime
            .remove_leftovers(&mesh)
            .await
            .map_err(|error| failed(&error))?;
        let mut images = BTreeMap::new();
        for service in &plan.services {
            let place = store.layout_of(&reference(&service.image)?)?;
            let image = runtime.load(&place).await;
            let image = image.map_err(|error| Failure::other(error.to_string()))?;
            images.insert(service.name.clone(), image);
        }
        let way = match network {
            NetworkKind::Host => Way {
                network: None,
                cas: plan.cas.address.clone(),
                gate: None,
            },
            NetworkKind::Mesh => Way::make(&runtime, &mesh, &plan.cas.address).await?,
        };
        Ok(Self {
            runtime,
            mesh,
            images,
            network: way.network,
            names: plan.services.iter().map(|one| one.host.clone()).collect(),
            cas: way.cas,
            _gate: way.gate,
        })
    }

    /// How a service is run among the others.
    pub(super) fn attached(&self, service: &RunService) -> Result<Attached, String> {
        let image = self.images.get(&service.name);
        let image = image.ok_or("its image is missing")?.clone();
        let name = self.mesh.container_name(&service.host);
        Ok(match &self.network {
            Some(network) => Attached {
                name,
                image,
                ports: service.open.iter().map(|one| one.published()).collect(),
                network: Network::Named {
                    name: network.name.clone(),
                    host: service.host.clone(),
                },
                hosts: BTreeMap::new(),
            },
            None => Attached {
                name,
                image,
                ports: Vec::new(),
                network: Network::Host,
                hosts: self
                    .names
                    .iter()
                    .map(|name| (name.clone(), IpAddr::from(Ipv4Addr::LOCALHOST)))
                    .collect(),
            },
        })
    }

    pub(super) async fn launch(&self, spec: ContainerSpec) -> Result<RunningContainer, String> {
        let launched = self.runtime.launch(spec).await;
        launched.map_err(|error| match &self.network {
            // Engines make a network's interfaces when its first container starts.
            Some(_) => format!("{error}; {NO_NETWORK}"),
            None => error.to_string(),
        })
    }

    /// When no container is left.
    pub(super) async fn finish(&self) -> Result<(), Failure> {
        match &self.network {
            Some(network) => {
                let removed = self.runtime.remove_network(&network.name).await;
                removed.map_err(|error| failed(&error))
            }
            None => Ok(()),
        }
    }
}

/// What containers are connected to, and how they get to the CAS.
struct Way {
    network: Option<MeshNetwork>,
    cas: String,
    gate: Option<Gate>,
}

impl Way {
    /// Makes the network, and a gate in it if the CAS is on loopback.
    async fn make(runtime: &ContainerRuntime, mesh: &MeshId, cas: &str) -> Result<Self, Failure> {
        let needs_gate = is_loopback(cas);
        if needs_gate
            && runtime
                .is_rootless()
                .await
                .map_err(|error| failed(&error))?
        {
            return Err(Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "the CAS is at `{cas}`, and containers of an engine without root do not reach this machine's loopback"
                ),
            )
            .with_hint("run the CAS at an address of this machine (`mse cas run --listen`) and apply the mesh with that; or use this machine's network, in which all ports of all services are open: `--network host`"));
        }
        let network = runtime.create_network(mesh).await;
        let network = network.map_err(|error| unconnected(&error))?;
        if !needs_gate {
            return Ok(Self {
                network: Some(network),
                cas: cas.to_owned(),
                gate: None,
            });
        }
        match Gate::open(network.gateway, cas.to_owned()) {
            Ok(gate) => Ok(Self {
                network: Some(network),
                cas: gate.address().to_string(),
                gate: Some(gate),
            }),
            Err(error) => {
                let removed = runtime.remove_network(&network.name).await;
                removed.map_err(|error| failed(&error))?;
                Err(Failure::other(format!(
                    "the way from the containers to the CAS cannot be opened at {}: {error}",
                    network.gateway
                )))
            }
        }
    }
}

fn failed(error: &ContainerError) -> Failure {
    Failure::other(error.to_string())
}

fn unconnected(error: &ContainerError) -> Failure {
    Failure::new(Exit::Platform, error.to_string()).with_hint(NO_NETWORK)
}

const NO_NETWORK: &str = "if no networks of containers can be made here, `--network host` uses this machine's, in which all ports of all services are open";

/// Published ports are all on one address.
fn one_service_per_port(plan: &RunPlan) -> Result<(), Failure> {
    let mut seen = BTreeMap::new();
    for service in &plan.services {
        for open in &service.open {
            let Some(other) = seen.insert(open.port, &service.name) else {
                continue;
            };
            return Err(Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "`{other}` and `{}` are both reached at port {} of this machine",
                    service.name, open.port
                ),
            )
            .with_hint("give one of them another port in the Meshfile (`ports: [{port: …, target: …}]`), or say who connects to whom by `connections`: ports of the mesh alone are not opened"));
        }
    }
    Ok(())
}

/// Whether `host:port` is this machine, for itself alone.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_needs_a_gate() {
        for here in [
            "localhost:18765",
            "127.0.0.1:1",
            "127.1.2.3:1",
            "[::1]:18765",
        ] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in ["cas.example:18765", "192.0.2.1:1", "localhost.example:1"] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
