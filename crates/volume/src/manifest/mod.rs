//! The plaintext of a volume's metadata: the root manifest and the listings of directories.
//!
//! | what | form |
//! | --- | --- |
//! | root manifest | fixed length, one per state; sealed, it is what the root is computed over |
//! | listing | one per directory: entries in strictly ascending order of name, nothing between |
//!
//! Every value has exactly one form: what decodes encodes to the same bytes. Nothing here needs a
//! key, and no bytes make it panic: `fuzz/targets/volume.rs`.

mod entry;

pub use crate::blob::BlobRef;
pub use entry::{Entry, EntryName, LinkTarget, Modified, Node, decode_listing, encode_listing};

pub(crate) use entry::{Decoded, OUT_OF_ORDER};

use crate::header::Protection;
use crate::{MAX_ENTRIES, MAX_SIZE, VolumeRoot};

const VERSION: u8 = 1;

/// One state of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootManifest {
    /// As in the header.
    pub protection: Protection,
    /// 1 when the volume is created, and 1 more with every commit.
    pub generation: u64,
    /// The state this one was made from.
    pub parent: Option<VolumeRoot>,
    /// What the tree amounts to.
    pub summary: Summary,
    /// The listing of the top directory.
    pub tree: BlobRef,
}

/// What a tree amounts to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Regular files.
    pub files: u64,
    /// Directories, without the top one.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes in the files, holes counted.
    pub bytes: u64,
}

impl Summary {
    /// Counts one more entry; `false` if that is over the bounds of a volume.
    pub(crate) fn add(&mut self, node: &Node) -> bool {
        match node {
            Node::File { content, .. } => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(content.size);
            }
            Node::Directory { .. } => self.directories += 1,
            Node::Link { .. } => self.links += 1,
        }
        self.is_within_bounds()
    }

    fn is_within_bounds(&self) -> bool {
        self.bytes <= MAX_SIZE
            && [self.files, self.directories, self.links]
                .iter()
                .try_fold(0u64, |sum, count| sum.checked_add(*count))
                .is_some_and(|entries| entries <= MAX_ENTRIES)
    }
}

impl RootManifest {
    /// Bytes of an encoded root manifest.
    pub const LENGTH: usize = 1 + 1 + 8 + 32 + 4 * 8 + BlobRef::LENGTH;

    /// `version ‖ protection ‖ generation ‖ parent, or zeros ‖ files ‖ directories ‖ links ‖ bytes
    /// ‖ tree`, numbers big-endian of 8 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LENGTH);
        bytes.push(VERSION);
        bytes.push(match self.protection {
            Protection::Encrypted => 0,
            Protection::AuthenticatedOnly => 1,
        });
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(self.parent.map_or([0; 32], |parent| *parent.as_bytes()));
        let Summary {
            files,
            directories,
            links,
            bytes: size,
        } = self.summary;
        for number in [files, directories, links, size] {
            bytes.extend(number.to_be_bytes());
        }
        self.tree.encode_into(&mut bytes);
        bytes
    }

    /// Reads what [`RootManifest::encode`] makes, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        if reader.byte().ok_or(CUT)? != VERSION {
            return Err(Malformed("has another version than 1"));
        }
        let protection = match reader.byte().ok_or(CUT)? {
            0 => Protection::Encrypted,
            1 => Protection::AuthenticatedOnly,
            _ => return Err(Malformed("has an unknown protection")),
        };
        let generation = reader.number().ok_or(CUT)?;
        let parent = reader.array::<32>().ok_or(CUT)?;
        let summary = Summary {
            files: reader.number().ok_or(CUT)?,
            directories: reader.number().ok_or(CUT)?,
            links: reader.number().ok_or(CUT)?,
            bytes: reader.number().ok_or(CUT)?,
        };
        let tree = BlobRef::decode(&mut reader)?.ok_or(CUT)?;
        let parent = (parent != [0; 32]).then(|| VolumeRoot::from_bytes(parent));
        if !reader.0.is_empty() {
            return Err(Malformed("goes on after its end"));
        }
        // The first state has no parent, and every other has one.
        if generation == 0 || (generation == 1) != parent.is_none() {
            return Err(Malformed("has a generation that does not fit its parent"));
        }
        if !summary.is_within_bounds() {
            return Err(Malformed("is over the bounds of a volume"));
        }
        Ok(Self {
            protection,
            generation,
            parent,
            summary,
            tree,
        })
    }
}

const CUT: Malformed = Malformed("ends early");

/// Bytes that are no manifest. The message holds nothing of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the metadata {0}")]
pub struct Malformed(pub(crate) &'static str);

/// Takes fields from the front; `None` where they end.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::{ObjectId, Salt};

    fn example() -> RootManifest {
        RootManifest {
            protection: Protection::Encrypted,
            generation: 7,
            parent: Some(VolumeRoot::from_bytes([9; 32])),
            summary: Summary {
                files: 1,
                directories: 2,
                links: 3,
                bytes: 4,
            },
            tree: BlobRef {
                salt: Salt([5; 16]),
                size: 6,
                id: ObjectId([7; 32]),
            },
        }
    }

    #[test]
    fn a_root_manifest_has_one_form() {
        let bytes = example().encode();
        assert_eq!(bytes.len(), RootManifest::LENGTH);
        assert_eq!(RootManifest::decode(&bytes), Ok(example()));
        for length in 0..bytes.len() {
            assert_eq!(RootManifest::decode(&bytes[..length]), Err(CUT));
        }
        assert!(RootManifest::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let refused = |change: fn(&mut RootManifest)| {
            let mut manifest = example();
            change(&mut manifest);
            RootManifest::decode(&manifest.encode()).unwrap_err();
        };
        refused(|manifest| manifest.generation = 0);
        refused(|manifest| manifest.generation = 1);
        refused(|manifest| manifest.parent = None);
        refused(|manifest| manifest.summary.files = MAX_ENTRIES);
        refused(|manifest| manifest.summary.links = u64::MAX);
        refused(|manifest| manifest.summary.bytes = MAX_SIZE + 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
            let _ = RootManifest::decode(&bytes);
            let mut changed = example().encode();
            for (at, byte) in flips {
                let at = at.index(changed.len());
                changed[at] = byte;
            }
            if let Ok(manifest) = RootManifest::decode(&changed) {
                prop_assert_eq!(manifest.encode(), changed);
            }
        }
    }
}
