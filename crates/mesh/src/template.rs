//! What an image says about its service to whoever makes policies of it: `/mse/service.json`.

use crate::model::{
    Environment, Health, ImageReference, InjectionFile, Port, Secrets, ServiceManifest,
    ServiceName, Volume,
};
use crate::text::MeshText;

/// The part of a service manifest that the mesh builder needs. It is in the image, where everybody
/// who has the image reads it: nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTemplate {
    /// The name of the service, and of its image.
    pub name: ServiceName,
    /// The command line.
    pub command: MeshText,
    /// The working directory; None: the image's.
    pub pwd: Option<String>,
    /// The environment.
    pub environment: Environment,
    /// The secrets that it gives to and takes from its mesh.
    pub secrets: Secrets,
    /// Files that exist inside the enclave only.
    pub injection_files: Vec<InjectionFile>,
    /// Encrypted volumes.
    pub volumes: Vec<Volume>,
    /// The ports that it serves.
    pub listen: Vec<Port>,
    /// How it shows that it is well.
    pub health: Option<Health>,
    /// The version before, which must keep running until the update is done.
    pub stable: Option<ImageReference>,
}

impl ServiceManifest {
    /// What of the manifest goes into the image.
    pub fn template(&self) -> ServiceTemplate {
        ServiceTemplate {
            name: self.build.name.clone(),
            command: self.build.command.clone(),
            pwd: self.build.pwd.clone(),
            environment: self.environment.clone(),
            secrets: self.secrets.clone(),
            injection_files: self.injection_files.clone(),
            volumes: self.build.volumes.clone(),
            listen: self.listen.clone(),
            health: self.build.health.clone(),
            stable: self.build.stable.clone(),
        }
    }
}
