//! The entries of a directory's listing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{Malformed, Reader};
use crate::blob::BlobRef;
use crate::{MAX_NAME, MAX_SIZE, MAX_TARGET};

/// Of a mode these bits are kept: set-user-id, set-group-id and sticky are not.
const MODE_BITS: u16 = 0o777;
const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const LINK: u8 = 3;

/// One file, directory or link, under its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name in its directory.
    pub name: EntryName,
    /// What it is.
    pub node: Node,
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// A regular file.
    File {
        /// Permission bits, at most 0o777.
        mode: u16,
        /// When it was last written.
        modified: Modified,
        /// Its content.
        content: BlobRef,
    },
    /// A directory.
    Directory {
        /// Permission bits, at most 0o777.
        mode: u16,
        /// Its listing.
        listing: BlobRef,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: LinkTarget,
    },
}

/// A time of the file system: seconds since 1970, and nanoseconds below 10⁹.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Modified {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// The name of an entry: 1 to [`MAX_NAME`] bytes without `/` and zero bytes, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EntryName(Vec<u8>);

impl EntryName {
    /// Reads a name.
    pub fn new(bytes: &[u8]) -> Result<Self, Malformed> {
        if (1..=MAX_NAME).contains(&bytes.len())
            && !bytes.iter().any(|byte| matches!(byte, b'/' | 0))
            && !matches!(bytes, b"." | b"..")
        {
            Ok(Self(bytes.to_vec()))
        } else {
            Err(Malformed("has a name that no file has"))
        }
    }

    /// As the file system takes it.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

/// The target of a symbolic link: relative, `..` only in front.
///
/// Such a target cannot lead out of the volume if it goes up at most as often as its directory is
/// deep: what follows names entries, and a link among them keeps to the same rule. A `..` after a
/// name could undo more than the name, because the name may be a link that goes up itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkTarget {
    bytes: Vec<u8>,
    ups: usize,
}

impl LinkTarget {
    /// Reads a target.
    pub fn new(bytes: &[u8]) -> Result<Self, Malformed> {
        const LEADS_OUT: Malformed =
            Malformed("has a link whose target may lead out of the volume");
        if bytes.is_empty() || bytes.len() > MAX_TARGET || bytes.contains(&0) {
            return Err(Malformed("has a link whose target no link has"));
        }
        if bytes[0] == b'/' {
            return Err(LEADS_OUT);
        }
        let (mut ups, mut named) = (0, false);
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." if named => return Err(LEADS_OUT),
                b".." => ups += 1,
                _ => named = true,
            }
        }
        Ok(Self {
            bytes: bytes.to_vec(),
            ups,
        })
    }

    /// Whether it stays inside, for a link in a directory `depth` below the top.
    pub fn stays_inside(&self, depth: usize) -> bool {
        self.ups <= depth
    }

    /// As the file system takes it.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.bytes)
    }
}

/// What stands at the front of a part of a listing.
pub(crate) enum Decoded {
    /// An entry, and the bytes it takes.
    Entry(Entry, usize),
    /// The beginning of one.
    Incomplete,
}

impl Entry {
    /// `kind (1) ‖ name length (1) ‖ name`, and then:
    ///
    /// | kind | |
    /// | --- | --- |
    /// | 1, a file | `mode (2) ‖ seconds (8) ‖ nanoseconds (4) ‖ content` |
    /// | 2, a directory | `mode (2) ‖ listing` |
    /// | 3, a link | `target length (2) ‖ target` |
    pub(crate) fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.push(match self.node {
            Node::File { .. } => FILE,
            Node::Directory { .. } => DIRECTORY,
            Node::Link { .. } => LINK,
        });
        bytes.push(u8::try_from(self.name.0.len()).expect("a name is at most 255 bytes long"));
        bytes.extend(&self.name.0);
        match &self.node {
            Node::File {
                mode,
                modified,
                content,
            } => {
                bytes.extend(mode.to_be_bytes());
                bytes.extend(modified.seconds.to_be_bytes());
                bytes.extend(modified.nanoseconds.to_be_bytes());
                content.encode_into(bytes);
            }
            Node::Directory { mode, listing } => {
                bytes.extend(mode.to_be_bytes());
                listing.encode_into(bytes);
            }
            Node::Link { target } => {
                let length =
                    u16::try_from(target.bytes.len()).expect("a target is at most 4095 bytes long");
                bytes.extend(length.to_be_bytes());
                bytes.extend(&target.bytes);
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, Malformed> {
        let mut reader = Reader(bytes);
        Ok(match Self::read(&mut reader)? {
            Some(entry) => Decoded::Entry(entry, bytes.len() - reader.0.len()),
            None => Decoded::Incomplete,
        })
    }

    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        let (Some(kind), Some(length)) = (reader.byte(), reader.byte()) else {
            return Ok(None);
        };
        let Some(name) = reader.take(length.into()) else {
            return Ok(None);
        };
        let name = EntryName::new(name)?;
        let node = match kind {
            FILE => {
                let (Some(mode), Some(seconds), Some(nanoseconds)) =
                    (reader.short(), reader.array(), reader.array())
                else {
                    return Ok(None);
                };
                let Some(content) = BlobRef::decode(reader)? else {
                    return Ok(None);
                };
                if content.size > MAX_SIZE {
                    return Err(Malformed("has a file over the bounds of a volume"));
                }
                Node::File {
                    mode: checked_mode(mode)?,
                    modified: Modified::new(
                        i64::from_be_bytes(seconds),
                        u32::from_be_bytes(nanoseconds),
                    )?,
                    content,
                }
            }
            DIRECTORY => {
                let Some(mode) = reader.short() else {
                    return Ok(None);
                };
                let Some(listing) = BlobRef::decode(reader)? else {
                    return Ok(None);
                };
                Node::Directory {
                    mode: checked_mode(mode)?,
                    listing,
                }
            }
            LINK => {
                let Some(length) = reader.short() else {
                    return Ok(None);
                };
                if usize::from(length) > MAX_TARGET {
                    return Err(Malformed("has a link whose target no link has"));
                }
                let Some(target) = reader.take(length.into()) else {
                    return Ok(None);
                };
                Node::Link {
                    target: LinkTarget::new(target)?,
                }
            }
            _ => return Err(Malformed("has an entry of an unknown kind")),
        };
        Ok(Some(Self { name, node }))
    }
}

impl Modified {
    /// A time.
    pub fn new(seconds: i64, nanoseconds: u32) -> Result<Self, Malformed> {
        if nanoseconds < 1_000_000_000 {
            Ok(Self {
                seconds,
                nanoseconds,
            })
        } else {
            Err(Malformed("has a time with a second of nanoseconds"))
        }
    }
}

/// All entries of a listing that is in memory as a whole, for tests and fuzzing: a volume's own
/// are read in pieces.
pub fn decode_listing(mut bytes: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut entries: Vec<Entry> = Vec::new();
    while !bytes.is_empty() {
        match Entry::decode(bytes)? {
            Decoded::Incomplete => return Err(super::CUT),
            Decoded::Entry(entry, length) => {
                if entries.last().is_some_and(|last| last.name >= entry.name) {
                    return Err(OUT_OF_ORDER);
                }
                entries.push(entry);
                bytes = &bytes[length..];
            }
        }
    }
    Ok(entries)
}

/// The form of these entries, in their order.
pub fn encode_listing(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        entry.encode_into(&mut bytes);
    }
    bytes
}

