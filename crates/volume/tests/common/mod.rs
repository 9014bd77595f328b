//! Trees on disk, for tests that see the crate as its users do.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use mse_crypto::sealing::SealingKey;
use mse_volume::{Protection, Volume, VolumeRoot};

/// All that a volume keeps of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Node {
    File {
        mode: u32,
        modified: (i64, i64),
        content: Vec<u8>,
    },
    Directory {
        mode: u32,
    },
    Link(PathBuf),
}

pub(crate) type Tree = BTreeMap<PathBuf, Node>;

pub(crate) fn snapshot(top: &Path) -> Tree {
    fn visit(top: &Path, dir: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let mode = metadata.mode() & 0o7777;
            let node = if metadata.is_dir() {
                visit(top, &path, tree);
                Node::Directory { mode }
            } else if metadata.is_symlink() {
                Node::Link(fs::read_link(&path).unwrap())
            } else {
                Node::File {
                    mode,
                    modified: (metadata.mtime(), metadata.mtime_nsec()),
                    content: fs::read(&path).unwrap(),
                }
            };
            tree.insert(path.strip_prefix(top).unwrap().to_owned(), node);
        }
    }
    let mut tree = Tree::new();
    visit(top, top, &mut tree);
    tree
}

/// Makes each file, and the directories on its way.
pub(crate) fn write(top: &Path, files: &[(&str, &[u8])]) {
    for (path, content) in files {
        let path = top.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// A tree with one of everything.
pub(crate) fn rich_tree() -> tempfile::TempDir {
    let dir = tempdir();
    write(
        dir.path(),
        &[
            ("empty", b""),
            ("small", b"a few bytes"),
            (
                "big",
                &(0..40_000u32)
                    .flat_map(u32::to_be_bytes)
                    .collect::<Vec<_>>(),
            ),
            ("dir/inner/deep", b"below"),
            ("dir/tool", b"#!/bin/sh\n"),
        ],
    );
    fs::create_dir(dir.path().join("hollow")).unwrap();
    symlink("dir/inner/deep", dir.path().join("link")).unwrap();
    symlink("../../small", dir.path().join("dir/inner/up")).unwrap();
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    for (path, mode) in [("dir/tool", 0o755), ("small", 0o400), ("hollow", 0o500)] {
        fs::set_permissions(dir.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(
        dir.path()
            .join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff")),
        "x",
    )
    .unwrap();
    dir
}

/// A volume that holds a tree.
pub(crate) struct Stored {
    pub(crate) key: SealingKey,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) source: tempfile::TempDir,
    pub(crate) root: VolumeRoot,
}

pub(crate) fn stored(source: tempfile::TempDir, protection: Protection) -> Stored {
    let key = SealingKey::generate();
    let dir = tempdir();
    let (mut volume, _) = Volume::create(dir.path(), &key, protection).unwrap();
    let root = volume.commit(source.path()).unwrap();
    Stored {
        key,
        dir,
        source,
        root,
    }
}

/// All files below a directory, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

/// Restores into a directory of its own. After an error it is empty.
pub(crate) fn restored(volume: &mut Volume) -> Result<Tree, mse_volume::RestoreError> {
    let target = tempdir();
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

/// A directory in memory where there is one: what is made durable here is lost on purpose.
pub(crate) fn tempdir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}
