//! What of the host goes into the sandbox's root directory.
//!
//! Everything is opened before the first directory of the host is covered, so
//! that no mount can hide a source.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::failure::{Doing, StageError};
use super::plan::{RootBase, TreePlan};

/// The system's programs and libraries: directories, or links into `/usr`.
const SYSTEM_DIRS: &[&str] = &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Configuration that libraries read. Copied, not bound: several are links to
/// places that the sandbox does not have.
#[rustfmt::skip]
const ETC_FILES: &[&str] = &[
    "gai.conf", "host.conf", "hosts", "ld.so.cache", "localtime", "mime.types", "nsswitch.conf",
    "protocols", "resolv.conf", "services", "timezone",
];
/// What of it an image does not bring, because it is the network's.
const NETWORK_FILES: &[&str] = &["hosts", "resolv.conf"];
const MAX_ETC_FILE: u64 = 4 * 1024 * 1024;

/// Public certificates (never `/etc/ssl` itself: it has a `private`), and the
/// links by which Debian chooses between programs.
const ETC_DIRS: &[&str] = &["etc/ssl/certs", "etc/alternatives"];

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

/// Sources for the root directory, detached from where they were.
pub(super) struct Host {
    /// Links to make: place, and what it points to.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// Files below `/etc`.
    pub(super) etc: Vec<(&'static str, Vec<u8>)>,
    /// Trees to attach.
    pub(super) trees: Vec<Tree>,
}

/// A file or directory of the host.
pub(super) struct Tree {
    /// Where it goes: absolute, in the sandbox.
    pub(super) target: PathBuf,
    /// A detached copy of its mount.
    pub(super) mount: OwnedFd,
    pub(super) shape: Shape,
    pub(super) access: Access,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    File,
    Dir,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    /// The socket directory.
    ReadWrite,
    /// Left as it is: devices, and the old `/proc` that allows a new one.
    Inherited,
}

impl Host {
    /// Opens all sources. The caller has its own mount namespace by now.
    pub(super) fn open(plan: &TreePlan) -> Result<Self, StageError> {
        let etc = match plan.base {
            RootBase::Machine(_) => ETC_FILES,
            RootBase::Image => NETWORK_FILES,
        };
        let mut host = Self {
            links: Vec::new(),
            etc: etc_files(etc)?,
            trees: Vec::new(),
        };
        if let RootBase::Machine(_) = plan.base {
            host.add_system()?;
        }
        for device in DEVICES {
            let path = Path::new("/dev").join(device);
            host.add(&path, &path, Access::Inherited)?;
        }
        host.add(Path::new("/proc"), Path::new("/proc"), Access::Inherited)?;
        for bind in &plan.read_only {
            host.add(&bind.source, bind.target.as_path(), Access::ReadOnly)?;
        }
        if let Some(dir) = &plan.socket_dir {
            host.add(&dir.source, dir.target.as_path(), Access::ReadWrite)?;
        }
        Ok(host)
    }

    /// Programs, libraries and public certificates.
    fn add_system(&mut self) -> Result<(), StageError> {
        for name in SYSTEM_DIRS {
            let path = Path::new("/").join(name);
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).doing(|| format!("look at `{}`", path.display())),
                Ok(meta) if meta.is_symlink() => {
                    let to = fs::read_link(&path).doing(|| format!("read `{}`", path.display()))?;
                    self.links.push((path, to));
                }
                Ok(_) => self.add(&path, &path, Access::ReadOnly)?,
            }
        }
        for path in ETC_DIRS.iter().map(|dir| Path::new("/").join(dir)) {
            if path.is_dir() {
                self.add(&path, &path, Access::ReadOnly)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, source: &Path, target: &Path, access: Access) -> Result<(), StageError> {
        let within_system =
            |tree: &Tree| tree.access == Access::ReadOnly && target.starts_with(&tree.target);
        if source == target && self.trees.iter().any(within_system) {
            // Already there, read-only, with the tree around it.
            return Ok(());
        }
        let meta = fs::metadata(source).doing(|| format!("find `{}`", source.display()))?;
        let mount = open_tree(
            CWD,
            source,
            OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE,
        )
        .doing(|| format!("open `{}` for the sandbox", source.display()))?;
        self.trees.push(Tree {
            target: target.to_owned(),
            mount,
            shape: if meta.is_dir() {
                Shape::Dir
            } else {
                Shape::File
            },
            access,
        });
        Ok(())
    }
}

fn etc_files(names: &[&'static str]) -> Result<Vec<(&'static str, Vec<u8>)>, StageError> {
    let mut files = Vec::new();
    for name in names {
        let path = Path::new("/etc").join(name);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).doing(|| format!("open `{}`", path.display())),
        };
        let mut content = Vec::new();
        file.take(MAX_ETC_FILE)
            .read_to_end(&mut content)
            .doing(|| format!("read `{}`", path.display()))?;
        files.push((*name, content));
    }
    Ok(files)
}