/// A name twice, or not after the one before.
pub(crate) const OUT_OF_ORDER: Malformed = Malformed("has an entry out of order or twice");

fn checked_mode(mode: u16) -> Result<u16, Malformed> {
    if mode & !MODE_BITS == 0 {
        Ok(mode)
    } else {
        Err(Malformed("has a mode with more than permission bits"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::{ObjectId, Salt};

    fn blob() -> impl Strategy<Value = BlobRef> {
        (any::<[u8; 16]>(), 1..MAX_SIZE, any::<[u8; 32]>()).prop_map(|(salt, size, id)| BlobRef {
            salt: Salt(salt),
            size,
            id: ObjectId(id),
        })
    }

    fn node() -> impl Strategy<Value = Node> {
        prop_oneof![
            (0u16..=0o777, any::<i64>(), 0u32..1_000_000_000, blob()).prop_map(
                |(mode, seconds, nanoseconds, content)| Node::File {
                    mode,
                    modified: Modified {
                        seconds,
                        nanoseconds
                    },
                    content,
                }
            ),
            (0u16..=0o777, blob()).prop_map(|(mode, listing)| Node::Directory { mode, listing }),
            "(\\.\\./){0,3}[a-z]{1,9}(/[a-z]{1,3}){0,3}".prop_map(|target| Node::Link {
                target: LinkTarget::new(target.as_bytes()).unwrap(),
            }),
        ]
    }

    fn listing() -> impl Strategy<Value = Vec<Entry>> {
        prop::collection::btree_map("[^/\0]{1,60}", node(), 0..12).prop_map(|entries| {
            entries
                .into_iter()
                .filter_map(|(name, node)| {
                    let name = EntryName::new(name.as_bytes()).ok()?;
                    Some(Entry { name, node })
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_listing_has_one_form(entries in listing(), at in any::<prop::sample::Index>(), byte: u8) {
            let bytes = encode_listing(&entries);
            prop_assert_eq!(decode_listing(&bytes), Ok(entries.clone()));
            if !bytes.is_empty() {
                let mut changed = bytes.clone();
                changed[at.index(bytes.len())] = byte;
                if let Ok(entries) = decode_listing(&changed) {
                    prop_assert_eq!(encode_listing(&entries), changed);
                }
            }
            if let [first, .., last] = &entries[..] {
                let swapped = encode_listing(&[last.clone(), first.clone()]);
                prop_assert_eq!(decode_listing(&swapped), Err(OUT_OF_ORDER));
                let twice = encode_listing(&[first.clone(), first.clone()]);
                prop_assert_eq!(decode_listing(&twice), Err(OUT_OF_ORDER));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            if let Ok(entries) = decode_listing(&bytes) {
                prop_assert_eq!(encode_listing(&entries), bytes);
            }
        }
    }

    #[test]
    fn names_that_leave_the_directory_are_none() {
        for bad in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b"/",
            b"a\0",
            &[b'a'; MAX_NAME + 1],
        ] {
            assert!(EntryName::new(bad).is_err(), "{bad:?}");
        }
        for good in [&b"..."[..], b"\xff\xfe", b"-", b" ", &[b'a'; MAX_NAME]] {
            assert!(EntryName::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn targets_that_may_leave_the_volume_are_none() {
        for bad in ["", "/", "/etc/passwd", "a/..", "a/../b", "../a/../b", "a\0"] {
            assert!(LinkTarget::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for (good, ups) in [
            ("a", 0),
            ("./a//b/.", 0),
            ("../a", 1),
            (".././..", 2),
            ("...", 0),
        ] {
            let target = LinkTarget::new(good.as_bytes()).unwrap();
            assert!(target.stays_inside(ups), "{good:?}");
            assert!(ups == 0 || !target.stays_inside(ups - 1), "{good:?}");
        }
    }
}
