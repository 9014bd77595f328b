//! The root digest of a file system.

use mse_crypto::Digest;
use mse_workload::image::{Entry, EntryKind, InvalidEntry, RootHasher, is_measured};

use super::{FileSystem, Node};

/// The digest of everything in `system` that is measured.
pub fn root_digest(system: &FileSystem, unmeasured: &[String]) -> Result<Digest, InvalidEntry> {
    let mut hasher = RootHasher::new();
    for (path, node) in system.iter() {
        if !is_measured(path, unmeasured) {
            continue;
        }
        let (mode, kind) = match node {
            Node::Folder { mode } => (*mode, EntryKind::Folder),
            Node::File(file) => (file.mode, EntryKind::File(file.digest)),
            Node::Link { target } => (0, EntryKind::Link(target)),
        };
        hasher.entry(&Entry { path, mode, kind })?;
    }
    Ok(hasher.finish())
}
