//! Encrypted volumes of a service.

use mse_session::{SessionHash, UpdatePolicy, VolumeName};

use crate::text::MeshText;

/// An encrypted volume: a directory whose key and state the CAS keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: VolumeName,
    /// Where it is mounted: an absolute path.
    pub path: String,
    /// Whose it is.
    pub source: VolumeSource,
    /// Whether it is there only if the Meshfile names it (ours).
    pub optional: bool,
}

/// Whose a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// The service's own, which others may be allowed to use.
    Own(Vec<VolumeExport>),
    /// Another session's.
    Imported {
        /// The session: a name, or a path relative to the service's session.
        session: MeshText,
        /// The volume's name there.
        volume: VolumeName,
    },
}

/// Another session that may use a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeExport {
    /// The session: a name, or a path relative to the service's session.
    pub session: MeshText,
    /// This version of it only.
    pub session_hash: Option<SessionHash>,
    /// The most that it may choose.
    pub update_policy: UpdatePolicy,
    /// The name under which it is imported; None: its own.
    pub alias: Option<VolumeName>,
}
