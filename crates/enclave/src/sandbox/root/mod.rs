//! The copy of an image's root file system that a sandbox has for its own.
//!
//! Stage 1 makes it before `mse-enclave` asks anybody for anything:
//!
//! ```text
//! folder of the host ─ walk (one thread) ─▶ folders and links ──────────────▶ memory
//!                          └─ files ─▶ copiers (one per core) ─ read, hash, write ─▶ memory
//! ```
//!
//! Every byte is read once, and what is hashed is what was written: the host may change its folder
//! at any time, and the copy never. Nothing in the folder is trusted before the digest is compared.
//! Every step of the walk goes from a descriptor to a name in it and follows no link, so that
//! nothing leads out of the folder.

mod files;
mod launch;
mod memory;
mod walk;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use mse_crypto::Digest;
use mse_workload::image::{Entry, EntryKind, InvalidEntry, RootHasher};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use self::files::Copiers;
pub use self::launch::RootedSandbox;
pub(super) use self::memory::RootMemory;
use self::walk::{Found, Kind, Walk};
use super::plan::AppUid;

/// An image has at most this many files, folders and links.
const MAX_ENTRIES: usize = 300_000;

/// Which root file system to copy.
#[derive(Clone, Serialize, Deserialize)]
pub struct RootPlan {
    /// The user of the host as whom the app runs if `mse-enclave` is root.
    pub app_uid: AppUid,
    /// The folder of the host that is `/` of the image.
    pub folder: PathBuf,
    /// Absolute paths in the image that are neither measured nor copied.
    pub unmeasured: Vec<String>,
    /// The most that the copy, and everything that the app adds to it, may hold, in bytes.
    pub max_bytes: u64,
}

/// What was copied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopiedRoot {
    /// By [`RootHasher`].
    pub digest: Digest,
    /// Files, folders and links.
    pub entries: u64,
    /// In files.
    pub bytes: u64,
    /// Folders where the host has mounted something else; some of them, if there are many. What
    /// lies there was copied all the same, so they often explain another digest.
    pub other_mounts: Vec<String>,
}

/// Copies what `plan` names into the folder `to`, and hands it to `owner` if there is one.
fn copy_into(to: OwnedFd, plan: &RootPlan, owner: Option<AppUid>) -> Result<CopiedRoot, RootError> {
    let from = open_folder(plan)?;
    let (found, other_mounts, files) = Copiers::run(owner, |copiers| {
        let mut walk = Walk::new(&plan.unmeasured, owner, copiers);
        walk.folder(from, to)?;
        Ok(walk.finish())
    })?;
    let bytes = files.values().map(|file| file.bytes).sum();
    Ok(CopiedRoot {
        digest: digest(&found, &files)?,
        entries: found.len() as u64,
        bytes,
        other_mounts,
    })
}

/// The folder itself may be behind a link: which one it is, is the launcher's choice.
fn open_folder(plan: &RootPlan) -> Result<OwnedFd, RootError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&plan.folder, flags, rustix::fs::Mode::empty()).map_err(|error| {
        RootError::Read {
            path: plan.folder.display().to_string(),
            source: error.into(),
        }
    })
}

fn digest(found: &[Found], files: &files::Copied) -> Result<Digest, RootError> {
    let mut in_order: Vec<(usize, &Found)> = found.iter().enumerate().collect();
    in_order.sort_unstable_by(|(_, a), (_, b)| a.path.cmp(&b.path));
    let mut hasher = RootHasher::new();
    for (index, entry) in in_order {
        let path = &entry.path;
        let (mode, kind) = match &entry.kind {
            Kind::Folder { mode } => (*mode, EntryKind::Folder),
            Kind::Link { target } => (0, EntryKind::Link(target)),
            Kind::File => {
                let file = files
                    .get(&index)
                    .ok_or_else(|| RootError::Changed(path.clone()))?;
                (file.mode, EntryKind::File(file.content))
            }
        };
        hasher.entry(&Entry { path, mode, kind })?;
    }
    Ok(hasher.finish())
}

/// Why there is no copy. All of it is about the folder and what it holds.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    #[error("`{path}` cannot be read: {source}")]
    Read { path: String, source: io::Error },
    #[error("`{path}` cannot be copied into the sandbox's memory: {source}")]
    Write { path: String, source: io::Error },
    #[error(
        "`{path}` does not fit: the whole image is copied into memory, for which {} MiB of the service's are there; give the service more memory (`resources` of its workload, `MSE_MEMORY_MIB`), or make the image smaller", max_bytes >> 20
    )]
    Full { path: String, max_bytes: u64 },
    #[error("a name in `{folder}` is not UTF-8: `{name}`; rename it where the image is built")]
    NotUtf8 { folder: String, name: String },
    #[error(
        "`{path}` is a {kind}: an image has files, folders and links only; remove it where the image is built"
    )]
    OtherKind { path: String, kind: &'static str },
    #[error("`{0}` changed while it was copied")]
    Changed(String),
    #[error("there are more than {MAX_ENTRIES} files, folders and links")]
    TooMany,
    #[error(transparent)]
    Entry(#[from] InvalidEntry),
}

impl RootError {
    fn read(path: &str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |error| match error {
            // It was a folder or a file when it was listed.
            rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR | rustix::io::Errno::NOENT => {
                Self::Changed(path.to_owned())
            }
            error => Self::Read {
                path: path.to_owned(),
                source: error.into(),
            },
        }
    }

    fn write(path: &str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |error| Self::Write {
            path: path.to_owned(),
            source: error.into(),
        }
    }

    /// The same error, in words about memory if there was too little.
    fn within(self, max_bytes: u64) -> Self {
        match self {
            Self::Write { path, source } if source.kind() == io::ErrorKind::StorageFull => {
                Self::Full { path, max_bytes }
            }
            other => other,
        }
    }
}

/// Sets mode and owner of something that was just made.
fn finish(made: &impl AsFd, mode: u32, owner: Option<AppUid>) -> Result<(), rustix::io::Errno> {
    // In this order it takes no right over files of others.
    rustix::fs::fchmod(made, rustix::fs::Mode::from_raw_mode(mode & 0o777))?;
    match owner {
        Some(owner) => {
            let (user, group) = ids(owner);
            rustix::fs::fchown(made, Some(user), Some(group))
        }
        None => Ok(()),
    }
}

fn ids(owner: AppUid) -> (rustix::fs::Uid, rustix::fs::Gid) {
    let id = owner.as_u32();
    (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id))
}

/// A folder's descriptor for the file that is opened below it.
fn into_file(descriptor: OwnedFd) -> File {
    File::from(descriptor)
}

#[cfg(test)]
mod tests;
