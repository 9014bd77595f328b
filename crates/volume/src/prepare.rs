//! From a directory to objects.
//!
//! The directory may be in use. What disappears while it is read was not there; what changes
//! meanwhile is taken as it was read, and counted ([`crate::Prepared::unsettled`]).

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use mse_crypto::Zeroizing;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::blob::{BlobRef, BlobWriter};
use crate::manifest::{Entry, EntryName, LinkTarget, Modified, Node, Summary};
use crate::seal::{Kind, Salt};
use crate::store::{ReadError, Store};
use crate::walk::ListingReader;
use crate::{CHUNK, MAX_DEPTH, MAX_ENTRIES, MAX_SIZE};

/// The tree of `source` as objects, not synced yet.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) listing: BlobRef,
    pub(crate) summary: Summary,
    pub(crate) unsettled: u64,
}

/// Stores what is in `source`; what it shares with the tree `previous` is there already.
pub(crate) fn store_tree(
    store: &mut Store,
    source: &Path,
    previous: BlobRef,
) -> Result<Tree, CommitError> {
    let mut walk = Walk {
        store,
        summary: Summary::default(),
        unsettled: 0,
        path: Vec::new(),
        chunk: Zeroizing::new(vec![0; CHUNK]),
    };
    let top = File::open(source).map_err(|error| walk.error(SourceProblem::Io(error)))?;
    let listing = walk.directory(&top.into(), Some(previous))?;
    Ok(Tree {
        listing,
        summary: walk.summary,
        unsettled: walk.unsettled,
    })
}

struct Walk<'a> {
    store: &'a mut Store,
    summary: Summary,
    unsettled: u64,
    path: Vec<EntryName>,
    /// What is read of a file: one for all, because to wipe one for each costs more than reading.
    chunk: Zeroizing<Vec<u8>>,
}

impl Walk<'_> {
    fn directory(
        &mut self,
        dir: &OwnedFd,
        previous: Option<BlobRef>,
    ) -> Result<BlobRef, CommitError> {
        if self.path.len() > MAX_DEPTH {
            return Err(self.error(SourceProblem::TooDeep));
        }
        let salt = previous.map_or_else(Salt::generate, |previous| previous.salt);
        let mut previous = Previous::new(previous);
        let mut listing = BlobWriter::new(Kind::Listing, salt);
        let mut encoded = Vec::new();
        for name in self.names(dir)? {
            let previous = previous.find(self.store, &name)?;
            self.path.push(name.clone());
            let node = self.node(dir, &name, previous.as_ref())?;
            self.path.pop();
            let Some(node) = node else {
                continue;
            };
            if !self.summary.add(&node) {
                return Err(CommitError::TooLarge);
            }
            encoded.clear();
            Entry { name, node }.encode_into(&mut encoded);
            listing
                .write(self.store, &encoded)
                .map_err(CommitError::Backing)?;
        }
        listing.finish(self.store).map_err(CommitError::Backing)
    }

    /// The names in a directory, sorted.
    fn names(&self, dir: &OwnedFd) -> Result<Vec<EntryName>, CommitError> {
        let io = |error: Errno| self.error(SourceProblem::Io(error.into()));
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            // `.` and `..` are no names.
            if let Ok(name) = EntryName::new(entry.file_name().to_bytes()) {
                names.push(name);
            }
            if names.len() as u64 > MAX_ENTRIES {
                return Err(CommitError::TooLarge);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What has this name; `None` if it is gone.
    fn node(
        &mut self,
        dir: &OwnedFd,
        name: &EntryName,
        previous: Option<&Node>,
    ) -> Result<Option<Node>, CommitError> {
        let name = name.as_os_str();
        let looked = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|stat| look(dir, name, FileType::from_raw_mode(stat.st_mode)));
        let found = match looked {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.error(SourceProblem::Io(error.into()))),
        };
        match found {
            Seen::Other => Err(self.error(SourceProblem::Special)),
            Seen::Link(target) => match LinkTarget::new(&target) {
                Ok(target) if target.stays_inside(self.path.len() - 1) => {
                    Ok(Some(Node::Link { target }))
                }
                _ => Err(self.error(SourceProblem::LinkLeadsOut)),
            },
            Seen::Directory(directory) => {
                let directory = File::from(directory);
                let mode = self.metadata(&directory)?.mode();
                let previous = match previous {
                    Some(Node::Directory { listing, .. }) => Some(*listing),
                    _ => None,
                };
                Ok(Some(Node::Directory {
                    mode: permission_bits(mode),
                    listing: self.directory(&directory.into(), previous)?,
                }))
            }
            Seen::File(file) => {
                let file = File::from(file);
                let before = self.metadata(&file)?;
                if !before.is_file() {
                    return Err(self.error(SourceProblem::Special));
                }
                let salt = match previous {
                    Some(Node::File { content, .. }) => content.salt,
                    _ => Salt::generate(),
                };
                let content = self.content(&file, salt)?;
                if state_of(&self.metadata(&file)?) != state_of(&before) {
                    self.unsettled += 1;
                }
                Ok(Some(Node::File {
                    mode: permission_bits(before.mode()),
                    modified: modified(&before),
                    content,
                }))
            }
        }
    }

    fn content(&mut self, file: &File, salt: Salt) -> Result<BlobRef, CommitError> {
        let mut writer = BlobWriter::new(Kind::Data, salt);
        loop {
            let hole = self.hole_at(file, writer.size())?;
            if hole > MAX_SIZE {
                return Err(CommitError::TooLarge);
            }
            writer
                .skip(self.store, hole / CHUNK as u64)
                .map_err(CommitError::Backing)?;
            let length = read_at_most(file, &mut self.chunk, writer.size())
                .map_err(|error| self.error(SourceProblem::Io(error)))?;
            writer
                .write(self.store, &self.chunk[..length])
                .map_err(CommitError::Backing)?;
            if writer.size() > MAX_SIZE {
                return Err(CommitError::TooLarge);
            }
            if length < CHUNK {
                return writer.finish(self.store).map_err(CommitError::Backing);
            }
        }
    }

    /// Bytes from `offset` on that the file system knows to be zeros.
    fn hole_at(&self, file: &File, offset: u64) -> Result<u64, CommitError> {
        match rustix::fs::seek(file.as_fd(), SeekFrom::Data(offset)) {
            Ok(data) => Ok(data.saturating_sub(offset)),
            // No more data, up to the end.
            Err(Errno::NXIO) => Ok(self.metadata(file)?.len().saturating_sub(offset)),
            // A file system without holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(0),
            Err(error) => Err(self.error(SourceProblem::Io(error.into()))),
        }
    }

    fn metadata(&self, file: &File) -> Result<Metadata, CommitError> {
        file.metadata()
            .map_err(|error| self.error(SourceProblem::Io(error)))
    }

    fn error(&self, problem: SourceProblem) -> CommitError {
        CommitError::Source(SourceError {
            path: self.path.iter().map(EntryName::as_os_str).collect(),
            problem,
        })
    }
}

