//! Crashes and a host that changes its mind, on a disk in memory.

mod crafted;
mod crash;
mod host;
mod meanwhile;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::backing::memory::MemoryBacking;
use crate::{RestoreError, Volume, VolumeRoot};
use mse_crypto::sealing::SealingKey;

/// Paths, with contents or targets; a directory is `None`.
type Tree = BTreeMap<String, Option<Vec<u8>>>;

fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn snapshot(dir: &Path) -> Tree {
    fn visit(top: &Path, dir: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            if path.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                tree.insert(name, Some(target.into_os_string().into_encoded_bytes()));
            } else if path.is_dir() {
                tree.insert(name, None);
                visit(top, &path, tree);
            } else {
                tree.insert(name, Some(fs::read(&path).unwrap()));
            }
        }
    }
    let mut tree = Tree::new();
    visit(dir, dir, &mut tree);
    tree
}

/// What the state holds. After an error nothing is in the target.
fn restored(volume: &mut Volume) -> Result<Tree, RestoreError> {
    let target = tempfile::tempdir().unwrap();
    let result = volume.restore_into(target.path());
    let tree = snapshot(target.path());
    match result {
        Ok(()) => Ok(tree),
        Err(error) => {
            assert_eq!(tree, Tree::new(), "after {error}");
            Err(error)
        }
    }
}

fn open(disk: &MemoryBacking, key: &SealingKey, root: VolumeRoot) -> Volume {
    Volume::open_on(Box::new(disk.clone()), key, root).unwrap()
}
