//! Objects, written once and found by name.

use std::collections::HashSet;
use std::io;

use mse_crypto::Zeroizing;

use crate::backing::{Area, Backing, Name};
use crate::manifest::Malformed;
use crate::seal::{Kind, MAX_OBJECT, ObjectId, Salt, VolumeKeys};

/// The objects of one volume.
pub(crate) struct Store {
    pub(crate) backing: Box<dyn Backing>,
    pub(crate) keys: VolumeKeys,
    /// Objects that this process has read or written whole: only these need not be written again.
    /// One that merely has its name may be the torn remainder of a crash.
    known: HashSet<ObjectId>,
    unsynced: Vec<ObjectId>,
    /// A write-back has failed. What the kernel then shows of the files is not what is on disk.
    failed: bool,
}

impl Store {
    pub(crate) fn new(backing: Box<dyn Backing>, keys: VolumeKeys) -> Self {
        Self {
            backing,
            keys,
            known: HashSet::new(),
            unsynced: Vec::new(),
            failed: false,
        }
    }

    /// Stores `content` unless it is there, and gives its name. It is durable after
    /// [`Store::sync`].
    pub(crate) fn put(&mut self, kind: Kind, salt: Salt, content: &[u8]) -> io::Result<ObjectId> {
        let id = self.keys.name(kind, salt, content);
        if self.known.contains(&id) {
            return Ok(id);
        }
        if !self.is_stored(kind, salt, id) {
            let stored = self.keys.seal(kind, id, content);
            self.backing.write(Name::Object(id), &stored)?;
        }
        self.unsynced.push(id);
        self.known.insert(id);
        Ok(id)
    }

    fn is_stored(&self, kind: Kind, salt: Salt, id: ObjectId) -> bool {
        self.backing
            .read(Name::Object(id), MAX_OBJECT)
            .ok()
            .flatten()
            .is_some_and(|stored| self.keys.open(kind, salt, id, &stored).is_some())
    }

    /// The content of an object, which is `length` bytes long.
    pub(crate) fn get(
        &mut self,
        kind: Kind,
        salt: Salt,
        id: ObjectId,
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, ReadError> {
        let stored = self
            .backing
            .read(Name::Object(id), MAX_OBJECT)
            .map_err(|source| ReadError::Unreadable {
                object: id.to_string(),
                source,
            })?
            .ok_or_else(|| ReadError::Missing(id.to_string()))?;
        let content = self
            .keys
            .open(kind, salt, id, &stored)
            .ok_or_else(|| ReadError::Changed(id.to_string()))?;
        if content.len() != length {
            return Err(Malformed("has a content of another size than it says").into());
        }
        self.known.insert(id);
        Ok(content)
    }

    /// Makes durable what [`Store::put`] has stored.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        let names: Vec<Name> = self.unsynced.iter().copied().map(Name::Object).collect();
        let synced = self
            .backing
            .sync_each(&names)
            .and_then(|()| self.backing.sync_area(Area::Objects));
        match synced {
            Ok(()) => {
                self.unsynced.clear();
                Ok(())
            }
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }

    /// An error if a write-back has failed before: nothing that is written now could be relied on.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other(
                "an earlier write did not reach the disk; open the volume again",
            ));
        }
        Ok(())
    }

    /// Removes all objects but `kept`.
    pub(crate) fn retain(&mut self, kept: &HashSet<ObjectId>) -> io::Result<u64> {
        let mut removed = 0;
        let backing = &self.backing;
        self.known.retain(|id| kept.contains(id));
        self.unsynced.retain(|id| kept.contains(id));
        backing.list(Area::Objects, &mut |name| {
            match name {
                Name::Object(id) if !kept.contains(&id) => {
                    backing.remove(name)?;
                    removed += 1;
                }
                _ => {}
            }
            Ok(())
        })?;
        backing.sync_area(Area::Objects)?;
        Ok(removed)
    }

    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let keys = VolumeKeys::derive(
            &mse_crypto::sealing::SealingKey::generate(),
            &crate::header::Header::new(crate::Protection::Encrypted),
        );
        Self::new(
            Box::new(crate::backing::memory::MemoryBacking::default()),
            keys,
        )
    }
}

/// Why a state of a volume cannot be read. Objects are named as the host sees them.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The backing directory has not the object.
    #[error(
        "the volume is not whole: its object `{0}` is missing; restore the directory from a copy of this state"
    )]
    Missing(String),
    /// The object is not the one that was stored.
    #[error(
        "the volume was changed: its object `{0}` is not what was stored; restore the directory from a copy of this state"
    )]
    Changed(String),
    /// The file system refuses, or it is no file of ours.
    #[error("the object `{object}` of the volume cannot be read: {source}")]
    Unreadable {
        /// The object.
        object: String,
        /// Why.
        source: io::Error,
    },
    /// Sealed under the right key, and yet not what this version writes.
    #[error("the volume is of another version or was written wrongly: {0}")]
    Malformed(#[from] Malformed),
}
