//! Giving up states, and the space of what only they had.

use std::collections::HashSet;
use std::io;

use crate::backing::{Area, Name};
use crate::state::{OpenError, read_head, read_state};
use crate::store::ReadError;
use crate::walk::{Collect, walk};
use crate::{Volume, VolumeRoot};

impl Volume {
    /// Removes every state but the open one, the one that is prepared, and those in `keep`; then
    /// every object that none of these has. If one of them cannot be read, nothing is removed.
    pub fn garbage_collect(&mut self, keep: &[VolumeRoot]) -> Result<Collected, CollectError> {
        let mut roots: HashSet<VolumeRoot> = keep.iter().copied().collect();
        roots.insert(self.current.root);
        roots.extend(self.prepared.map(|(root, _)| root));
        let mut objects = HashSet::new();
        for root in &roots {
            let manifest = read_state(&self.store, &self.header, *root)?;
            walk(&mut self.store, &manifest, &mut Collect(&mut objects))?;
        }
        if read_head(&self.store, &self.header).is_none_or(|head| !roots.contains(&head.root)) {
            self.point_head(self.current.root)?;
        }
        // States before objects: a crash between leaves objects without a state, never a state
        // without objects.
        let backing = &*self.store.backing;
        let mut states = 0;
        backing.list(Area::Roots, &mut |name| {
            match name {
                Name::Root(root) if !roots.contains(&root) => {
                    backing.remove(name)?;
                    states += 1;
                }
                _ => {}
            }
            Ok(())
        })?;
        backing.sync_area(Area::Roots)?;
        let objects = self.store.retain(&objects)?;
        Ok(Collected { states, objects })
    }

    /// Removes one state, so that it does not open again. Its space is reclaimed by the next
    /// [`Volume::garbage_collect`].
    pub fn forget(&mut self, older: VolumeRoot) -> Result<(), CollectError> {
        let prepared = self.prepared.map(|(root, _)| root);
        if older == self.current.root || Some(older) == prepared {
            return Err(CollectError::InUse(older));
        }
        if read_head(&self.store, &self.header).is_some_and(|head| head.root == older) {
            self.point_head(self.current.root)?;
        }
        self.store.backing.remove(Name::Root(older))?;
        Ok(self.store.backing.sync_area(Area::Roots)?)
    }
}

/// What was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Collected {
    /// States.
    pub states: u64,
    /// Objects.
    pub objects: u64,
}

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A state to keep cannot be opened.
    #[error("a state to keep does not open: {0}")]
    State(#[from] OpenError),
    /// A state to keep cannot be read.
    #[error("a state to keep cannot be read: {0}")]
    Read(#[from] ReadError),
    /// Asked to forget a state that is open or prepared.
    #[error("the state `{0}` is open or prepared and cannot be forgotten; publish another first")]
    InUse(VolumeRoot),
    /// The backing directory cannot be written.
    #[error("the backing directory cannot be written: {0}")]
    Backing(#[from] io::Error),
}
