//! A directory in memory that loses what was not made durable.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::{Area, Backing, Name};

/// Shared, so that a test sees what a volume leaves behind.
#[derive(Clone, Default)]
pub(crate) struct MemoryBacking(Arc<Mutex<Disk>>);

/// Files as inodes: a name that is durable may have a content that is not, and the reverse.
#[derive(Clone, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<Name, usize>,
    durable_names: BTreeMap<Name, usize>,
    /// Operations that still succeed; `None` for all.
    left: Option<usize>,
    done: usize,
}

#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    is_durable: bool,
}

/// What a crash does to what is not durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// All of it survives.
    Nothing,
    /// All of it is lost.
    Everything,
    /// Names survive, contents are empty.
    Contents,
    /// By the bits of this seed: names are lost or not, contents whole, cut or garbage.
    Mixed(u64),
}

impl MemoryBacking {
    /// Changing operations so far.
    pub(crate) fn done(&self) -> usize {
        self.0.lock().unwrap().done
    }

    /// A copy on which `operations` more changes succeed, and then none.
    pub(crate) fn failing_after(&self, operations: usize) -> Self {
        let mut disk = self.0.lock().unwrap().clone();
        disk.left = Some(operations);
        disk.done = 0;
        Self(Arc::new(Mutex::new(disk)))
    }

    /// The disk after the machine has lost power.
    pub(crate) fn after_crash(&self, loss: Loss) -> Self {
        let mut disk = self.0.lock().unwrap().clone();
        let mut seed = match loss {
            Loss::Mixed(seed) => seed,
            _ => 0,
        };
        let mut bits = |n: u64| {
            // Steele's SplitMix64: any well mixed sequence does.
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % n
        };
        let names: Vec<Name> = disk
            .names
            .keys()
            .chain(disk.durable_names.keys())
            .copied()
            .collect();
        for name in names {
            let (new, old) = (disk.names.get(&name), disk.durable_names.get(&name));
            let is_lost = match loss {
                Loss::Nothing | Loss::Contents => false,
                Loss::Everything => true,
                Loss::Mixed(_) => bits(2) == 0,
            };
            match if is_lost { old } else { new } {
                Some(inode) => disk.durable_names.insert(name, *inode),
                None => disk.durable_names.remove(&name),
            };
        }
        for inode in disk.inodes.iter_mut().filter(|inode| !inode.is_durable) {
            let fate = match loss {
                Loss::Nothing => 0,
                Loss::Everything | Loss::Contents => 1,
                Loss::Mixed(_) => bits(4),
            };
            match fate {
                0 => {}
                1 => inode.content.clear(),
                2 => inode.content.truncate(inode.content.len() / 2),
                _ => inode.content.fill(0xaa),
            }
        }
        disk.names = disk.durable_names.clone();
        disk.inodes
            .iter_mut()
            .for_each(|inode| inode.is_durable = true);
        disk.left = None;
        Self(Arc::new(Mutex::new(disk)))
    }

    /// Takes the lock, if one more change succeeds.
    fn change<T>(&self, change: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.0.lock().unwrap();
        match &mut disk.left {
            Some(0) => return Err(io::Error::other("the machine is off")),
            Some(left) => *left -= 1,
            None => {}
        }
        disk.done += 1;
        change(&mut disk)
    }
}

impl Disk {
    fn inode(&mut self, name: Name) -> io::Result<&mut Inode> {
        let inode = *self.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.inodes[inode])
    }
}

impl Backing for MemoryBacking {
    fn read(&self, name: Name, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let disk = self.0.lock().unwrap();
        let content = disk
            .names
            .get(&name)
            .map(|inode| disk.inodes[*inode].content.clone());
        match content {
            Some(content) if content.len() > limit => Err(io::Error::other("too long")),
            content => Ok(content),
        }
    }

    fn write(&self, name: Name, content: &[u8]) -> io::Result<()> {
        // As the directory does it: removed, made, written; a crash may come between.
        self.remove(name)?;
        self.change(|disk| {
            disk.inodes.push(Inode::default());
            let inode = disk.inodes.len() - 1;
            disk.names.insert(name, inode);
            Ok(())
        })?;
        self.change(|disk| {
            disk.inode(name)?.content = content.to_vec();
            Ok(())
        })
    }

    fn sync(&self, name: Name) -> io::Result<()> {
        self.change(|disk| {
            disk.inode(name)?.is_durable = true;
            Ok(())
        })
    }

    fn sync_area(&self, area: Area) -> io::Result<()> {
        self.change(|disk| {
            disk.durable_names.retain(|name, _| name.area() != area);
            let names = disk.names.iter().filter(|(name, _)| name.area() == area);
            disk.durable_names.extend(names);
            Ok(())
        })
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        self.change(|disk| {
            let inode = disk.names.remove(&from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to, inode);
            Ok(())
        })
    }

    fn remove(&self, name: Name) -> io::Result<()> {
        self.change(|disk| {
            disk.names.remove(&name);
            Ok(())
        })
    }

    fn list(&self, area: Area, visit: &mut dyn FnMut(Name) -> io::Result<()>) -> io::Result<()> {
        let names: Vec<Name> = self.0.lock().unwrap().names.keys().copied().collect();
        names
            .into_iter()
            .filter(|name| name.area() == area)
            .try_for_each(visit)
    }
}
