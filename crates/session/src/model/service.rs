//! Services: what a program is given, and what it must prove.

use std::collections::BTreeMap;

use crate::model::text::SecretKey32;
use crate::model::{
    AttestationEntry, EnvironmentName, Hex, ImageName, OrReference, PlatformId, ServiceName,
};
use crate::template::Template;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name: programs ask for `<session>/<service>`.
    pub name: ServiceName,
    /// Its command line; None: what the program was built with.
    pub command: Option<Command>,
    /// Its whole environment.
    pub environment: BTreeMap<EnvironmentName, EnvironmentValue>,
    /// Its working directory; None: the image's.
    pub pwd: Option<String>,
    /// The image whose volumes and files it gets.
    pub image: Option<ImageName>,
    /// The metadata of its main file system.
    pub file_system: Option<FileSystem>,
    /// One of these must be proven. Empty: only where attestation is off.
    pub attestation: Vec<AttestationEntry>,
    /// On one of these machines. Empty: on any.
    pub platforms: Vec<OrReference<PlatformId>>,
    /// The secret of its one-time passwords (base32), in place of the session's.
    pub one_time_password: Option<Template>,
}

/// A command line: the program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command(pub Vec<Template>);

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentValue {
    /// This one.
    Given(Template),
    /// The host's, which nobody vouches for; empty if the host has none.
    FromHost,
}

/// The metadata of a file system in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Where the metadata file is in the image.
    pub path: String,
    /// Its key.
    pub key: Option<OrReference<SecretKey32>>,
    /// The tag of the state that is accepted first.
    pub tag: Option<Hex<16>>,
    /// Whether older states are accepted.
    pub update_policy: FileSystemUpdatePolicy,
}

/// Which states of a main file system are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FileSystemUpdatePolicy {
    /// The last one, or the first: so that several instances can start.
    #[default]
    RollbackProtectedReinitializable,
    /// Any.
    NoRollbackProtection,
}

impl FileSystemUpdatePolicy {
    /// As written in a session.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RollbackProtectedReinitializable => "rollback_protected_reinitializable",
            Self::NoRollbackProtection => "no_rollback_protection",
        }
    }
}
