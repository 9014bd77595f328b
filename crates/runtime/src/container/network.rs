//! A network for each mesh, in which its services find each other by name and nobody else is.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::errors::Error as ApiError;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder};

use super::{ContainerError, ContainerRuntime, MeshId};

/// The network of a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshNetwork {
    /// As the engine knows it.
    pub name: String,
    /// The address of this machine in it.
    pub gateway: IpAddr,
}

impl ContainerRuntime {
    /// Makes the network of a mesh. Its leftovers are [removed](Self::remove_leftovers) before.
    pub async fn create_network(&self, mesh: &MeshId) -> Result<MeshNetwork, ContainerError> {
        let name = mesh.network_name();
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            labels: Some(mesh.labels()),
            ..NetworkCreateRequest::default()
        };
        self.api
            .create_network(request)
            .await
            .map_err(ContainerError::during("make a network for the mesh"))?;
        let found = self
            .api
            .inspect_network(&name, None::<InspectNetworkOptions>)
            .await
            .map_err(ContainerError::during("look at the mesh's network"))?;
        let configurations = found.ipam.and_then(|ipam| ipam.config);
        let gateway = configurations
            .into_iter()
            .flatten()
            .filter_map(|one| one.gateway)
            .find_map(|address| address.parse().ok());
        let Some(gateway) = gateway else {
            self.remove_network(&name).await?;
            return Err(ContainerError::NoGateway(name));
        };
        Ok(MeshNetwork { name, gateway })
    }

    /// Removes a network, to which no container is connected any more. One that is gone already is
    /// no error.
    pub async fn remove_network(&self, name: &str) -> Result<(), ContainerError> {
        match self.api.remove_network(name).await {
            Err(ApiError::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(()),
            removed => removed.map_err(ContainerError::during("remove a network")),
        }
    }

    /// Whether the engine runs without root: then the networks of its containers are not this
    /// machine's, which has no address in them.
    pub async fn is_rootless(&self) -> Result<bool, ContainerError> {
        let about = self.api.info().await;
        let about = about.map_err(ContainerError::during("say what it is"))?;
        let options = about.security_options.unwrap_or_default();
        Ok(options
            .iter()
            .any(|option| option.contains("name=rootless")))
    }

    pub(super) async fn remove_networks(&self, mesh: &MeshId) -> Result<(), ContainerError> {
        let filters = HashMap::from([("label".to_owned(), vec![mesh.folder_label()])]);
        let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
        let found = self.api.list_networks(Some(options)).await;
        let found = found.map_err(ContainerError::during("list the networks of a mesh"))?;
        for name in found.into_iter().filter_map(|one| one.name) {
            self.remove_network(&name).await?;
        }
        Ok(())
    }
}
