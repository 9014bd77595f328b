//! A tree comes back as it was, and commits write what changed.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use common::{Stored, files, restored, rich_tree, snapshot, stored, tempdir, write};
use mse_crypto::sealing::SealingKey;
use mse_volume::{
    CollectError, CommitError, CreateError, Found, OpenError, Protection, RestoreError, Snapshot,
    Volume,
};
use proptest::prelude::*;

#[test]
fn one_of_everything_comes_back() {
    for protection in [Protection::Encrypted, Protection::AuthenticatedOnly] {
        let Stored {
            key,
            dir,
            source,
            root,
        } = stored(rich_tree(), protection);
        let mut volume = Volume::open(dir.path(), &key, root).unwrap();
        assert_eq!(volume.protection(), protection);
        assert_eq!(restored(&mut volume).unwrap(), snapshot(source.path()));
        let summary = volume.verify().unwrap();
        assert_eq!(
            (summary.files, summary.directories, summary.links),
            (6, 3, 3)
        );
        assert_eq!(summary.bytes, 11 + 160_000 + 5 + 10 + 1);
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Directory(usize),
    Link(usize, usize),
    Remove(usize),
}

/// Few names, so that changes meet: files become directories, and the reverse.
const PATHS: [&str; 8] = ["a", "b", "a/x", "a/y", "a/x/1", "b/z", "c", "a/x/1/2"];

fn apply(top: &Path, change: &Change) {
    // What does not apply, such as a file below a file, changes nothing.
    let _ = match change {
        Change::Write(at, content) => fs::write(top.join(PATHS[*at]), content),
        Change::Directory(at) => fs::create_dir(top.join(PATHS[*at])),
        Change::Link(at, to) => {
            let depth = PATHS[*at].matches('/').count();
            symlink("../".repeat(depth) + PATHS[*to], top.join(PATHS[*at]))
        }
        Change::Remove(at) => {
            let path = top.join(PATHS[*at]);
            if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
    };
}

fn change() -> impl Strategy<Value = Change> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        (any::<u8>(), 65_000usize..140_000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    prop_oneof![
        4 => (0..PATHS.len(), content).prop_map(|(at, content)| Change::Write(at, content)),
        2 => (0..PATHS.len()).prop_map(Change::Directory),
        1 => (0..PATHS.len(), 0..PATHS.len()).prop_map(|(at, to)| Change::Link(at, to)),
        1 => (0..PATHS.len()).prop_map(Change::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_state_of_a_changing_tree_comes_back(
        commits in prop::collection::vec(prop::collection::vec(change(), 0..8), 1..5),
        reopen: bool,
    ) {
        let key = SealingKey::generate();
        let (dir, source) = (tempdir(), tempdir());
        let (mut volume, root) = Volume::create(dir.path(), &key, Protection::Encrypted).unwrap();
        let mut states = vec![(root, snapshot(source.path()))];
        for changes in &commits {
            for change in changes {
                apply(source.path(), change);
            }
            let root = volume.commit(source.path()).unwrap();
            states.push((root, snapshot(source.path())));
            if reopen {
                drop(volume);
                volume = Volume::open(dir.path(), &key, root).unwrap();
            }
        }
        let last = volume.root();
        drop(volume);
        for (root, tree) in &states {
            let mut volume = Volume::open(dir.path(), &key, *root).unwrap();
            prop_assert_eq!(&restored(&mut volume).unwrap(), tree);
        }
        // Without the others the last is still whole.
        let mut volume = Volume::open(dir.path(), &key, last).unwrap();
        volume.garbage_collect(&[]).unwrap();
        prop_assert_eq!(&restored(&mut volume).unwrap(), &states.last().unwrap().1);
    }
}

#[test]
fn only_what_changed_is_written() {
    let Stored {
        key,
        dir,
        source,
        root,
    } = stored(rich_tree(), Protection::Encrypted);
    let objects = || files(&dir.path().join("objects"));
    for restore_first in [true, false] {
        let mut volume = Volume::open(dir.path(), &key, root).unwrap();
        if restore_first {
            restored(&mut volume).unwrap();
        }
        let before: Vec<_> = objects()
            .iter()
            .map(|path| fs::metadata(path).unwrap().ino())
            .collect();
        let unchanged = volume.prepare(source.path()).unwrap();
        assert!(unchanged.is_unchanged());
        assert_eq!(unchanged.root(), root);
        assert_eq!(volume.publish(&unchanged).unwrap(), root);
        let after: Vec<_> = objects()
            .iter()
            .map(|path| fs::metadata(path).unwrap().ino())
            .collect();
        assert_eq!(before, after);
    }
    let before = objects().len();
    let file = File::options()
        .write(true)
        .open(source.path().join("big"))
        .unwrap();
    file.write_all_at(b"one page", 100_000).unwrap();
    let mut volume = Volume::open(dir.path(), &key, root).unwrap();
    let prepared = volume.prepare(source.path()).unwrap();
    assert_eq!(prepared.state().generation, 3);
    assert_eq!(prepared.state().parent, Some(root));
    // The chunk, the index above it, the listing of the top.
    assert_eq!(objects().len(), before + 3);
    volume.publish(&prepared).unwrap();
    let collected = volume.garbage_collect(&[]).unwrap();
    assert_eq!((collected.objects, collected.states), (3, 2));
}

#[test]
fn a_sparse_file_costs_what_it_holds() {
    const LENGTH: u64 = 5 << 30;
    let source = tempdir();
    let file = File::create(source.path().join("sparse")).unwrap();
    file.set_len(LENGTH).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 3 << 30).unwrap();
    let all_hole = File::create(source.path().join("hole")).unwrap();
    all_hole.set_len(LENGTH + 77).unwrap();
    let Stored { key, dir, root, .. } = stored(source, Protection::Encrypted);
    let size: u64 = files(dir.path())
        .iter()
        .map(|file| file.metadata().unwrap().len())
        .sum();
    assert!(size < 1 << 20, "{size}");

    let target = tempdir();
    let mut volume = Volume::open(dir.path(), &key, root).unwrap();
    assert_eq!(volume.summary().bytes, 2 * LENGTH + 77);
    volume.restore_into(target.path()).unwrap();
    for (name, length) in [("sparse", LENGTH), ("hole", LENGTH + 77)] {
        let metadata = target.path().join(name).metadata().unwrap();
        assert_eq!(metadata.len(), length);
        assert!(metadata.blocks() * 512 < 1 << 20);
    }
    let file = File::open(target.path().join("sparse")).unwrap();
    for (at, expected) in [
        (0, "begin\0"),
        (3 << 30, "middle"),
        (LENGTH - 6, "\0\0\0\0\0\0"),
    ] {
        let mut bytes = [0; 6];
        file.read_exact_at(&mut bytes, at).unwrap();
        assert_eq!(bytes, expected.as_bytes());
    }
}

#[test]
fn what_a_volume_does_not_hold_is_refused_without_being_named() {
    let special = |make: &dyn Fn(&Path)| {
        let source = tempdir();
        fs::create_dir(source.path().join("dir-confidential")).unwrap();
        make(&source.path().join("dir-confidential/name-confidential"));
        let dir = tempdir();
        let key = SealingKey::generate();
        let (mut volume, root) = Volume::create(dir.path(), &key, Protection::Encrypted).unwrap();
        let error = volume.commit(source.path()).unwrap_err();
        assert!(!error.to_string().contains("confidential"), "{error}");
        let CommitError::Source(source) = error else {
            panic!("{error}");
        };
        assert_eq!(source.path(), "dir-confidential/name-confidential");
        assert_eq!(volume.root(), root);
        source.to_string()
    };
    let link = |target: &'static str| special(&move |path| symlink(target, path).unwrap());
    assert!(
        special(&|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()))
            .contains("socket")
    );
    for target in ["/etc/passwd", "../../out", "../dir-confidential/../.."] {
        assert!(link(target).contains("out of the volume"), "{target}");
    }
}

#[test]
fn bits_that_raise_privileges_are_dropped() {
    let source = tempdir();
    let path = source.path().join("tool");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    let Stored { key, dir, root, .. } = stored(source, Protection::Encrypted);
    let tree = restored(&mut Volume::open(dir.path(), &key, root).unwrap()).unwrap();
    assert!(matches!(
        tree[Path::new("tool")],
        common::Node::File { mode: 0o755, .. }
    ));
}

#[test]
fn only_an_empty_directory_is_restored_into() {
    let Stored { key, dir, root, .. } = stored(rich_tree(), Protection::Encrypted);
    let mut volume = Volume::open(dir.path(), &key, root).unwrap();
    let target = tempdir();
    // Of a stranger: a link where a directory of the volume goes.
    let outside = tempdir();
    symlink(outside.path(), target.path().join("dir")).unwrap();
    let error = volume.restore_into(target.path()).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty(_)), "{error}");
    assert_eq!(files(outside.path()), Vec::<std::path::PathBuf>::new());
    assert!(volume.restore_into(&target.path().join("missing")).is_err());
}

