//! The volume: states that come after one another, and the host's directory that holds them.

use std::io;
use std::path::Path;

use mse_crypto::sealing::SealingKey;

use crate::VolumeRoot;
use crate::backing::{Area, Backing, DirBacking, LockError, Name, replace};
use crate::blob::BlobRef;
use crate::header::{Header, MAX_HEADER, Protection};
use crate::manifest::{RootManifest, Summary};
use crate::prepare::{self, CommitError};
use crate::restore::{self, RestoreError};
use crate::seal::{ObjectId, Salt, VolumeKeys};
use crate::state::{
    Found, OpenError, StateInfo, info, open_backing, open_to_read, read_head, read_header,
    read_state,
};
use crate::store::{ReadError, Store};
use crate::walk::{Verify, walk};

/// An open volume, at one of its states. One process has a backing directory open at a time.
pub struct Volume {
    pub(crate) store: Store,
    pub(crate) header: Header,
    pub(crate) current: StateInfo,
    manifest: RootManifest,
    pub(crate) prepared: Option<(VolumeRoot, RootManifest)>,
}

/// A state that is durable beside the current one, and opens by its root from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prepared {
    state: StateInfo,
    unchanged: bool,
    unsettled: u64,
}

impl Prepared {
    /// What the CAS records before [`Volume::publish`].
    pub fn root(&self) -> VolumeRoot {
        self.state.root
    }

    /// Root, generation and parent.
    pub fn state(&self) -> StateInfo {
        self.state
    }

    /// The directory is as it was at the last commit: the root is the current one, and there is
    /// nothing to record.
    pub fn is_unchanged(&self) -> bool {
        self.unchanged
    }

    /// Files that were written to while they were read. The state has them as they were read;
    /// stop the service during `prepare` if that matters to it.
    pub fn unsettled(&self) -> u64 {
        self.unsettled
    }
}

impl Volume {
    /// Makes a volume with an empty tree in `dir`, which is made if it is missing. `key` is the
    /// volume's own: the keys in use are derived from it.
    ///
    /// The state is durable. Record its root before anything is committed.
    pub fn create(
        dir: &Path,
        key: &SealingKey,
        protection: Protection,
    ) -> Result<(Self, VolumeRoot), CreateError> {
        let backing = DirBacking::create(dir).map_err(|error| match error {
            LockError::InUse => CreateError::InUse,
            LockError::Io(error) => CreateError::Backing(error),
        })?;
        Self::create_on(Box::new(backing), key, protection)
    }

    pub(crate) fn create_on(
        backing: Box<dyn Backing>,
        key: &SealingKey,
        protection: Protection,
    ) -> Result<(Self, VolumeRoot), CreateError> {
        if backing
            .read(Name::Header, MAX_HEADER)
            .map_err(CreateError::Backing)?
            .is_some()
        {
            return Err(CreateError::AlreadyThere);
        }
        let header = Header::new(protection);
        let store = Store::new(backing, VolumeKeys::derive(key, &header));
        let manifest = RootManifest {
            protection,
            generation: 1,
            parent: None,
            summary: Summary::default(),
            tree: BlobRef {
                salt: Salt::generate(),
                size: 0,
                id: ObjectId::HOLE,
            },
        };
        let mut volume = Self {
            current: StateInfo {
                root: VolumeRoot::from_bytes([0; 32]),
                generation: 1,
                parent: None,
            },
            store,
            header,
            manifest,
            prepared: None,
        };
        let created = |volume: &mut Self| {
            volume.current.root = volume.write_manifest(&manifest)?;
            volume.point_head(volume.current.root)?;
            // The header comes last: without it there is no volume, and creation starts over.
            replace(
                &*volume.store.backing,
                Name::NewHeader,
                Name::Header,
                &header.encode(),
            )
        };
        created(&mut volume).map_err(CreateError::Backing)?;
        let root = volume.current.root;
        Ok((volume, root))
    }

    /// Opens the state with the root `expected`, which is the one that the CAS has recorded.
    /// An older copy of the directory, a fork, and one whose metadata was changed are refused.
    pub fn open(dir: &Path, key: &SealingKey, expected: VolumeRoot) -> Result<Self, OpenError> {
        Self::open_on(Box::new(open_backing(dir)?), key, expected)
    }

    pub(crate) fn open_on(
        backing: Box<dyn Backing>,
        key: &SealingKey,
        expected: VolumeRoot,
    ) -> Result<Self, OpenError> {
        let header = read_header(&*backing)?.ok_or(OpenError::NoVolume)?;
        let store = Store::new(backing, VolumeKeys::derive(key, &header));
        let manifest = match read_state(&store, &header, expected) {
            Err(OpenError::NotHeld { expected, .. }) => {
                let found = read_head(&store, &header);
                return Err(OpenError::NotHeld { expected, found });
            }
            read => read?,
        };
        Ok(Self {
            store,
            header,
            current: info(expected, &manifest),
            manifest,
            prepared: None,
        })
    }

