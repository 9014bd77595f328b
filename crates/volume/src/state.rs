//! The states of a backing directory, read before anything of them is trusted.

use std::io;
use std::path::Path;

use crate::VolumeRoot;
use crate::backing::{Backing, DirBacking, LockError, Name};
use crate::header::{Header, MAX_HEADER};
use crate::manifest::{Malformed, RootManifest};
use crate::seal::MAX_MANIFEST;
use crate::store::Store;

/// A state, as its root manifest says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateInfo {
    /// Its root.
    pub root: VolumeRoot,
    /// Commits since the volume was created, which is 1.
    pub generation: u64,
    /// The state it was made from.
    pub parent: Option<VolumeRoot>,
}

/// What a backing directory holds, for [`crate::policy::decide`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// No volume.
    Nothing,
    /// A volume.
    States {
        /// What the host says is the newest, if it opens under the key.
        head: Option<StateInfo>,
        /// The state that was asked for, if it is there.
        tracked: Option<StateInfo>,
    },
}

pub(crate) fn open_backing(dir: &Path) -> Result<DirBacking, OpenError> {
    DirBacking::open(dir).map_err(|error| match error {
        LockError::InUse => OpenError::InUse,
        LockError::Io(error) if error.kind() == io::ErrorKind::NotFound => OpenError::NoVolume,
        LockError::Io(error) => OpenError::Backing(error),
    })
}

pub(crate) fn open_to_read(dir: &Path) -> Result<DirBacking, OpenError> {
    DirBacking::open_to_read(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::NoVolume,
        _ => OpenError::Backing(error),
    })
}

pub(crate) fn read_header(backing: &dyn Backing) -> Result<Option<Header>, OpenError> {
    backing
        .read(Name::Header, MAX_HEADER)
        .map_err(OpenError::Backing)?
        .map(|bytes| Header::decode(&bytes).ok_or(OpenError::Header))
        .transpose()
}

/// The state with the root `expected`. That it is the right one, bit by bit, is known before it
/// is opened, and so a key that does not open it is the wrong key.
pub(crate) fn read_state(
    store: &Store,
    header: &Header,
    expected: VolumeRoot,
) -> Result<RootManifest, OpenError> {
    let sealed = store
        .backing
        .read(Name::Root(expected), MAX_MANIFEST)
        .map_err(OpenError::Backing)?
        .ok_or(OpenError::NotHeld {
            expected,
            found: None,
        })?;
    if VolumeRoot::of(&header.encode(), &sealed) != expected {
        return Err(OpenError::Changed(expected));
    }
    let manifest = store
        .keys
        .open_manifest(&sealed)
        .ok_or(OpenError::WrongKey(expected))?;
    let manifest = RootManifest::decode(&manifest)?;
    if manifest.protection != header.protection {
        return Err(Malformed("has another protection than the header").into());
    }
    Ok(manifest)
}

/// The newest state, says the host. Whatever is wrong with it, it is only a hint that is missing.
pub(crate) fn read_head(store: &Store, header: &Header) -> Option<StateInfo> {
    let content = store.backing.read(Name::Head, 65).ok()??;
    let root = std::str::from_utf8(&content).ok()?.parse().ok()?;
    let manifest = read_state(store, header, root).ok()?;
    Some(info(root, &manifest))
}

pub(crate) fn info(root: VolumeRoot, manifest: &RootManifest) -> StateInfo {
    StateInfo {
        root,
        generation: manifest.generation,
        parent: manifest.parent,
    }
}

/// Why a volume is not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No volume at all.
    #[error("the directory holds no volume: bring the directory back, or create the volume")]
    NoVolume,
    /// Another process has it.
    #[error("the volume is in use by another process: stop that first")]
    InUse,
    /// Not the header of this version.
    #[error(
        "the header of the volume was changed, or is of a later version; restore the directory"
    )]
    Header,
    /// The state is not among those of the directory.
    #[error("the directory does not hold the state `{expected}`{}: it is an old copy or a fork; bring the copy that was recorded", head(*.found))]
    NotHeld {
        /// The root that was asked for.
        expected: VolumeRoot,
        /// What the host says is the newest, if it opens under the key.
        found: Option<StateInfo>,
    },
    /// The state's manifest, or the header, is not what the root pins.
    #[error(
        "the state `{0}` was changed: its manifest or the header is not what the root pins; restore the directory"
    )]
    Changed(VolumeRoot),
    /// The manifest is whole and does not open.
    #[error("the state `{0}` is whole and does not open: it was sealed under another key")]
    WrongKey(VolumeRoot),
    /// Not what this version writes.
    #[error("the volume is of another version or was written wrongly: {0}")]
    Malformed(#[from] Malformed),
    /// The backing directory cannot be read.
    #[error("the backing directory cannot be read: {0}")]
    Backing(#[source] io::Error),
}

fn head(found: Option<StateInfo>) -> String {
    found.map_or_else(String::new, |found| {
        format!(
            ", its newest is `{}` of generation {}",
            found.root, found.generation
        )
    })
}
