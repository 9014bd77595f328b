//! Service manifests.

use std::fmt;

use mse_session::{EnvironmentName, SecretName};

use super::{ApiVersion, Health, ImageReference, Port, SecretDefinition, ServiceName, Volume};
use crate::text::MeshText;

/// A service manifest (`kind: genservice`): how the image of a service is built, and what of its
/// configuration the image's owner decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceManifest {
    /// The version of the language.
    pub api_version: ApiVersion,
    /// How the image is built.
    pub build: Build,
    /// The environment of the program.
    pub environment: Environment,
    /// The secrets that it gives to and takes from its mesh.
    pub secrets: Secrets,
    /// Files that exist inside the enclave only.
    pub injection_files: Vec<InjectionFile>,
    /// The ports that it serves (ours).
    pub listen: Vec<Port>,
}

/// How an image is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The name of the service.
    pub name: ServiceName,
    /// What builds it.
    pub kind: Toolchain,
    /// Packages of Debian that it is built from (ours).
    pub packages: Vec<String>,
    /// What of that Debian would add, and is left out (ours).
    pub without: Vec<String>,
    /// The image that it is built on; None: the kind's.
    pub from: Option<ImageReference>,
    /// The image that comes out.
    pub to: ImageReference,
    /// The working directory; None: the image's.
    pub pwd: Option<String>,
    /// The command line. It goes into the policy, and so is protected.
    pub command: MeshText,
    /// Files and folders of the build context, relative to it.
    pub copy: Vec<String>,
    /// A file of pip's requirements in the build context.
    pub requirements: Option<String>,
    /// Commands that are run in the image, each in a step of its own.
    pub run: Vec<String>,
    /// The programs that run in the enclave; none: those that are found.
    pub binaries: Vec<String>,
    /// Folders that are encrypted.
    pub dirs: Vec<String>,
    /// Folders that are measured.
    pub fs_dirs: Vec<String>,
    /// Files that are measured.
    pub fs_files: Vec<String>,
    /// Folders without protection.
    pub plains: Vec<String>,
    /// Files without protection.
    pub plain_files: Vec<String>,
    /// Paths of the host, without protection.
    pub host_paths: Vec<String>,
    /// Encrypted volumes.
    pub volumes: Vec<Volume>,
    /// How the image is signed.
    pub signature: Signature,
    /// The version before, which must keep running until the update is done.
    pub stable: Option<ImageReference>,
    /// A file with another template of the policy (`gen_policy.policy`).
    pub policy_template: Option<String>,
    /// Whether `run` may use the network (ours).
    pub network: bool,
    /// How it shows that it is well (ours).
    pub health: Option<Health>,
}

/// What builds an image: `build.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toolchain {
    /// Python, with pip.
    Python,
    /// Java 8.
    Java8,
    /// Java 15.
    Java15,
    /// Java 17.
    Java17,
    /// Packages of Debian (ours).
    Debian,
    /// An image that exists (`sconify_image`).
    Image,
}

impl Toolchain {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Python,
        Self::Java8,
        Self::Java15,
        Self::Java17,
        Self::Debian,
        Self::Image,
    ];

    /// As written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Java8 => "java8",
            Self::Java15 => "java15",
            Self::Java17 => "java17",
            Self::Debian => "debian",
            Self::Image => "sconify_image",
        }
    }

    /// Its name, or one that it has besides.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "python3" => Self::Python,
            "java" | "java17-bullseye" => Self::Java17,
            "image" => Self::Image,
            _ => return Self::ALL.into_iter().find(|one| one.as_str() == word),
        })
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an image is signed. There is no way not to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// The file of the key.
    pub key: Option<String>,
}

/// The environment of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// What no Meshfile changes.
    pub local: Vec<LocalVariable>,
    /// What the Meshfile gives.
    pub global: Vec<GlobalVariable>,
}

/// A variable that no Meshfile changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalVariable {
    /// Its name.
    pub name: EnvironmentName,
    /// Its value, with mesh variables and references to secrets.
    pub value: MeshText,
}

/// A variable that the Meshfile gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalVariable {
    /// Its name.
    pub name: EnvironmentName,
    /// Its value if no Meshfile gives one.
    pub default: Option<MeshText>,
}

/// Secrets between a service and its mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// Those that the service defines.
    pub global: Vec<SecretDefinition>,
    /// Those that another service must define.
    pub import: Vec<SecretName>,
}

/// A file that exists inside the enclave only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectionFile {
    /// Its absolute path.
    pub path: String,
    /// Its content, with mesh variables and references to secrets.
    pub content: MeshText,
}