    /// What `dir` holds, and whether it holds the state `tracked`. The directory may be missing.
    /// Nothing is written, and a writer may be at work.
    pub fn inspect(
        dir: &Path,
        key: &SealingKey,
        tracked: Option<VolumeRoot>,
    ) -> Result<Found, OpenError> {
        match open_to_read(dir) {
            Ok(backing) => Self::inspect_on(Box::new(backing), key, tracked),
            Err(OpenError::NoVolume) => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn inspect_on(
        backing: Box<dyn Backing>,
        key: &SealingKey,
        tracked: Option<VolumeRoot>,
    ) -> Result<Found, OpenError> {
        let Some(header) = read_header(&*backing)? else {
            return Ok(Found::Nothing);
        };
        let store = Store::new(backing, VolumeKeys::derive(key, &header));
        let tracked = match tracked.map(|root| (root, read_state(&store, &header, root))) {
            None | Some((_, Err(OpenError::NotHeld { .. }))) => None,
            Some((root, read)) => Some(info(root, &read?)),
        };
        Ok(Found::States {
            head: read_head(&store, &header),
            tracked,
        })
    }

    /// The state that is open.
    pub fn state(&self) -> StateInfo {
        self.current
    }

    /// The root of the state that is open.
    pub fn root(&self) -> VolumeRoot {
        self.current.root
    }

    /// What the tree amounts to: compare with the memory there is before restoring.
    pub fn summary(&self) -> Summary {
        self.manifest.summary
    }

    /// What the host can learn of the files, as fixed at creation. Compare with the session.
    pub fn protection(&self) -> Protection {
        self.header.protection
    }

    /// Reads and checks every object of the open state.
    pub fn verify(&mut self) -> Result<Summary, ReadError> {
        walk(&mut self.store, &self.manifest, &mut Verify)?;
        Ok(self.manifest.summary)
    }

    /// Restores the open state into the empty directory `target`. Nothing appears there under its
    /// name before all of the state has been checked; after an error the target is empty.
    pub fn restore_into(&mut self, target: &Path) -> Result<(), RestoreError> {
        restore::restore(&mut self.store, &self.manifest, target)
    }

    /// Stores the tree of `source` beside the open state, which stays as it is. What did not
    /// change is not written again. When this returns, both states are durable and open by their
    /// roots: have the CAS record the new one, then [`Volume::publish`].
    ///
    /// A state that was prepared and not published is given up.
    pub fn prepare(&mut self, source: &Path) -> Result<Prepared, CommitError> {
        self.store.check().map_err(CommitError::Backing)?;
        let tree = prepare::store_tree(&mut self.store, source, self.manifest.tree)?;
        let unsettled = tree.unsettled;
        if tree.listing == self.manifest.tree {
            self.prepared = Some((self.current.root, self.manifest));
            return Ok(Prepared {
                state: self.current,
                unchanged: true,
                unsettled,
            });
        }
        let manifest = RootManifest {
            protection: self.header.protection,
            generation: self.current.generation + 1,
            parent: Some(self.current.root),
            summary: tree.summary,
            tree: tree.listing,
        };
        let root = self
            .store
            .sync()
            .and_then(|()| self.write_manifest(&manifest))
            .map_err(CommitError::Backing)?;
        self.prepared = Some((root, manifest));
        Ok(Prepared {
            state: info(root, &manifest),
            unchanged: false,
            unsettled,
        })
    }

    /// Goes on to the state that was prepared last: the record says it is the newest. The head of
    /// the directory is set for those who track no root; if that fails, call again.
    pub fn publish(&mut self, prepared: &Prepared) -> Result<VolumeRoot, CommitError> {
        match self.prepared {
            Some((root, manifest)) if root == prepared.root() => {
                self.current = info(root, &manifest);
                self.manifest = manifest;
                self.prepared = None;
            }
            _ if prepared.root() == self.current.root => {}
            _ => return Err(CommitError::NotPrepared),
        }
        self.point_head(self.current.root)
            .map_err(CommitError::Backing)?;
        Ok(self.current.root)
    }

    /// [`Volume::prepare`] and [`Volume::publish`], for a volume whose root nobody tracks.
    pub fn commit(&mut self, source: &Path) -> Result<VolumeRoot, CommitError> {
        let prepared = self.prepare(source)?;
        self.publish(&prepared)
    }

    /// Makes a state durable, and gives its root.
    fn write_manifest(&self, manifest: &RootManifest) -> io::Result<VolumeRoot> {
        let backing = &*self.store.backing;
        let keys = &self.store.keys;
        let (root, sealed) = keys.seal_manifest(&self.header, &manifest.encode());
        backing.write(Name::Root(root), &sealed)?;
        backing.sync(Name::Root(root))?;
        backing.sync_area(Area::Roots)?;
        Ok(root)
    }

    pub(crate) fn point_head(&self, root: VolumeRoot) -> io::Result<()> {
        let content = format!("{root}\n");
        let backing = &*self.store.backing;
        replace(backing, Name::NewHead, Name::Head, content.as_bytes())
    }
}

/// Why a volume could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is one.
    #[error(
        "the directory holds a volume already: open it by its root, or choose an empty directory"
    )]
    AlreadyThere,
    /// Another process has it.
    #[error("the volume is in use by another process: stop that first")]
    InUse,
    /// The backing directory cannot be written.
    #[error("the backing directory cannot be written: {0}")]
    Backing(#[source] io::Error),
}
