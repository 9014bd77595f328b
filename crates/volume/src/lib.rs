//! Encrypted volumes: directories that the host stores and cannot read, change or roll back unnoticed.
//!
//! A volume is a backing directory of an untrusted host, a 32-byte key, and a [`VolumeRoot`]. The
//! root pins exactly one state of all files: whoever keeps the newest root where the host cannot
//! change it (the CAS) is told when the host shows an older copy, a fork, or anything altered.
//!
//! | step | call |
//! | --- | --- |
//! | what does the directory hold? | [`Volume::inspect`], then [`policy::decide`] |
//! | first use | [`Volume::create`] |
//! | every other start | [`Volume::open`] with the tracked root, [`Volume::restore_into`] an empty directory |
//! | the same, with nothing written back | [`Snapshot::open`], [`Snapshot::restore_into`] |
//! | commit | [`Volume::prepare`], the CAS records the root, [`Volume::publish`] |
//! | reclaim space | [`Volume::garbage_collect`] |
//!
//! ```
//! # use mse_crypto::sealing::SealingKey;
//! # use mse_volume::{Protection, Volume};
//! # let dirs = tempfile::tempdir()?;
//! # let [backing, data, again] = ["backing", "data", "again"].map(|name| dirs.path().join(name));
//! # std::fs::create_dir(&data)?;
//! # std::fs::create_dir(&again)?;
//! let key = SealingKey::generate();
//! let (mut volume, _empty) = Volume::create(&backing, &key, Protection::Encrypted)?;
//! std::fs::write(data.join("ledger"), "100")?;
//! let prepared = volume.prepare(&data)?;
//! let tracked = prepared.root(); // The CAS records it here.
//! volume.publish(&prepared)?;
//! drop(volume);
//!
//! let mut volume = Volume::open(&backing, &key, tracked)?;
//! volume.restore_into(&again)?;
//! assert_eq!(std::fs::read(again.join("ledger"))?, b"100");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Between `prepare` and `publish` both states open by their root, so a crash of host, enclave or
//! CAS at any point leaves the one that the CAS has recorded.
//!
//! | module | what |
//! | --- | --- |
//! | [`volume`] | the volume: create, open, commit, collect |
//! | [`snapshot`] | one state, to read |
//! | [`state`], [`collect`] | the states of a directory: find one, give up others |
//! | [`policy`] | who may see which state: update policies, what to do at start |
//! | [`manifest`] | the plaintext of the metadata: root manifest, listings |
//! | [`prepare`], [`restore`] | directory to objects, objects to directory |
//! | [`blob`] | contents of any length as trees of sealed chunks |
//! | [`walk`] | all of a state, checked, for those who restore, verify or collect |
//! | [`store`], [`seal`] | objects, sealed and named by a keyed digest |
//! | [`backing`] | the host's directory, and the order in which it is written |
//!
//! Format and leaks: `docs/volumes.md`. Nothing here mounts, blocks on a network, or runs a task.
//! No message of an error shows a name or a byte of the volume: logs are read by the host.

mod backing;
mod blob;
mod collect;
mod header;
pub mod manifest;
pub mod policy;
mod prepare;
mod restore;
mod root;
mod seal;
mod snapshot;
mod state;
mod store;
mod volume;
mod walk;

pub use collect::{CollectError, Collected};
pub use header::{InvalidProtection, Protection};
pub use policy::UpdatePolicy;
pub use prepare::{CommitError, SourceError};
pub use restore::RestoreError;
pub use root::{InvalidRoot, VolumeRoot};
pub use snapshot::Snapshot;
pub use state::{Found, OpenError, StateInfo};
pub use store::ReadError;
pub use volume::{CreateError, Prepared, Volume};

/// Bytes of content in a chunk. Fixed, so that a page that changes inside a database changes one
/// chunk, and chunk lengths say nothing about content.
pub const CHUNK: usize = 64 * 1024;
/// A volume holds at most this many files, directories and links.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// The files of a volume hold at most this many bytes, holes counted: 256 GiB.
pub const MAX_SIZE: u64 = 256 << 30;
/// Directories nest at most this deep.
pub const MAX_DEPTH: usize = 60;
/// A name is at most this long, in bytes: what file systems can name.
pub const MAX_NAME: usize = 255;
/// A symbolic link's target is at most this long, in bytes.
pub const MAX_TARGET: usize = 4095;

#[cfg(test)]
mod tests;
