//! File systems as lists of what is in them: layers laid over each other, or a folder on disk.

mod apply;
mod difference;
mod digest;
mod scan;

use std::collections::BTreeMap;

use mse_crypto::Digest;

pub use apply::ApplyError;
pub(crate) use difference::difference;
pub use digest::root_digest;
pub use scan::{ScanError, scan};

/// A file system, by absolute path. The root itself is not in it; every other folder is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSystem {
    nodes: BTreeMap<String, Node>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Folder {
        /// The nine permission bits.
        mode: u32,
    },
    /// A file.
    File(FileNode),
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
}

/// A file.
#[derive(Clone, Copy, Debug)]
pub struct FileNode {
    /// The nine permission bits.
    pub mode: u32,
    /// SHA-256 of the content.
    pub digest: Digest,
    /// Length of the content.
    pub size: u64,
    /// Which layer has the content, counted from the lowest, and which of its entries. Nothing for
    /// a folder on disk.
    pub source: Option<(usize, u64)>,
}

/// Where the content lies makes no other file of it.
impl PartialEq for FileNode {
    fn eq(&self, other: &Self) -> bool {
        (self.mode, self.digest, self.size) == (other.mode, other.digest, other.size)
    }
}

impl Eq for FileNode {}

impl FileSystem {
    /// What is at the absolute `path`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All paths in byte order, and what is there.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// What is below the folder at the absolute `path`.
    pub fn below(&self, path: &str) -> impl Iterator<Item = (&str, &Node)> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let from = prefix.clone();
        self.nodes
            .range(from..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, node)| (path.as_str(), node))
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.nodes
            .values()
            .map(|node| match node {
                Node::File(file) => file.size,
                _ => 0,
            })
            .sum()
    }

    fn remove_below(&mut self, path: &str) {
        let inside: Vec<String> = self.below(path).map(|(path, _)| path.to_owned()).collect();
        for path in inside {
            self.nodes.remove(&path);
        }
    }
}