enum Seen {
    File(OwnedFd),
    Directory(OwnedFd),
    Link(Vec<u8>),
    Other,
}

fn look(dir: &OwnedFd, name: &OsStr, kind: FileType) -> rustix::io::Result<Seen> {
    // Not blocking: a pipe may have taken the place of the file.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |flags| openat(dir, name, flags, Mode::empty());
    Ok(match kind {
        FileType::RegularFile => Seen::File(open(flags)?),
        FileType::Directory => Seen::Directory(open(flags | OFlags::DIRECTORY)?),
        FileType::Symlink => Seen::Link(readlinkat(dir, name, Vec::new())?.into_bytes()),
        _ => Seen::Other,
    })
}

/// The listing of the same directory in the previous state, read alongside the names.
struct Previous {
    listing: Option<ListingReader>,
    next: Option<Entry>,
}

impl Previous {
    fn new(listing: Option<BlobRef>) -> Self {
        Self {
            listing: listing.map(ListingReader::new),
            next: None,
        }
    }

    /// What had this name. Names are asked for in ascending order.
    fn find(&mut self, store: &mut Store, name: &EntryName) -> Result<Option<Node>, CommitError> {
        let Some(listing) = &mut self.listing else {
            return Ok(None);
        };
        loop {
            match self.next.take() {
                Some(entry) if entry.name > *name => {
                    self.next = Some(entry);
                    return Ok(None);
                }
                Some(entry) if entry.name == *name => return Ok(Some(entry.node)),
                _ => match listing
                    .next(store, &mut |_| ())
                    .map_err(CommitError::Previous)?
                {
                    None => {
                        self.listing = None;
                        return Ok(None);
                    }
                    next => self.next = next,
                },
            }
        }
    }
}

fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn permission_bits(mode: u32) -> u16 {
    u16::try_from(mode & 0o777).expect("nine bits")
}

fn modified(metadata: &Metadata) -> Modified {
    let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    Modified::new(metadata.mtime(), nanoseconds).unwrap_or(Modified {
        seconds: metadata.mtime(),
        nanoseconds: 0,
    })
}

/// What differs after a write.
fn state_of(metadata: &Metadata) -> [i64; 5] {
    [
        i64::try_from(metadata.size()).unwrap_or(i64::MAX),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ]
}

/// Why a state could not be committed. The volume is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The directory has something that a volume does not hold.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Over the bounds.
    #[error(
        "the directory is over the bounds of a volume: {MAX_ENTRIES} entries, {MAX_SIZE} bytes; remove or split"
    )]
    TooLarge,
    /// The state to go on from cannot be read.
    #[error("the state that the commit builds on cannot be read: {0}")]
    Previous(#[source] ReadError),
    /// The backing directory cannot be written.
    #[error("the backing directory cannot be written: {0}")]
    Backing(#[source] io::Error),
    /// A later `prepare` has taken its place, or it is another volume's.
    #[error("only the state that was prepared last can be published; prepare again")]
    NotPrepared,
}

/// Something in the directory that cannot be committed. The message does not name it, because
/// names are confidential and messages end in logs: [`SourceError::path`] does.
#[derive(Debug, thiserror::Error)]
#[error("an entry of the directory {problem}")]
pub struct SourceError {
    path: PathBuf,
    problem: SourceProblem,
}

impl SourceError {
    /// Where, relative to the directory. Confidential.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug, thiserror::Error)]
enum SourceProblem {
    #[error(
        "is a socket, a pipe or a device: only files, directories and links are stored; let the service make it elsewhere"
    )]
    Special,
    #[error(
        "is a symbolic link that may lead out of the volume: only relative targets with `..` in front, within the volume, are stored; change the link"
    )]
    LinkLeadsOut,
    #[error("nests deeper than {MAX_DEPTH} directories; flatten the tree")]
    TooDeep,
    #[error("cannot be read: {0}")]
    Io(io::Error),
}
