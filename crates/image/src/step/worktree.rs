//! The layers so far, unpacked for steps to change.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::layer::{Compression, Layer, LayerWriter};
use crate::tree::{FileSystem, Node, ScanError, difference, scan};
use crate::unpack::{Part, UnpackError, write};

/// An unpacked file system, which is removed with this value.
pub(crate) struct WorkTree {
    root: TempDir,
}

impl WorkTree {
    /// Unpacks `system`, whose layers are in `sources`, into a new folder in `parent`.
    pub(crate) fn new(
        system: &FileSystem,
        sources: &[(PathBuf, Compression)],
        parent: &Path,
    ) -> Result<Self, UnpackError> {
        let root = tempfile::Builder::new()
            .prefix("tree-")
            .tempdir_in(parent)
            .map_err(|source| UnpackError::Write(parent.to_owned(), source))?;
        write(system, sources, Part::Whole, root.path())?;
        Ok(Self { root })
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// What is now other than in `before`, as a layer.
    pub(crate) fn changes(
        &self,
        before: &FileSystem,
        mut layer: LayerWriter,
    ) -> Result<Layer, WorkTreeError> {
        let after = scan(self.root.path())?;
        let difference = difference(before, &after, is_ignored);
        for path in &difference.gone {
            layer.gone(path)?;
        }
        for path in &difference.changed {
            match after.get(path) {
                Some(Node::Folder { mode }) => layer.folder(path, *mode)?,
                Some(Node::Link { target }) => layer.link(path, target)?,
                Some(Node::File(file)) => {
                    let on_disk = self.root.path().join(path.trim_start_matches('/'));
                    layer.file(path, file.mode, file.size, File::open(on_disk)?)?;
                }
                None => {}
            }
        }
        Ok(layer.finish()?)
    }
}

impl Drop for WorkTree {
    /// A step may have left folders that even their owner cannot empty.
    fn drop(&mut self) {
        make_removable(self.root.path());
    }
}

fn make_removable(folder: &Path) {
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}

/// What a step leaves behind that has no place in an image: what is compiled anew anyway, and
/// what depends on when it ran.
fn is_ignored(path: &str) -> bool {
    !mse_workload::image::is_measured(path, &[])
        || path.split('/').any(|part| part == "__pycache__")
        || ["/root/.cache", "/var/cache/apt", "/var/log", "/var/tmp"]
            .iter()
            .any(|folder| {
                path.strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/'))
            })
}

/// Why the changes of a step could not be made a layer.
#[derive(Debug, thiserror::Error)]
pub enum WorkTreeError {
    /// The step left something that is no part of an image.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// No layer.
    #[error("the layer cannot be written: {0}")]
    Write(#[from] io::Error),
}
