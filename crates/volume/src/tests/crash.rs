//! The machine stops after each operation in turn, and loses what was not durable in many ways.

use super::{open, restored, snapshot, tree};
use crate::backing::memory::{Loss, MemoryBacking};
use crate::policy::{Decision, Record, decide};
use crate::{Protection, UpdatePolicy, Volume};
use mse_crypto::sealing::SealingKey;

const LOSSES: [Loss; 8] = [
    Loss::Nothing,
    Loss::Everything,
    Loss::Contents,
    Loss::Mixed(1),
    Loss::Mixed(2),
    Loss::Mixed(3),
    Loss::Mixed(4),
    Loss::Mixed(5),
];

fn trees() -> (tempfile::TempDir, tempfile::TempDir) {
    let old = tree(&[
        ("kept", b"the same in both"),
        ("changed", b"old"),
        ("removed", b"only in the old"),
        ("sub/kept", b"the same in both"),
    ]);
    let new = tree(&[("changed", b"new"), ("sub/added", b"only in the new")]);
    for kept in ["kept", "sub/kept"] {
        // With its time: a file that was not touched.
        let copied = std::process::Command::new("cp")
            .arg("-p")
            .args([old.path().join(kept), new.path().join(kept)])
            .status();
        assert!(copied.unwrap().success());
    }
    (old, new)
}

#[test]
fn a_commit_leaves_the_old_state_and_from_its_record_on_the_new() {
    let key = SealingKey::generate();
    let (old, new) = trees();
    let (old_tree, new_tree) = (snapshot(old.path()), snapshot(new.path()));
    let disk = MemoryBacking::default();
    let (mut volume, _) =
        Volume::create_on(Box::new(disk.clone()), &key, Protection::Encrypted).unwrap();
    let old_root = volume.commit(old.path()).unwrap();

    let (mut stopped_before, mut stopped_between) = (0, 0);
    for operations in 0.. {
        let running = disk.failing_after(operations);
        let mut volume = open(&running, &key, old_root);
        let prepared = volume.prepare(new.path());
        let published = prepared
            .as_ref()
            .ok()
            .map(|prepared| volume.publish(prepared));
        for loss in LOSSES {
            let context = format!("after {operations} operations, {loss:?}");
            let crashed = running.after_crash(loss);
            // What the CAS has not heard of does not take the place of the old.
            let mut volume = open(&crashed, &key, old_root);
            assert_eq!(restored(&mut volume).unwrap(), old_tree, "{context}");
            if let Ok(prepared) = &prepared {
                let mut volume = open(&crashed, &key, prepared.root());
                assert_eq!(restored(&mut volume).unwrap(), new_tree, "{context}");
            }
            // Going on from the old state works, over whatever the crash has left, and is
            // durable in its turn.
            let prepared = volume.prepare(new.path()).unwrap();
            let crashed = crashed.after_crash(Loss::Everything);
            let mut volume = open(&crashed, &key, prepared.root());
            assert_eq!(restored(&mut volume).unwrap(), new_tree, "{context}");
            let mut volume = open(&crashed, &key, old_root);
            assert_eq!(restored(&mut volume).unwrap(), old_tree, "{context}");
        }
        match published {
            None => stopped_before += 1,
            Some(Err(_)) => stopped_between += 1,
            Some(Ok(root)) => {
                let found = Volume::inspect_on(Box::new(running), &key, None).unwrap();
                let decision = decide(
                    UpdatePolicy::NoRollbackProtection,
                    Record::Untracked,
                    &found,
                );
                assert_eq!(decision, Ok(Decision::Open(root)));
                break;
            }
        }
    }
    assert!(stopped_before > 15, "{stopped_before}");
    assert!(stopped_between > 3, "{stopped_between}");
}

