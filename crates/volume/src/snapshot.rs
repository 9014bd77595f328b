//! One state, to read.

use std::path::Path;

use mse_crypto::sealing::SealingKey;

use crate::manifest::Summary;
use crate::restore::RestoreError;
use crate::state::{OpenError, StateInfo, open_to_read};
use crate::store::ReadError;
use crate::{Protection, Volume, VolumeRoot};

/// One state, for services whose changes are not written back. Nothing is written to the backing
/// directory, which may be read-only; many can be open, and a writer beside them. If the writer
/// gives up the state meanwhile, reading it fails.
pub struct Snapshot(Volume);

impl Snapshot {
    /// Opens the state with the root `expected`, as [`Volume::open`] does.
    pub fn open(dir: &Path, key: &SealingKey, expected: VolumeRoot) -> Result<Self, OpenError> {
        Volume::open_on(Box::new(open_to_read(dir)?), key, expected).map(Self)
    }

    /// Root, generation and parent.
    pub fn state(&self) -> StateInfo {
        self.0.state()
    }

    /// What the tree amounts to: compare with the memory there is before restoring.
    pub fn summary(&self) -> Summary {
        self.0.summary()
    }

    /// What the host can learn of the files, as fixed at creation. Compare with the session.
    pub fn protection(&self) -> Protection {
        self.0.protection()
    }

    /// Reads and checks every object, as [`Volume::verify`] does.
    pub fn verify(&mut self) -> Result<Summary, ReadError> {
        self.0.verify()
    }

    /// Restores into the empty directory `target`, as [`Volume::restore_into`] does.
    pub fn restore_into(&mut self, target: &Path) -> Result<(), RestoreError> {
        self.0.restore_into(target)
    }
}
