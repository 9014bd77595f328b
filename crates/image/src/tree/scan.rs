//! The file system that a folder on disk is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_workload::image::is_measured;

use super::{FileNode, FileSystem, Node};

/// Everything in `folder`, hashed. What engines put into containers (`/dev`, `/proc` and so on) is
/// looked at neither inside nor for what it is.
pub fn scan(folder: &Path) -> Result<FileSystem, ScanError> {
    let mut system = FileSystem::default();
    walk(folder, "", &mut system)?;
    Ok(system)
}

fn walk(folder: &Path, at: &str, system: &mut FileSystem) -> Result<(), ScanError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ScanError::Read(path, source)
    };
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let on_disk = entry.path();
        let name = entry
            .file_name()
            .into_string()
            .map_err(|_| ScanError::Name(on_disk.clone()))?;
        let path = format!("{at}/{name}");
        if !is_measured(&path, &[]) {
            continue;
        }
        let metadata = fs::symlink_metadata(&on_disk).map_err(failed(&on_disk))?;
        let mode = metadata.permissions().mode() & 0o777;
        let node = if metadata.is_dir() {
            walk(&on_disk, &path, system)?;
            Node::Folder { mode }
        } else if metadata.is_file() {
            let digest = File::open(&on_disk)
                .and_then(Digest::of_reader)
                .map_err(failed(&on_disk))?;
            Node::File(FileNode {
                mode,
                digest,
                size: metadata.len(),
                source: None,
            })
        } else if metadata.is_symlink() {
            let target = fs::read_link(&on_disk).map_err(failed(&on_disk))?;
            Node::Link {
                target: target
                    .into_os_string()
                    .into_string()
                    .map_err(|_| ScanError::Name(on_disk))?,
            }
        } else {
            return Err(ScanError::NotAFile(on_disk));
        };
        system.nodes.insert(path, node);
    }
    Ok(())
}

/// A folder that is no file system of an image.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Something cannot be read.
    #[error("`{at}` cannot be read: {1}", at = .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A name that is no UTF-8.
    #[error("`{at}` has a name, or a target, that is no UTF-8: rename it", at = .0.display())]
    Name(PathBuf),
    /// A device, pipe or socket.
    #[error("`{at}` is a device, pipe or socket: no image has these", at = .0.display())]
    NotAFile(PathBuf),
}
