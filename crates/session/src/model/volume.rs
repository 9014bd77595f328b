//! Volumes: encrypted directories whose keys and states the CAS keeps.

use crate::model::text::SecretKey32;
use crate::model::{Hex, OrReference, Recipient, SessionPin, VolumeName};

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: VolumeName,
    /// How its files are protected.
    pub files: FileProtection,
    /// Where its key is from.
    pub origin: VolumeOrigin,
    /// Who else may use it.
    pub exports: Vec<VolumeExport>,
}

/// How the files of a volume are protected. Its metadata is always encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FileProtection {
    /// Encrypted.
    #[default]
    Encrypted,
    /// Readable by everybody, changeable by nobody else.
    AuthenticatedOnly,
}

impl FileProtection {
    /// As written in a session.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::AuthenticatedOnly => "authenticated-only",
        }
    }
}

/// Where the key of a volume is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeOrigin {
    /// The CAS makes it; the first user initialises the volume, once.
    Generated,
    /// The volume exists.
    Existing {
        /// Its key.
        key: OrReference<SecretKey32>,
        /// The tag of its state.
        tag: Option<Hex<16>>,
    },
    /// It is another session's, on the same CAS.
    Imported {
        /// The session.
        session: SessionPin,
        /// Its name there.
        volume: VolumeName,
    },
}

/// Another session that may use a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeExport {
    /// Who.
    pub to: Recipient,
    /// The most that it may choose: no later one than this.
    pub update_policy: UpdatePolicy,
    /// The name under which it is imported; None: its own.
    pub alias: Option<VolumeName>,
}

/// Which states of a volume are accepted. Later ones accept more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpdatePolicy {
    /// The recorded one; changes are not recorded, and a changed volume is refused.
    Ephemeral,
    /// The last one.
    #[default]
    RollbackProtected,
    /// Any.
    NoRollbackProtection,
}

impl UpdatePolicy {
    /// All of them, the strictest first.
    pub const ALL: [Self; 3] = [
        Self::Ephemeral,
        Self::RollbackProtected,
        Self::NoRollbackProtection,
    ];

    /// As written in a session.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::RollbackProtected => "rollback_protected",
            Self::NoRollbackProtection => "no_rollback_protection",
        }
    }
}
