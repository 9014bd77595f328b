//! What runs the services: processes of this machine, or containers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use mse_crypto::Digest;
use mse_image::{Reference, Registry};
use mse_runtime::container::{ContainerSpec, ContainerTee, RunningContainer};
use mse_runtime::process::guard::Guard;
use mse_runtime::process::{EnclaveEvent, ProcessRuntime, RunningEnclave, ServiceSpec};
use mse_runtime::running::Running;
use mse_simtee::Platform;
use mse_workload::EnclaveDigest;

use super::containers::Containers;
use super::folder::RunFolder;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::mesh::store::{ImageStore, Origin, reference};
use crate::mesh::target::{RunCas, RunPlan, RunService};
use crate::private_file;

/// How long an enclave asks for its release.
const RELEASE: Duration = Duration::from_secs(60);

/// What runs the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineKind {
    /// Sandboxed processes of this machine
    Process,
    /// Containers of Docker or Podman
    Container,
}

/// What containers are connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkKind {
    /// A network of the mesh's own
    #[default]
    Mesh,
    /// The network of this machine, where all ports of all services are open
    Host,
}

/// How the services are run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) engine: EngineKind,
    /// Of containers.
    pub(crate) network: NetworkKind,
}

/// Runs services on this machine's simulated TEE.
#[derive(Clone)]
pub(crate) struct Engine(Arc<Parts>);

struct Parts {
    platform: Arc<Platform>,
    platform_folder: PathBuf,
    cas: RunCas,
    folder: RunFolder,
    /// Where services find each other.
    hosts: BTreeMap<String, IpAddr>,
    by: By,
}

enum By {
    /// The unpacked image of each service.
    Process(BTreeMap<String, PathBuf>),
    Container(Box<Containers>),
}

impl Engine {
    /// Makes everything ready: images are fetched, and unpacked or loaded.
    pub(crate) async fn prepare(
        scene: &Scene<'_>,
        manner: Manner,
        plan: &RunPlan,
        registry: &Registry,
        folder: &RunFolder,
    ) -> Result<Self, Failure> {
        scene.conf.create()?;
        let platform_folder = scene.conf.simulated_platform();
        let platform = Platform::open_or_create(&platform_folder, SystemTime::now())
            .map_err(|error| Failure::other(error.to_string()))?;
        let step = scene.ui.step("Preparing the images");
        let store = fetch_all(plan, registry).await?;
        let by = match manner.engine {
            EngineKind::Process => By::Process(unpack_all(&store, plan).await?),
            EngineKind::Container => {
                let prepared = Containers::prepare(&store, plan, folder, manner.network).await?;
                By::Container(Box::new(prepared))
            }
        };
        step.done("The images are ready");
        Ok(Self(Arc::new(Parts {
            platform: Arc::new(platform),
            platform_folder,
            cas: plan.cas.clone(),
            folder: folder.clone(),
            hosts: hosts(plan),
            by,
        })))
    }

    /// The same for what was applied since; what runs goes on.
    pub(crate) async fn renewed(
        &self,
        plan: &RunPlan,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        let parts = &self.0;
        let store = fetch_all(plan, registry).await?;
        let by = match &parts.by {
            By::Process(_) => By::Process(unpack_all(&store, plan).await?),
            By::Container(containers) => {
                By::Container(Box::new(containers.renewed(&store, plan).await?))
            }
        };
        Ok(Self(Arc::new(Parts {
            platform: Arc::clone(&parts.platform),
            platform_folder: parts.platform_folder.clone(),
            cas: plan.cas.clone(),
            folder: parts.folder.clone(),
            hosts: hosts(plan),
            by,
        })))
    }

    /// Whether `new` can start while `old`, the version of the service before, still runs.
    pub(super) fn can_be_two(&self, old: &RunService, new: &RunService) -> bool {
        match &self.0.by {
            By::Process(_) => false,
            By::Container(containers) => containers.can_be_two(old, new),
        }
    }

    /// Launches a service; `Err` says why it could not be.
    pub(super) async fn launch(&self, service: &RunService) -> Result<Launched, String> {
        let parts = &self.0;
        let volumes = parts.volumes(service)?;
        match &parts.by {
            By::Process(roots) => {
                let root = roots.get(&service.name).ok_or("its image is missing")?;
                let runtime = parts.process_runtime(service, root)?;
                let spec = ServiceSpec {
                    workload: service.workload.clone(),
                    tree: root.clone(),
                    cas: parts.cas.address.clone(),
                    arguments: Vec::new(),
                    environment: BTreeMap::new(),
                    one_time_password: None,
                    access_token: None,
                    volumes,
                    hosts: parts.hosts.clone(),
                    release_timeout: RELEASE,
                };
                let running = runtime
                    .launch_service(spec)
                    .await
                    .map_err(|error| error.to_string())?;
                Ok(Launched::Process(Box::new(running)))
            }
            By::Container(containers) => {
                let attached = containers.attached(service)?;
                let spec = ContainerSpec {
                    name: attached.name,
                    mesh: containers.mesh.clone(),
                    image: attached.image,
                    cas: containers.cas.address.clone(),
                    cas_key: parts.cas.key,
                    session: service.workload.session.clone(),
                    service: service.workload.service.clone(),
                    resources: service.workload.resources,
                    arguments: Vec::new(),
                    environment: BTreeMap::new(),
                    tee: ContainerTee::Simulated(parts.platform_folder.clone()),
                    volumes,
                    ports: attached.ports,
                    network: attached.network,
                    hosts: attached.hosts,
                };
                let running = containers.launch(spec).await?;
                Ok(Launched::Container(Box::new(running)))
            }
        }
    }

