//! The part of a commit that reads and writes files. Everything here blocks.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mse_volume::{CommitError, Prepared, Volume};

use super::error::{Problem, VolumeError};
use super::order::{Opened, Order};
use super::path_of;
use super::tree::{Looks, hand_over};

/// Old states are given up at the start, and then each time after so many commits: to find what can
/// go, all listings are read.
const COLLECT_AFTER: u32 = 32;

/// Where the program sees a volume: one of the sandbox's directories.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) directories: Arc<Vec<OwnedFd>>,
    pub(super) index: usize,
}

impl Site {
    fn directory(&self) -> io::Result<&OwnedFd> {
        self.directories
            .get(self.index)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A volume whose changes are written back.
pub(super) struct Kept {
    pub(super) name: String,
    /// The counter of the recorded state.
    pub(super) sequence: u64,
    volume: Volume,
    site: Site,
    /// What the directory looked like at the last commit.
    looks: Option<Looks>,
    commits: u32,
}

/// Puts the opened state into the program's directory, which is empty. Gives what is kept of it.
pub(super) fn restore(
    order: &Order,
    opened: Opened,
    sequence: u64,
    site: &Site,
) -> Result<Option<Kept>, VolumeError> {
    let failed = |problem| VolumeError {
        name: order.name.clone(),
        problem,
    };
    let directory = || {
        site.directory()
            .map_err(|error| failed(Problem::HandOver(error)))
    };
    let volume = match opened {
        Opened::Nothing => None,
        Opened::ToRead(mut snapshot) => {
            snapshot
                .restore_into(&path_of(directory()?))
                .map_err(|error| failed(Problem::of_restore(error)))?;
            None
        }
        Opened::ToWrite { mut volume, .. } => {
            volume
                .restore_into(&path_of(directory()?))
                .map_err(|error| failed(Problem::of_restore(error)))?;
            Some(volume)
        }
    };
    hand_over(directory()?).map_err(|error| failed(Problem::HandOver(error)))?;
    Ok(volume.map(|volume| {
        let mut kept = Kept {
            name: order.name.clone(),
            sequence,
            volume,
            looks: None,
            site: site.clone(),
            commits: 0,
        };
        kept.collect();
        kept.looks = kept.look();
        kept
    }))
}

impl Kept {
    /// Whether the directory looks other than at the last commit. What cannot be looked at has
    /// changed.
    pub(super) fn has_changed(&self) -> bool {
        let now = self.look();
        now.is_none() || now != self.looks
    }

    /// Makes a state of the directory as it is durable, beside the recorded one; `None`: there is
    /// nothing new.
    pub(super) fn prepare(&mut self) -> Result<Option<Prepared>, CommitError> {
        let looks = self.look();
        let path = path_of(self.site.directory().map_err(CommitError::Backing)?);
        let prepared = self.volume.prepare(&path)?;
        self.looks = looks;
        Ok((!prepared.is_unchanged()).then_some(prepared))
    }

    /// Goes on from a state that was recorded.
    pub(super) fn publish(&mut self, prepared: &Prepared, sequence: u64) {
        self.sequence = sequence;
        // The record decides, and `head` is a hint.
        if let Err(error) = self.volume.publish(prepared) {
            tracing::warn!(volume = self.name, %error, "the head of the volume is not the newest state");
        }
        self.commits += 1;
        if self.commits.is_multiple_of(COLLECT_AFTER) {
            self.collect();
        }
    }

    /// Gives up all but the recorded state.
    fn collect(&mut self) {
        if let Err(error) = self.volume.garbage_collect(&[]) {
            tracing::warn!(volume = self.name, %error, "old states of the volume still take space");
        }
    }

    fn look(&self) -> Option<Looks> {
        self.site.directory().and_then(Looks::of).ok()
    }
}
