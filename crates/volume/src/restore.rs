//! From objects to a directory.
//!
//! Everything is decrypted and checked into a staging directory inside the target, and moved to
//! its name only when the whole state has been checked. Files are made relative to directories
//! that this module has made and holds open, never through a path, and never over something that
//! is there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use mse_crypto::random;
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, Timespec, Timestamps, fchmod, futimens, mkdirat,
    openat, renameat_with, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::MAX_DEPTH;
use crate::blob::{BlobReader, BlobRef, Step};
use crate::manifest::{Entry, EntryName, Modified, Node, RootManifest};
use crate::seal::Kind;
use crate::store::{ReadError, Store};
use crate::walk::{Visitor, walk};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Makes the tree of `manifest` in the empty directory `target`.
pub(crate) fn restore(
    store: &mut Store,
    manifest: &RootManifest,
    target: &Path,
) -> Result<(), RestoreError> {
    let top: OwnedFd = File::open(target).map_err(RestoreError::Target)?.into();
    if !names(&top)?.is_empty() {
        return Err(RestoreError::NotEmpty(target.to_owned()));
    }
    let staging = format!(".mse-volume-{}", hex::encode(random::bytes::<8>()));
    mkdirat(&top, &*staging, Mode::RWXU)?;
    let restored = restore_through(store, manifest, &top, &staging);
    // Empty after a success; after a failure it has whatever was made before.
    let removed = remove_tree(&top, &*staging, 0);
    restored?;
    removed
}

fn restore_through(
    store: &mut Store,
    manifest: &RootManifest,
    top: &OwnedFd,
    staging: &str,
) -> Result<(), RestoreError> {
    let mut maker = Maker {
        directories: vec![openat(top, staging, DIRECTORY, Mode::empty())?],
        path: Vec::new(),
        file: None,
        modes: Vec::new(),
    };
    walk(store, manifest, &mut maker)?;
    let staged = maker
        .directories
        .pop()
        .expect("every directory but the top was left");

    let mut moved = Vec::new();
    for name in names(&staged)? {
        let result = renameat_with(
            &staged,
            name.as_os_str(),
            top,
            name.as_os_str(),
            RenameFlags::NOREPLACE,
        );
        if let Err(error) = result {
            // Something has been put into the target meanwhile. Take back what was moved.
            for name in moved {
                remove_tree(top, EntryName::as_os_str(&name), 0)?;
            }
            return Err(error.into());
        }
        moved.push(name);
    }
    // Last, and the deepest first: a directory that may not be written could not be moved or
    // removed.
    for (path, mode) in maker.modes {
        let mut directory = openat(top, ".", DIRECTORY, Mode::empty())?;
        for name in path {
            directory = openat(&directory, name.as_os_str(), DIRECTORY, Mode::empty())?;
        }
        fchmod(&directory, Mode::from_raw_mode(mode.into()))?;
    }
    Ok(())
}

struct Maker {
    /// The top, and the directories on the way to where we are.
    directories: Vec<OwnedFd>,
    /// Names and modes of these, without the top.
    path: Vec<(EntryName, u16)>,
    file: Option<(EntryName, u16, Modified)>,
    /// Directories that get another mode at last than they are made with.
    modes: Vec<(Vec<EntryName>, u16)>,
}

const MADE_WITH: u16 = 0o700;

impl Maker {
    fn here(&self) -> &OwnedFd {
        self.directories.last().expect("the top is never left")
    }
}

impl Visitor for Maker {
    type Error = RestoreError;

    fn entry(&mut self, entry: &Entry) -> Result<(), RestoreError> {
        let name = entry.name.as_os_str();
        match &entry.node {
            Node::Link { target } => symlinkat(target.as_os_str(), self.here(), name)?,
            Node::File { mode, modified, .. } => {
                self.file = Some((entry.name.clone(), *mode, *modified));
            }
            Node::Directory { mode, .. } => {
                mkdirat(self.here(), name, Mode::RWXU)?;
                let directory = openat(self.here(), name, DIRECTORY, Mode::empty())?;
                self.directories.push(directory);
                self.path.push((entry.name.clone(), *mode));
            }
        }
        Ok(())
    }

    fn content(&mut self, store: &mut Store, content: &BlobRef) -> Result<(), RestoreError> {
        let (name, mode, modified) = self.file.take().expect("a content follows its file");
        let file = File::from(openat(
            self.here(),
            name.as_os_str(),
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?);
        let mut reader = BlobReader::new(Kind::Data, *content);
        let mut offset = 0;
        while let Some(step) = reader.step(store)? {
            match step {
                Step::Index(_) => {}
                Step::Hole(length) => offset += length,
                Step::Chunk(id, length) => {
                    let chunk = reader.read(store, id, length)?;
                    file.write_all_at(&chunk, offset)
                        .map_err(RestoreError::Target)?;
                    offset += length as u64;
                }
            }
        }
        file.set_len(content.size).map_err(RestoreError::Target)?;
        fchmod(file.as_fd(), Mode::from_raw_mode(mode.into()))?;
        let time = Timespec {
            tv_sec: modified.seconds,
            tv_nsec: modified.nanoseconds.into(),
        };
        futimens(
            file.as_fd(),
            &Timestamps {
                last_access: time,
                last_modification: time,
            },
        )?;
        Ok(())
    }

    fn leave(&mut self) -> Result<(), RestoreError> {
        self.directories.pop();
        let names = self.path.iter().map(|(name, _)| name.clone()).collect();
        let (_, mode) = self.path.pop().expect("only what was entered is left");
        if mode != MADE_WITH {
            self.modes.push((names, mode));
        }
        Ok(())
    }
}

/// The names in a directory, unsorted.
fn names(directory: &OwnedFd) -> Result<Vec<EntryName>, RestoreError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        // `.` and `..` are no names.
        names.extend(EntryName::new(entry?.file_name().to_bytes()));
    }
    Ok(names)
}

/// Removes a directory that this module has made, without following a link.
fn remove_tree(
    parent: &OwnedFd,
    name: impl rustix::path::Arg + Copy,
    depth: usize,
) -> Result<(), RestoreError> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) if depth <= MAX_DEPTH + 1 => {}
        Err(error) => return Err(error.into()),
    }
    let directory = openat(parent, name, DIRECTORY, Mode::empty())?;
    for name in names(&directory)? {
        remove_tree(&directory, name.as_os_str(), depth + 1)?;
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Why a state could not be restored. The target is as empty as before.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Only an empty directory is restored into.
    #[error("`{}` is not empty: a volume is restored into an empty directory; empty it or mount a new file system there", .0.display())]
    NotEmpty(PathBuf),
    /// The target cannot be written.
    #[error("the directory that the volume is restored into cannot be written: {0}")]
    Target(#[source] io::Error),
}

impl From<Errno> for RestoreError {
    fn from(error: Errno) -> Self {
        Self::Target(error.into())
    }
}
