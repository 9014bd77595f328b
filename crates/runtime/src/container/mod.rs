//! Services in containers of Docker or Podman, by their API.
//!
//! The container's entry point is `mse-launch`, which launches the enclave in it; what it is told
//! is its environment. Containers and networks have labels ([`MeshId`]): what an earlier run left is
//! found and removed by them ([`ContainerRuntime::remove_leftovers`]).
//!
//! | module | what |
//! | --- | --- |
//! | [`engine`] | the socket of the engine, and what it is |
//! | [`images`] | images, loaded or pulled, by their digest |
//! | [`identity`] | whose containers they are |
//! | [`network`], [`gate`] | a network for each mesh, and the way to a CAS on loopback |
//! | [`spec`] | which service, and in what kind of container |
//! | [`running`] | a container from its start to its end |

mod engine;
mod gate;
mod identity;
mod images;
mod network;
mod running;
mod spec;

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};

pub use self::engine::{EngineAddress, EngineError, EngineKind};
pub use self::gate::Gate;
pub use self::identity::{FOLDER, MESH, MeshId};
pub use self::images::{ImageError, ImageId};
pub use self::network::MeshNetwork;
pub use self::running::RunningContainer;
pub use self::spec::{ContainerSpec, ContainerTee, Network, PublishedPort};
use crate::running::Runtime;

/// Launches services in containers. Cloning it is cheap.
#[derive(Clone)]
pub struct ContainerRuntime {
    api: Docker,
    kind: EngineKind,
}

impl ContainerRuntime {
    /// Which engine answers.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Removes every container that was started from the mesh's folder, running or not, and its
    /// networks; gives how many containers there were.
    pub async fn remove_leftovers(&self, mesh: &MeshId) -> Result<usize, ContainerError> {
        let filters = HashMap::from([("label".to_owned(), vec![mesh.folder_label()])]);
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&filters)
            .build();
        let found = self
            .api
            .list_containers(Some(options))
            .await
            .map_err(ContainerError::during("list the containers of a mesh"))?;
        let ids: Vec<String> = found.into_iter().filter_map(|found| found.id).collect();
        for id in &ids {
            self.remove(id).await?;
        }
        self.remove_networks(mesh).await?;
        Ok(ids.len())
    }

    /// Ends and removes a container. One that is gone already is no error.
    async fn remove(&self, id: &str) -> Result<(), ContainerError> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        match self.api.remove_container(id, Some(options)).await {
            Err(ApiError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(()),
            removed => removed.map_err(ContainerError::during("remove a container")),
        }
    }

    async fn create(&self, spec: ContainerSpec) -> Result<String, ContainerError> {
        let options = CreateContainerOptionsBuilder::new()
            .name(&spec.name)
            .build();
        let body = spec.into_body(self.kind);
        let created = self
            .api
            .create_container(Some(options), body)
            .await
            .map_err(ContainerError::during("create the container"))?;
        Ok(created.id)
    }
}

impl Runtime for ContainerRuntime {
    type Spec = ContainerSpec;
    type Running = RunningContainer;
    type Error = ContainerError;

    async fn launch(&self, spec: ContainerSpec) -> Result<RunningContainer, ContainerError> {
        let id = self.create(spec).await?;
        match RunningContainer::start(self.clone(), id.clone()).await {
            Ok(running) => Ok(running),
            Err(error) => {
                if let Err(error) = self.remove(&id).await {
                    tracing::warn!(%error, "a container that did not start stays behind");
                }
                Err(error)
            }
        }
    }
}

/// Why the engine did not do something.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// It said no.
    #[error("the container engine could not {action}: {source}")]
    Refused {
        /// Completes "could not …".
        action: &'static str,
        /// What it said.
        source: ApiError,
    },
    /// A network in which this machine has no address.
    #[error("the container engine made the network `{0}` and does not say its gateway")]
    NoGateway(String),
}

impl ContainerError {
    fn during(action: &'static str) -> impl FnOnce(ApiError) -> Self {
        move |source| Self::Refused { action, source }
    }
}
