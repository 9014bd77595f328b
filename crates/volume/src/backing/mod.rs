//! The host's directory, seen as few and small operations: each may be the last before a crash.
//!
//! ```text
//! volume          the header; its appearance completes the creation
//! head            the root of the newest state: a hint of the host's, trusted by nobody who tracks roots
//! lock            held by the one process that has the volume open
//! objects/<name>  sealed chunks, listings, indexes
//! roots/<root>    sealed root manifests
//! ```

mod dir;
#[cfg(test)]
pub(crate) mod memory;

use std::io;

use crate::VolumeRoot;
use crate::seal::ObjectId;

pub(crate) use dir::{DirBacking, LockError};

/// A file of the backing directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Name {
    Header,
    NewHeader,
    Head,
    NewHead,
    Object(ObjectId),
    Root(VolumeRoot),
}

/// Where a file lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Area {
    Top,
    Objects,
    Roots,
}

impl Name {
    pub(crate) fn area(self) -> Area {
        match self {
            Self::Header | Self::NewHeader | Self::Head | Self::NewHead => Area::Top,
            Self::Object(_) => Area::Objects,
            Self::Root(_) => Area::Roots,
        }
    }

    pub(crate) fn file_name(self) -> String {
        match self {
            Self::Header => "volume".to_owned(),
            Self::NewHeader => "volume.new".to_owned(),
            Self::Head => "head".to_owned(),
            Self::NewHead => "head.new".to_owned(),
            Self::Object(id) => id.to_string(),
            Self::Root(root) => root.to_string(),
        }
    }

    /// The file of this name in `area`; `None` for one that is not ours.
    pub(crate) fn parse(area: Area, file_name: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(file_name, &mut bytes).ok()?;
        let name = match area {
            Area::Top => return None,
            Area::Objects => Self::Object(ObjectId(bytes)),
            Area::Roots => Self::Root(VolumeRoot::from_bytes(bytes)),
        };
        (name.file_name().as_bytes() == file_name).then_some(name)
    }
}

/// Storage that is not trusted: what is read may be anything, and may be another thing next time.
///
/// Durability is as POSIX promises it: content after [`Backing::sync`], a name after
/// [`Backing::sync_area`], and anything in between may or may not survive a crash.
pub(crate) trait Backing: Send + Sync {
    /// The content, `None` if there is no such file. An error if it is longer than `limit`, or no
    /// regular file.
    fn read(&self, name: Name, limit: usize) -> io::Result<Option<Vec<u8>>>;
    /// Makes the file anew; one that is there is removed before.
    fn write(&self, name: Name, content: &[u8]) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&self, name: Name) -> io::Result<()>;
    /// Makes the contents of many files durable.
    fn sync_each(&self, names: &[Name]) -> io::Result<()> {
        names.iter().try_for_each(|name| self.sync(*name))
    }
    /// Makes names in `area` durable.
    fn sync_area(&self, area: Area) -> io::Result<()>;
    /// Puts one file in the place of another, at once. Both are in the same area.
    fn rename(&self, from: Name, to: Name) -> io::Result<()>;
    /// Removes the file, if it is there.
    fn remove(&self, name: Name) -> io::Result<()>;
    /// Visits the files of an area that have our form of name. They may be removed meanwhile.
    fn list(&self, area: Area, visit: &mut dyn FnMut(Name) -> io::Result<()>) -> io::Result<()>;
}

/// Puts `content` under the name `to` such that a crash leaves the old content or the new.
pub(crate) fn replace(
    backing: &dyn Backing,
    through: Name,
    to: Name,
    content: &[u8],
) -> io::Result<()> {
    backing.write(through, content)?;
    backing.sync(through)?;
    backing.rename(through, to)?;
    backing.sync_area(to.area())
}