    /// Removes what was made for the services, when all of them have ended.
    pub(crate) async fn finish(&self) -> Result<(), Failure> {
        match &self.0.by {
            By::Process(_) => Ok(()),
            By::Container(containers) => containers.finish().await,
        }
    }
}

impl Parts {
    /// Its own for each service: a launcher ends whatever else was launched from its folder.
    fn process_runtime(
        &self,
        service: &RunService,
        root: &std::path::Path,
    ) -> Result<ProcessRuntime, String> {
        let data = self.folder.enclaves(&service.name);
        let enclave = root.join(mse_workload::image::ENCLAVE.trim_start_matches('/'));
        // It runs as this user, and was accepted when the mesh was applied.
        let found = std::fs::File::open(&enclave).and_then(Digest::of_reader);
        let found = EnclaveDigest(found.map_err(|error| error.to_string())?);
        if found != service.enclave {
            return Err(format!(
                "the image on this machine has the enclave program {found} and not {}: remove it, and pull or build it again",
                service.enclave
            ));
        }
        ProcessRuntime::open(&data, &enclave, Arc::clone(&self.platform))
            .map(|runtime| runtime.with_guard(Guard::OwnProgram))
            .map_err(|error| error.to_string())
    }

    /// The folders of the service's volumes; they hold ciphertext only.
    fn volumes(&self, service: &RunService) -> Result<BTreeMap<String, PathBuf>, String> {
        let mut volumes = BTreeMap::new();
        for name in &service.volumes {
            let folder = self.folder.volume(&service.name, name);
            let folder = std::path::absolute(folder).map_err(|error| error.to_string())?;
            private_file::create_dir(&folder).map_err(|error| error.message().to_owned())?;
            volumes.insert(name.clone(), folder);
        }
        Ok(volumes)
    }
}

/// A service that was launched, whatever runs it.
pub(super) enum Launched {
    Process(Box<RunningEnclave>),
    Container(Box<RunningContainer>),
}

impl Running for Launched {
    async fn next(&mut self) -> Option<EnclaveEvent> {
        match self {
            Self::Process(running) => Running::next(running.as_mut()).await,
            Self::Container(running) => Running::next(running.as_mut()).await,
        }
    }

    fn stop(&self, grace: Duration) {
        match self {
            Self::Process(running) => Running::stop(running.as_ref(), grace),
            Self::Container(running) => Running::stop(running.as_ref(), grace),
        }
    }
}

impl Launched {
    /// The process of its enclave, if it is one of this machine's.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(running) => Some(running.pid()),
            Self::Container(_) => None,
        }
    }
}

/// Where services find each other: all are on this machine.
fn hosts(plan: &RunPlan) -> BTreeMap<String, IpAddr> {
    let services = plan.services.iter();
    services
        .map(|service| (service.host.clone(), IpAddr::from(Ipv4Addr::LOCALHOST)))
        .collect()
}

async fn fetch_all(plan: &RunPlan, registry: &Registry) -> Result<ImageStore, Failure> {
    let store = ImageStore::find()?;
    for service in &plan.services {
        fetch(&store, registry, &reference(&service.image)?).await?;
    }
    Ok(store)
}

/// Sees to it that the image is on this machine.
async fn fetch(
    store: &ImageStore,
    registry: &Registry,
    reference: &Reference,
) -> Result<(), Failure> {
    if store.get(reference)?.is_some() {
        return Ok(());
    }
    let making = store.new_layout()?;
    let layout = making.path().join("layout");
    let pulled = registry.pull(reference, &layout).await;
    let image = pulled.map_err(|error| Failure::of_registry(&error))?;
    store.keep(reference, image.digest, &layout, Origin::Pulled)
}

async fn unpack_all(
    store: &ImageStore,
    plan: &RunPlan,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut roots = BTreeMap::new();
    for service in &plan.services {
        let root = store.unpacked_image(&reference(&service.image)?).await?;
        roots.insert(service.name.clone(), root);
    }
    Ok(roots)
}
