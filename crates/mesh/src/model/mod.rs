//! What a service manifest and a Meshfile say, once they are read: values that cannot be ill-formed.
//!
//! Dialects and older spellings are gone.

mod cas;
mod health;
mod image;
mod machine;
mod manifest;
mod meshfile;
mod names;
mod outside;
mod policy;
mod quantity;
mod secret;
mod tolerance;
mod version;
mod volume;

pub use cas::{Cas, CasHost, InvalidCasHost, Role, UploadMode};
pub use health::{Health, HttpPath, InvalidHttpPath, Port, Probe};
pub use image::{ImageReference, InvalidImageReference};
pub use machine::Machine;
pub use manifest::{
    Build, Environment, GlobalVariable, InjectionFile, LocalVariable, Secrets, ServiceManifest,
    Signature, Toolchain,
};
pub(crate) use meshfile::scope;
pub use meshfile::{
    Connection, Destination, EnvGroup, ExtraPolicy, FileContent, ImageSource, InvalidNetwork,
    MeshFile, MeshService, MeshVolume, Meshfile, Network, Repository, Resources, Scope,
    ServicePort,
};
pub use names::{InvalidServiceName, ServiceName};
pub use outside::{HostName, HostTls, InvalidHostName, OutsideHost};
pub use policy::{Advisories, Advisory, Policy, Tolerance};
pub use quantity::{Bytes, InvalidBytes, InvalidMillicores, Millicores, Seconds};
pub use secret::{SecretDefinition, SecretParameters};
pub use tolerance::{CasTolerance, CasTrust, Effect, Pins, SimulatedTrust, TrustTolerance};
pub use version::{ApiVersion, InvalidApiVersion};
pub use volume::{Volume, VolumeExport, VolumeSource};