#[test]
fn two_writers_are_refused() {
    let Stored {
        key,
        dir,
        root,
        source,
    } = stored(rich_tree(), Protection::Encrypted);
    let volume = Volume::open(dir.path(), &key, root).unwrap();
    assert!(matches!(
        Volume::open(dir.path(), &key, root),
        Err(OpenError::InUse)
    ));
    assert!(matches!(
        Volume::create(dir.path(), &key, Protection::Encrypted),
        Err(CreateError::InUse)
    ));
    drop(volume);
    assert!(matches!(
        Volume::create(dir.path(), &key, Protection::Encrypted),
        Err(CreateError::AlreadyThere)
    ));
    // A state that another handle has prepared is not this one's to publish.
    let mut volume = Volume::open(dir.path(), &key, root).unwrap();
    write(source.path(), &[("new", b"1")]);
    let first = volume.prepare(source.path()).unwrap();
    write(source.path(), &[("new", b"2")]);
    let second = volume.prepare(source.path()).unwrap();
    assert!(matches!(
        volume.publish(&first),
        Err(CommitError::NotPrepared)
    ));
    volume.publish(&second).unwrap();
    volume.publish(&second).unwrap();
}

#[test]
fn forgotten_states_do_not_open() {
    let Stored {
        key,
        dir,
        root,
        source,
    } = stored(rich_tree(), Protection::Encrypted);
    let mut volume = Volume::open(dir.path(), &key, root).unwrap();
    assert!(matches!(volume.forget(root), Err(CollectError::InUse(_))));
    write(source.path(), &[("new", b"1")]);
    let prepared = volume.prepare(source.path()).unwrap();
    assert!(matches!(
        volume.forget(prepared.root()),
        Err(CollectError::InUse(_))
    ));
    // A collection keeps what is prepared.
    volume.garbage_collect(&[]).unwrap();
    let newest = volume.publish(&prepared).unwrap();
    volume.forget(root).unwrap();
    drop(volume);
    assert!(matches!(
        Volume::open(dir.path(), &key, root),
        Err(OpenError::NotHeld { found: Some(found), .. }) if found.root == newest
    ));
    let mut volume = Volume::open(dir.path(), &key, newest).unwrap();
    assert_eq!(restored(&mut volume).unwrap(), snapshot(source.path()));
    assert!(matches!(
        volume.garbage_collect(&[root]),
        Err(CollectError::State(_))
    ));
}

