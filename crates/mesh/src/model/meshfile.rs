//! Meshfiles.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use mse_session::VolumeName;
use mse_yaml::shown;
use serde_json::{Map, Value};

use super::{
    ApiVersion, Bytes, Cas, ImageReference, LocalVariable, Millicores, OutsideHost, Policy, Probe,
    Role, ServiceName, UploadMode,
};
use crate::curated::Curated;
use crate::text::MeshText;

/// A Meshfile (`kind: mesh`): an application of several services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meshfile {
    /// The version of the language.
    pub api_version: ApiVersion,
    /// The CASes; each [`Role`] is served by one.
    pub cas: Vec<Cas>,
    /// The policies.
    pub policy: Policy,
    /// Values for the services and for the chart, in the order of the file.
    pub env: Vec<EnvGroup>,
    /// The services; no two have the same name.
    pub services: Vec<MeshService>,
    /// Where images are copied to.
    pub repo: Option<Repository>,
    /// Further policies.
    pub extra_policies: Vec<ExtraPolicy>,
    /// Values for the subcharts, by their names.
    pub helm_extra_values: Map<String, Value>,
}

impl Meshfile {
    /// The CAS that has `role`.
    pub fn cas_for(&self, role: Role) -> Option<&Cas> {
        self.cas.iter().find(|cas| cas.serves(role))
    }

    /// A service by its name.
    pub fn service(&self, name: &ServiceName) -> Option<&MeshService> {
        self.services.iter().find(|service| service.name == *name)
    }
}

/// Values for one, or all, services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvGroup {
    /// For whom.
    pub scope: Scope,
    /// The values. Of the mesh variables, only those of the mesh itself may stand in them:
    /// `{{cas.cas.cas_url}}`, `{{namespace}}`.
    pub variables: Vec<LocalVariable>,
}

/// For whom values are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// For every service.
    Global,
    /// For the chart, before all services' own.
    Helm,
    /// For this service.
    Service(ServiceName),
}

impl Scope {
    /// As written in a Meshfile.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Global => "global",
            Self::Helm => "helm",
            Self::Service(name) => name.as_str(),
        }
    }
}

/// A service in its mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshService {
    /// Its name.
    pub name: ServiceName,
    /// Its image, which says all that is not said here.
    pub image: ImageSource,
    /// A file with another template of its policy.
    pub image_policy: Option<String>,
    /// A file with other secrets.
    pub image_secrets: Option<String>,
    /// A file with another list of its environment.
    pub env: Option<String>,
    /// Another chart.
    pub helm_chart: Option<String>,
    /// Values for its chart.
    pub helm_extra_values: Map<String, Value>,
    /// How many of it run (ours); None: one.
    pub replicas: Option<u32>,
    /// What it may use (ours).
    pub resources: Resources,
    /// Labels that its nodes must have (ours).
    pub node_selector: BTreeMap<String, String>,
    /// Services that are started before it (ours).
    pub after: Vec<ServiceName>,
    /// How its health is looked at (ours); None: as its manifest says.
    pub health: Option<Probe>,
    /// How others reach its ports (ours); none: those of its manifest.
    pub ports: Vec<ServicePort>,
    /// Files that it has besides those of its image, or in their place (ours).
    pub files: Vec<MeshFile>,
    /// Where its volumes are kept (ours).
    pub volumes: Vec<MeshVolume>,
    /// Whom it may connect to (ours); None: not said, so that nothing is closed.
    pub connections: Option<Vec<Connection>>,
}

/// Where the image of a service comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// A registry, or this machine's store.
    Reference(ImageReference),
    /// It is built from a manifest that comes with MSE (ours).
    Curated(Curated),
}

/// A file that the Meshfile gives to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshFile {
    /// Its absolute path.
    pub path: String,
    /// What is in it.
    pub content: FileContent,
}

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// This text, with mesh variables and references to secrets.
    Text(MeshText),
    /// That of a file beside the Meshfile, whose reader must put it here.
    From(String),
}

/// What a service may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Memory; None: as the platform does.
    pub memory: Option<Bytes>,
    /// Processors; None: as the platform does.
    pub cores: Option<Millicores>,
}

/// A port under which others reach a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port that others see.
    pub port: NonZeroU16,
    /// The port that the program listens on; None: the same.
    pub target: Option<NonZeroU16>,
    /// What it is for: `http`, `metrics`.
    pub name: Option<String>,
}

/// Where a volume of the manifest is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshVolume {
    /// Its name in the manifest.
    pub name: VolumeName,
    /// How large it is; None: as the platform does.
    pub size: Option<Bytes>,
    /// By which class of storage; None: the cluster's default.
    pub storage_class: Option<String>,
}

/// Something that a service may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// What.
    pub to: Destination,
    /// On which of its ports; none: on all that it listens on.
    pub ports: Vec<NonZeroU16>,
}

/// What a service may connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A service of the mesh.
    Service(ServiceName),
    /// Machines outside of the mesh.
    Network(Network),
    /// One host outside of the mesh.
    Host(OutsideHost),
}

/// Addresses: `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits all addresses begin with.
    pub fn prefix(self) -> u8 {
        self.prefix
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidNetwork(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        if prefix.starts_with('+') {
            return Err(invalid());
        }
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let (bits, width) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let rest = bits.checked_shl(prefix.into()).unwrap_or(0);
        if prefix > width || rest != 0 {
            return Err(invalid());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no network: write its first address and the length of its prefix, such as `10.0.0.0/8`", shown(.0))]
pub struct InvalidNetwork(String);

/// Where images are copied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The registry.
    pub destination: String,
    /// Whether layers become one.
    pub squash: bool,
    /// Whether what the mesh builder needs is taken out.
    pub strip: bool,
    /// Whether it is pushed.
    pub push: bool,
    /// The session of a confidential signer.
    pub config_id: Option<String>,
    /// The key of the signer, or the file that it is in.
    pub key_file: Option<String>,
}

/// A further policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtraPolicy {
    /// Its name.
    pub name: String,
    /// How it gets to its CAS.
    pub mode: Option<UploadMode>,
}

/// Names of environment variables that stand for whole groups are no names of services.
pub(crate) fn scope(word: &str) -> Result<Scope, super::InvalidServiceName> {
    Ok(match word {
        "global" => Scope::Global,
        "helm" => Scope::Helm,
        name => Scope::Service(name.parse()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_begin_with_their_first_address() {
        for good in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "192.0.2.1/32",
            "2001:db8::/32",
            "::/0",
        ] {
            assert_eq!(good.parse::<Network>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::1/64",
            "a/8",
            "10.0.0.0/+8",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
