//! Services in containers: their images, their network, and the way to the CAS.
//!
//! ```text
//! this machine ── 127.0.0.1:PORT ──▶ ports that no service connects to ─┐
//!                                                                      network of the mesh
//! CAS on loopback ◀── gate ◀── gateway of the network ◀─────────────────┘
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

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
use crate::mesh::target::{OpenPort, RunPlan, RunService};

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
    /// The CAS, as containers reach it.
    pub(super) cas: Way,
    /// How many updates there were before this.
    turn: u32,
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
        let images = load(&runtime, store, plan).await?;
        let (network, cas) = match network {
            NetworkKind::Host => (None, Way::straight(&plan.cas.address)),
            NetworkKind::Mesh => {
                let (network, cas) = connect(&runtime, &mesh, &plan.cas.address).await?;
                (Some(network), cas)
            }
        };
        Ok(Self {
            runtime,
            mesh,
            images,
            network,
            names: names(plan),
            cas,
            turn: 0,
        })
    }

    /// For what was applied since, in the same network.
    pub(super) async fn renewed(
        &self,
        store: &ImageStore,
        plan: &RunPlan,
    ) -> Result<Self, Failure> {
        if self.network.is_some() {
            one_service_per_port(plan)?;
        }
        let cas = match &self.network {
            _ if self.cas.to == plan.cas.address => self.cas.clone(),
            None => Way::straight(&plan.cas.address),
            Some(network) => {
                refuse_loopback_without_root(&self.runtime, &plan.cas.address).await?;
                Way::from(network, &plan.cas.address)?
            }
        };
        Ok(Self {
            runtime: self.runtime.clone(),
            mesh: self.mesh.clone(),
            images: load(&self.runtime, store, plan).await?,
            network: self.network.clone(),
            names: names(plan),
            cas,
            turn: self.turn + 1,
        })
    }

    /// Whether a version of a service can start while the one before runs: others find both by the
    /// name in the network, and the one that is not well yet refuses them. A port of this machine and
    /// a volume are one container's at a time.
    pub(super) fn can_be_two(&self, old: &RunService, new: &RunService) -> bool {
        let same_port = |one: &OpenPort| old.open.iter().any(|other| other.port == one.port);
        self.network.is_some()
            && new.checked
            && old.volumes.is_empty()
            && new.volumes.is_empty()
            && !new.open.iter().any(same_port)
    }

    /// How a service is run among the others.
    pub(super) fn attached(&self, service: &RunService) -> Result<Attached, String> {
        let image = self.images.get(&service.name);
        let image = image.ok_or("its image is missing")?.clone();
        let name = self.mesh.container_name(&service.host, self.turn);
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

/// How containers get to the CAS.
#[derive(Clone)]
pub(super) struct Way {
    /// `host:port`, as this machine reaches it.
    to: String,
    /// `host:port`, as containers do.
    pub(super) address: String,
    /// It is open as long as somebody has it.
    _gate: Option<Arc<Gate>>,
}

impl Way {
    fn straight(cas: &str) -> Self {
        Self {
            to: cas.to_owned(),
            address: cas.to_owned(),
            _gate: None,
        }
    }

    /// From the containers of a network: through a gate, if the CAS is on loopback.
    fn from(network: &MeshNetwork, cas: &str) -> Result<Self, Failure> {
        if !is_loopback(cas) {
            return Ok(Self::straight(cas));
        }
        let gate = Gate::open(network.gateway, cas.to_owned()).map_err(|error| {
            Failure::other(format!(
                "the way from the containers to the CAS cannot be opened at {}: {error}",
                network.gateway
            ))
        })?;
        Ok(Self {
            to: cas.to_owned(),
            address: gate.address().to_string(),
            _gate: Some(Arc::new(gate)),
        })
    }
}

/// Makes the network, and the way from it to the CAS.
async fn connect(
    runtime: &ContainerRuntime,
    mesh: &MeshId,
    cas: &str,
) -> Result<(MeshNetwork, Way), Failure> {
    refuse_loopback_without_root(runtime, cas).await?;
    let network = runtime.create_network(mesh).await;
    let network = network.map_err(|error| unconnected(&error))?;
    match Way::from(&network, cas) {
        Ok(way) => Ok((network, way)),
        Err(failure) => {
            let removed = runtime.remove_network(&network.name).await;
            removed.map_err(|error| failed(&error))?;
            Err(failure)
        }
    }
}

async fn refuse_loopback_without_root(
    runtime: &ContainerRuntime,
    cas: &str,
) -> Result<(), Failure> {
    let is_rootless = async || runtime.is_rootless().await.map_err(|error| failed(&error));
    if !is_loopback(cas) || !is_rootless().await? {
        return Ok(());
    }
    Err(Failure::new(
        Exit::InvalidConfiguration,
        format!(
            "the CAS is at `{cas}`, and containers of an engine without root do not reach this machine's loopback"
        ),
    )
    .with_hint("run the CAS at an address of this machine (`mse cas run --listen`) and apply the mesh with that; or use this machine's network, in which all ports of all services are open: `--network host`"))
}

async fn load(
    runtime: &ContainerRuntime,
    store: &ImageStore,
    plan: &RunPlan,
) -> Result<BTreeMap<String, ImageId>, Failure> {
    let mut images = BTreeMap::new();
    for service in &plan.services {
        let place = store.layout_of(&reference(&service.image)?)?;
        let image = runtime.load(&place).await;
        let image = image.map_err(|error| Failure::other(error.to_string()))?;
        images.insert(service.name.clone(), image);
    }
    Ok(images)
}

fn names(plan: &RunPlan) -> Vec<String> {
    plan.services.iter().map(|one| one.host.clone()).collect()
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
