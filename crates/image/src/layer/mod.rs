//! Layers: what a tar archive changes in a file system.

mod read;
mod write;

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

pub use read::{InvalidLayer, Limits, index, visit};
pub use write::{Layer, LayerWriter};

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By gzip.
    Gzip,
}

/// One change that a layer makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Absolute, of plain parts.
    pub path: String,
    /// What happens there.
    pub kind: ChangeKind,
}

/// What happens at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// There is a folder; what was in it stays.
    Folder {
        /// The nine permission bits.
        mode: u32,
    },
    /// There is a file.
    File {
        /// The nine permission bits.
        mode: u32,
        /// SHA-256 of the content.
        digest: Digest,
        /// Length of the content.
        size: u64,
        /// Which entry of the archive has the content: counted from 0, without the headers that
        /// only carry long names.
        entry: u64,
    },
    /// There is a symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
    /// There is the file of another path.
    Same {
        /// That path, absolute.
        path: String,
    },
    /// There is nothing any more.
    Gone,
    /// In this folder there is nothing any more of what lower layers have.
    Emptied,
}

/// All changes of a layer, in the order of its archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerIndex(pub Vec<Change>);