#[test]
fn the_head_is_the_old_state_or_the_new() {
    let key = SealingKey::generate();
    let (old, new) = trees();
    let disk = MemoryBacking::default();
    let (mut volume, _) =
        Volume::create_on(Box::new(disk.clone()), &key, Protection::Encrypted).unwrap();
    let old_root = volume.commit(old.path()).unwrap();
    let total = {
        let running = disk.failing_after(usize::MAX);
        open(&running, &key, old_root).commit(new.path()).unwrap();
        running.done()
    };
    for operations in 0..total {
        let running = disk.failing_after(operations);
        let mut volume = open(&running, &key, old_root);
        let prepared = volume.prepare(new.path());
        if let Ok(prepared) = &prepared {
            let _ = volume.publish(prepared);
        }
        for loss in LOSSES {
            let crashed = running.after_crash(loss);
            let found = Volume::inspect_on(Box::new(crashed.clone()), &key, None).unwrap();
            let decision = decide(
                UpdatePolicy::NoRollbackProtection,
                Record::Untracked,
                &found,
            );
            let Ok(Decision::Open(root)) = decision else {
                panic!("after {operations} operations, {loss:?}: {decision:?}");
            };
            let new_root = prepared.as_ref().ok().map(crate::Prepared::root);
            assert!(root == old_root || Some(root) == new_root);
            restored(&mut open(&crashed, &key, root)).unwrap();
        }
    }
}

#[test]
fn a_collection_never_takes_what_is_kept() {
    let key = SealingKey::generate();
    let (old, new) = trees();
    let (old_tree, new_tree) = (snapshot(old.path()), snapshot(new.path()));
    let disk = MemoryBacking::default();
    let (mut volume, first) =
        Volume::create_on(Box::new(disk.clone()), &key, Protection::Encrypted).unwrap();
    let old_root = volume.commit(old.path()).unwrap();
    let new_root = volume.commit(new.path()).unwrap();
    for keep in [&[][..], &[old_root]] {
        for operations in 0.. {
            let running = disk.failing_after(operations);
            let collected = open(&running, &key, new_root).garbage_collect(keep);
            for loss in LOSSES {
                let crashed = running.after_crash(loss);
                let mut volume = open(&crashed, &key, new_root);
                assert_eq!(restored(&mut volume).unwrap(), new_tree);
                if !keep.is_empty() {
                    let mut volume = open(&crashed, &key, old_root);
                    assert_eq!(restored(&mut volume).unwrap(), old_tree);
                }
                // A second run finishes what the first began.
                volume.garbage_collect(keep).unwrap();
                assert_eq!(volume.garbage_collect(keep).unwrap().objects, 0);
                for (root, is_kept) in [(first, false), (old_root, !keep.is_empty())] {
                    let opened = Volume::open_on(Box::new(crashed.clone()), &key, root);
                    assert_eq!(opened.is_ok(), is_kept);
                }
            }
            if collected.is_ok() {
                assert!(operations > 2);
                break;
            }
        }
    }
}

#[test]
fn a_creation_is_whole_or_starts_over() {
    let key = SealingKey::generate();
    for operations in 0.. {
        let running = MemoryBacking::default().failing_after(operations);
        let created = Volume::create_on(Box::new(running.clone()), &key, Protection::Encrypted);
        for loss in LOSSES {
            let crashed = running.after_crash(loss);
            let found = Volume::inspect_on(Box::new(crashed.clone()), &key, None).unwrap();
            match decide(UpdatePolicy::RollbackProtected, Record::Unused, &found) {
                Ok(Decision::Adopt(root)) => _ = restored(&mut open(&crashed, &key, root)).unwrap(),
                Ok(Decision::Initialise) => {
                    assert!(created.is_err(), "a volume that was created is lost");
                    let (_, root) =
                        Volume::create_on(Box::new(crashed.clone()), &key, Protection::Encrypted)
                            .unwrap();
                    open(&crashed.after_crash(Loss::Everything), &key, root);
                }
                other => panic!("after {operations} operations, {loss:?}: {other:?}"),
            }
        }
        if created.is_ok() {
            assert!(operations > 10);
            return;
        }
    }
}
