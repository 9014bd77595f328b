//! A host that answers the same question differently, or not at all.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{open, restored, tree};
use crate::backing::memory::MemoryBacking;
use crate::backing::{Area, Backing, Name};
use crate::{CommitError, Protection, Volume};
use mse_crypto::sealing::SealingKey;

/// Changes the answer to one read, or fails the first write-back.
struct Fickle {
    disk: MemoryBacking,
    reads: Arc<AtomicUsize>,
    wrong_read: usize,
    failing_sync: AtomicBool,
}

impl Backing for Fickle {
    fn read(&self, name: Name, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let content = self.disk.read(name, limit)?;
        Ok(
            if self.reads.fetch_add(1, Ordering::Relaxed) == self.wrong_read {
                content.map(|mut content| {
                    content[0] ^= 1;
                    content
                })
            } else {
                content
            },
        )
    }

    fn write(&self, name: Name, content: &[u8]) -> io::Result<()> {
        self.disk.write(name, content)
    }

    fn sync(&self, name: Name) -> io::Result<()> {
        if self.failing_sync.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("a write-back failed"));
        }
        self.disk.sync(name)
    }

    fn sync_area(&self, area: Area) -> io::Result<()> {
        self.disk.sync_area(area)
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: Name) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn list(&self, area: Area, visit: &mut dyn FnMut(Name) -> io::Result<()>) -> io::Result<()> {
        self.disk.list(area, visit)
    }
}

#[test]
fn one_wrong_answer_at_any_time_leaves_nothing() {
    let key = SealingKey::generate();
    let source = tree(&[
        ("a", b"1"),
        ("b/c", b"2"),
        ("b/d/e", &vec![7; 200_000]),
        ("z", b"3"),
    ]);
    let disk = MemoryBacking::default();
    let (mut volume, _) =
        Volume::create_on(Box::new(disk.clone()), &key, Protection::Encrypted).unwrap();
    let root = volume.commit(source.path()).unwrap();
    volume.verify().unwrap();

    for wrong_read in 0.. {
        let reads = Arc::new(AtomicUsize::new(0));
        let fickle = Fickle {
            disk: disk.clone(),
            reads: reads.clone(),
            wrong_read,
            failing_sync: AtomicBool::new(false),
        };
        let done = Volume::open_on(Box::new(fickle), &key, root)
            .ok()
            .and_then(|mut volume| {
                // Right the first time, wrong the second: checking once is not enough.
                volume.verify().ok()?;
                restored(&mut volume).ok()
            });
        if reads.load(Ordering::Relaxed) <= wrong_read {
            assert!(done.is_some());
            assert!(wrong_read > 15);
            return;
        }
        assert!(done.is_none(), "read {wrong_read}");
    }
}

#[test]
fn after_a_failed_write_back_nothing_is_prepared() {
    let key = SealingKey::generate();
    let source = tree(&[("a", b"1")]);
    let disk = MemoryBacking::default();
    let (_, root) = Volume::create_on(Box::new(disk.clone()), &key, Protection::Encrypted).unwrap();
    let failing = Fickle {
        disk: disk.clone(),
        reads: Arc::default(),
        wrong_read: usize::MAX,
        failing_sync: AtomicBool::new(true),
    };
    let mut volume = Volume::open_on(Box::new(failing), &key, root).unwrap();
    // The second time the disk is well, and what it shows is still not what it has.
    for _ in 0..2 {
        let error = volume.prepare(source.path()).unwrap_err();
        assert!(matches!(error, CommitError::Backing(_)), "{error}");
    }
    open(&disk, &key, root).commit(source.path()).unwrap();
}

#[test]
fn a_torn_object_of_an_earlier_crash_is_written_again() {
    let key = SealingKey::generate();
    let source = tree(&[("a", b"first")]);
    let disk = MemoryBacking::default();
    let (mut volume, _) =
        Volume::create_on(Box::new(disk.clone()), &key, Protection::Encrypted).unwrap();
    let root = volume.commit(source.path()).unwrap();
    // The next state is prepared, and its objects are torn, as if the machine had stopped.
    std::fs::write(source.path().join("a"), "second").unwrap();
    let mut before = Vec::new();
    disk.list(Area::Objects, &mut |name| {
        before.push(name);
        Ok(())
    })
    .unwrap();
    volume.prepare(source.path()).unwrap();
    let mut torn = 0;
    disk.list(Area::Objects, &mut |name| {
        if !before.contains(&name) {
            disk.write(name, b"torn").unwrap();
            torn += 1;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(torn, 2, "a chunk and a listing");
    let mut volume = open(&disk, &key, root);
    let root = volume.commit(source.path()).unwrap();
    let tree = restored(&mut open(&disk, &key, root)).unwrap();
    assert_eq!(tree["a"].as_deref(), Some(&b"second"[..]));
}
