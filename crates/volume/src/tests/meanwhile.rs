//! What others do while a volume is read or written.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use super::tree;
use crate::backing::memory::MemoryBacking;
use crate::backing::{Area, Backing, Name};
use crate::{Protection, RestoreError, Volume};
use mse_crypto::sealing::SealingKey;

/// Does something the first time that an object is read or written.
struct Interrupted {
    disk: MemoryBacking,
    first: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Interrupted {
    fn happen(&self, name: Name) {
        if matches!(name, Name::Object(_))
            && let Some(first) = self.first.lock().unwrap().take()
        {
            first();
        }
    }
}

impl Backing for Interrupted {
    fn read(&self, name: Name, limit: usize) -> io::Result<Option<Vec<u8>>> {
        self.happen(name);
        self.disk.read(name, limit)
    }

    fn write(&self, name: Name, content: &[u8]) -> io::Result<()> {
        self.happen(name);
        self.disk.write(name, content)
    }

    fn sync(&self, name: Name) -> io::Result<()> {
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

fn interrupted(disk: &MemoryBacking, first: impl FnOnce() + Send + 'static) -> Interrupted {
    Interrupted {
        disk: disk.clone(),
        first: Mutex::new(Some(Box::new(first))),
    }
}

#[test]
fn what_appears_in_the_target_is_left_and_nothing_beside_it() {
    let key = SealingKey::generate();
    let source = tree(&[("a", b"1"), ("d/f", b"2"), ("z", b"3")]);
    let disk = MemoryBacking::default();
    let (mut volume, _) =
        Volume::create_on(Box::new(disk.clone()), &key, Protection::Encrypted).unwrap();
    let root = volume.commit(source.path()).unwrap();
    let outside = tempfile::tempdir().unwrap();
    for name in ["a", "d", "z"] {
        let target = tempfile::tempdir().unwrap();
        let (path, to): (PathBuf, PathBuf) = (target.path().join(name), outside.path().into());
        let backing = interrupted(&disk, move || std::os::unix::fs::symlink(to, path).unwrap());
        let mut volume = Volume::open_on(Box::new(backing), &key, root).unwrap();
        let error = volume.restore_into(target.path()).unwrap_err();
        assert!(matches!(error, RestoreError::Target(_)), "{error}");
        let left: Vec<_> = fs::read_dir(target.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, [name]);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_file_that_grows_is_counted_and_one_that_goes_is_not_there() {
    let key = SealingKey::generate();
    let source = tree(&[("a", &vec![1; 70_000]), ("b", b"goes"), ("c", b"stays")]);
    let disk = MemoryBacking::default();
    let (volume, root) =
        Volume::create_on(Box::new(disk.clone()), &key, Protection::Encrypted).unwrap();
    drop(volume);
    let (grows, goes) = (source.path().join("a"), source.path().join("b"));
    let backing = interrupted(&disk, move || {
        let mut file = OpenOptions::new().append(true).open(grows).unwrap();
        file.write_all(b"more").unwrap();
        fs::remove_file(goes).unwrap();
    });
    let mut volume = Volume::open_on(Box::new(backing), &key, root).unwrap();
    let prepared = volume.prepare(source.path()).unwrap();
    assert_eq!(prepared.unsettled(), 1);
    volume.publish(&prepared).unwrap();
    let tree = super::restored(&mut volume).unwrap();
    let names: Vec<_> = tree.keys().collect();
    assert_eq!(names, ["a", "c"]);
    assert!(tree["a"].as_ref().unwrap().len() >= 70_000);
    assert_eq!(volume.prepare(source.path()).unwrap().unsettled(), 0);
}