#[test]
fn readers_write_nothing_and_need_no_lock() {
    let Stored {
        key,
        dir,
        root,
        source,
    } = stored(rich_tree(), Protection::Encrypted);
    fs::remove_file(dir.path().join("lock")).unwrap();
    let before = snapshot(dir.path());
    let mut first = Snapshot::open(dir.path(), &key, root).unwrap();
    let mut second = Snapshot::open(dir.path(), &key, root).unwrap();
    assert_eq!(first.state().root, root);
    for reader in [&mut first, &mut second] {
        let target = tempdir();
        reader.restore_into(target.path()).unwrap();
        assert_eq!(snapshot(target.path()), snapshot(source.path()));
    }
    assert_eq!(snapshot(dir.path()), before);

    // Beside a writer, until that gives up the state.
    let mut writer = Volume::open(dir.path(), &key, root).unwrap();
    let found = Volume::inspect(dir.path(), &key, Some(root)).unwrap();
    assert!(matches!(found, Found::States { tracked: Some(state), .. } if state.root == root));
    write(source.path(), &[("small-2", b"new"), ("dir/tool", b"new")]);
    writer.commit(source.path()).unwrap();
    first.verify().unwrap();
    writer.garbage_collect(&[]).unwrap();
    assert!(first.verify().is_err());
    assert!(Snapshot::open(dir.path(), &key, root).is_err());
}

#[test]
fn a_volume_can_work_on_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Volume>();
    is_send::<Snapshot>();
}
