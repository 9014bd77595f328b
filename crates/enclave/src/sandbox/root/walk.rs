//! The walk over the host's folder.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mse_workload::bundle::{MAX_DEPTH, MAX_PATH};
use mse_workload::image::{InvalidEntry, is_measured};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::files::{Copiers, Job};
use super::{MAX_ENTRIES, RootError, finish, ids};
use crate::sandbox::plan::AppUid;

/// So many places where something is mounted are named.
const MAX_NAMED_MOUNTS: usize = 8;

/// One entry of the root file system.
pub(super) struct Found {
    /// Absolute, in the image.
    pub(super) path: String,
    pub(super) kind: Kind,
}

/// What it is. Mode and content of a file are known to its copier.
pub(super) enum Kind {
    Folder { mode: u32 },
    Link { target: String },
    File,
}

/// Makes the folders and links of the copy, and leaves the files to copiers.
pub(super) struct Walk<'a> {
    unmeasured: &'a [String],
    owner: Option<AppUid>,
    copiers: &'a Copiers,
    found: Vec<Found>,
    device: Option<u64>,
    other_mounts: Vec<String>,
}

/// A folder of the host, and its copy.
#[derive(Clone)]
struct Pair {
    from: Arc<OwnedFd>,
    to: Arc<OwnedFd>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        unmeasured: &'a [String],
        owner: Option<AppUid>,
        copiers: &'a Copiers,
    ) -> Self {
        Self {
            unmeasured,
            owner,
            copiers,
            found: Vec::new(),
            device: None,
            other_mounts: Vec::new(),
        }
    }

    /// Copies all that is in the folder `from` to the folder `to`: the root.
    pub(super) fn folder(&mut self, from: OwnedFd, to: OwnedFd) -> Result<(), RootError> {
        self.device = Some(look(&from, "/")?.st_dev);
        let root = Pair {
            from: Arc::new(from),
            to: Arc::new(to),
        };
        self.entries(&root, "", 0)
    }

    /// Everything that was found, in the order of the walk, and where something is mounted.
    pub(super) fn finish(self) -> (Vec<Found>, Vec<String>) {
        (self.found, self.other_mounts)
    }

    /// `path` is empty for the root, and otherwise as it is in [`Found`].
    fn entries(&mut self, folder: &Pair, path: &str, depth: usize) -> Result<(), RootError> {
        let shown = if path.is_empty() { "/" } else { path };
        let mut listing = Dir::read_from(&folder.from).map_err(RootError::read(shown))?;
        while let Some(entry) = listing.read() {
            let entry = entry.map_err(RootError::read(shown))?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let text = name.to_str().map_err(|_| RootError::NotUtf8 {
                folder: shown.to_owned(),
                name: name.to_string_lossy().escape_debug().to_string(),
            })?;
            let path = format!("{path}/{text}");
            if !is_measured(&path, self.unmeasured) {
                continue;
            }
            if self.found.len() == MAX_ENTRIES {
                return Err(RootError::TooMany);
            }
            if path.len() > MAX_PATH || depth == MAX_DEPTH {
                return Err(InvalidEntry::Path(path.escape_debug().to_string()).into());
            }
            if self.copiers.have_failed() {
                // Their error is the one that counts.
                return Ok(());
            }
            let kind = match entry.file_type() {
                FileType::Unknown => kind_of(&folder.from, name, &path)?,
                known => known,
            };
            match kind {
                FileType::Directory => self.folder_in(folder, name, &path, depth)?,
                FileType::RegularFile => self.file(folder, name, path),
                FileType::Symlink => self.link(folder, name, path)?,
                other => {
                    return Err(RootError::OtherKind {
                        path,
                        kind: shown_kind(other),
                    });
                }
            }
        }
        Ok(())
    }

    fn folder_in(
        &mut self,
        parent: &Pair,
        name: &CStr,
        path: &str,
        depth: usize,
    ) -> Result<(), RootError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |at: &OwnedFd| rustix::fs::openat(at, name, flags, Mode::empty());
        let from = open(&parent.from).map_err(RootError::read(path))?;
        let stat = look(&from, path)?;
        if Some(stat.st_dev) != self.device && self.other_mounts.len() < MAX_NAMED_MOUNTS {
            self.other_mounts.push(path.to_owned());
        }
        let to = rustix::fs::mkdirat(&parent.to, name, Mode::RWXU)
            .and_then(|()| open(&parent.to))
            .and_then(|to| finish(&to, stat.st_mode, self.owner).map(|()| to))
            .map_err(RootError::write(path))?;
        let folder = Pair {
            from: Arc::new(from),
            to: Arc::new(to),
        };
        self.found.push(Found {
            path: path.to_owned(),
            kind: Kind::Folder { mode: stat.st_mode },
        });
        self.entries(&folder, path, depth + 1)
    }

    fn file(&mut self, parent: &Pair, name: &CStr, path: String) {
        self.copiers.take(Job {
            index: self.found.len(),
            from: Arc::clone(&parent.from),
            to: Arc::clone(&parent.to),
            name: name.to_owned(),
            path: path.clone(),
        });
        self.found.push(Found {
            path,
            kind: Kind::File,
        });
    }

    fn link(&mut self, parent: &Pair, name: &CStr, path: String) -> Result<(), RootError> {
        let target = rustix::fs::readlinkat(&parent.from, name, Vec::new())
            .map_err(|_| RootError::Changed(path.clone()))?;
        let target = target.into_string().map_err(|target| RootError::NotUtf8 {
            folder: path.clone(),
            name: target
                .into_cstring()
                .to_string_lossy()
                .escape_debug()
                .to_string(),
        })?;
        rustix::fs::symlinkat(&target, &parent.to, name)
            .and_then(|()| match self.owner {
                Some(owner) => {
                    let (user, group) = ids(owner);
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::chownat(&parent.to, name, Some(user), Some(group), flags)
                }
                None => Ok(()),
            })
            .map_err(RootError::write(&path))?;
        self.found.push(Found {
            path,
            kind: Kind::Link { target },
        });
        Ok(())
    }
}

fn look(descriptor: &OwnedFd, path: &str) -> Result<Stat, RootError> {
    rustix::fs::fstat(descriptor).map_err(RootError::read(path))
}

/// For file systems whose listings do not say.
fn kind_of(folder: &OwnedFd, name: &CStr, path: &str) -> Result<FileType, RootError> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(RootError::read(path))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

pub(super) fn shown_kind(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::Directory => "folder",
        FileType::Symlink => "link",
        _ => "thing of an unknown kind",
    }
}
