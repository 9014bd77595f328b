//! A directory of the host's file system.
//!
//! The host may change it at any time, so nothing here follows a symbolic link: a link in the
//! place of `objects` would let the host choose where in the enclave's own files we write.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::{Area, Backing, Name};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Files that are made durable at the same time.
const SYNCS: usize = 16;

/// A directory, and for who writes the lock that keeps a second writer out.
#[derive(Debug)]
pub(crate) struct DirBacking {
    top: OwnedFd,
    objects: OwnedFd,
    roots: OwnedFd,
    _lock: Option<File>,
}

impl DirBacking {
    /// Opens `path`, which must be there. Folders and the lock are made if they are missing.
    pub(crate) fn open(path: &Path) -> Result<Self, LockError> {
        // The path itself is the caller's: links in it are followed.
        let top: OwnedFd = File::open(path)?.into();
        let lock = openat(
            &top,
            "lock",
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )?;
        let lock = File::from(lock);
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::InUse),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        let folder = |name: &str| -> io::Result<OwnedFd> {
            match mkdirat(&top, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => Ok(openat(&top, name, DIRECTORY, Mode::empty())?),
                Err(error) => Err(error.into()),
            }
        };
        Ok(Self {
            objects: folder("objects")?,
            roots: folder("roots")?,
            top,
            _lock: Some(lock),
        })
    }

    /// Opens `path` to read: nothing is made there, and a writer may be at work.
    pub(crate) fn open_to_read(path: &Path) -> io::Result<Self> {
        let top: OwnedFd = File::open(path)?.into();
        Ok(Self {
            objects: openat(&top, "objects", DIRECTORY, Mode::empty())?,
            roots: openat(&top, "roots", DIRECTORY, Mode::empty())?,
            top,
            _lock: None,
        })
    }

    /// Makes `path` if it is missing, then opens it.
    pub(crate) fn create(path: &Path) -> Result<Self, LockError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                let parent = path
                    .parent()
                    .filter(|parent| !parent.as_os_str().is_empty());
                File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        Self::open(path)
    }

    fn area(&self, area: Area) -> BorrowedFd<'_> {
        match area {
            Area::Top => self.top.as_fd(),
            Area::Objects => self.objects.as_fd(),
            Area::Roots => self.roots.as_fd(),
        }
    }

    fn open_file(&self, name: Name, flags: OFlags) -> io::Result<Option<File>> {
        // A pipe in the place of a file would keep us waiting for its other end.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match openat(self.area(name.area()), name.file_name(), flags, mode) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if file.metadata()?.is_file() {
            Ok(Some(file))
        } else {
            Err(io::Error::other("no regular file"))
        }
    }
}

impl Backing for DirBacking {
    fn read(&self, name: Name, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(name, OFlags::RDONLY)? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut content)?;
        if content.len() > limit {
            return Err(io::Error::other("longer than what is stored there can be"));
        }
        Ok(Some(content))
    }

    fn write(&self, name: Name, content: &[u8]) -> io::Result<()> {
        self.remove(name)?;
        let mut file = self
            .open_file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?
            .ok_or(io::ErrorKind::NotFound)?;
        file.write_all(content)
    }

    fn sync(&self, name: Name) -> io::Result<()> {
        self.open_file(name, OFlags::RDONLY)?
            .ok_or(io::ErrorKind::NotFound)?
            .sync_all()
    }

    fn sync_each(&self, names: &[Name]) -> io::Result<()> {
        // A disk makes many files durable in the time of one if it is asked for them together.
        let share = names.len().div_ceil(SYNCS).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = names
                .chunks(share)
                .map(|share| scope.spawn(|| share.iter().try_for_each(|name| self.sync(*name))))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("a sync does not panic"))
        })
    }

    fn sync_area(&self, area: Area) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.area(area))?)
    }

    fn rename(&self, from: Name, to: Name) -> io::Result<()> {
        let area = self.area(from.area());
        Ok(renameat(area, from.file_name(), area, to.file_name())?)
    }

    fn remove(&self, name: Name) -> io::Result<()> {
        match unlinkat(self.area(name.area()), name.file_name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&self, area: Area, visit: &mut dyn FnMut(Name) -> io::Result<()>) -> io::Result<()> {
        for entry in Dir::read_from(self.area(area))? {
            if let Some(name) = Name::parse(area, entry?.file_name().to_bytes()) {
                visit(name)?;
            }
        }
        Ok(())
    }
}

/// Why a backing directory cannot be had.
#[derive(Debug)]
pub(crate) enum LockError {
    InUse,
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for LockError {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::seal::ObjectId;

    const OBJECT: Name = Name::Object(ObjectId([0xab; 32]));

    #[test]
    fn files_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let backing = DirBacking::create(&dir.path().join("new")).unwrap();
        assert_eq!(backing.read(OBJECT, 10).unwrap(), None);
        backing.write(OBJECT, b"first").unwrap();
        backing.write(OBJECT, b"second").unwrap();
        backing.sync(OBJECT).unwrap();
        backing.sync_area(Area::Objects).unwrap();
        assert_eq!(backing.read(OBJECT, 6).unwrap().unwrap(), b"second");
        assert!(backing.read(OBJECT, 5).is_err());
        let mut names = Vec::new();
        fs::write(dir.path().join("new/objects/of-someone-else"), "").unwrap();
        backing
            .list(Area::Objects, &mut |name| {
                names.push(name);
                Ok(())
            })
            .unwrap();
        assert_eq!(names, [OBJECT]);
        backing.remove(OBJECT).unwrap();
        backing.remove(OBJECT).unwrap();
        assert!(backing.sync(OBJECT).is_err());
        super::super::replace(&backing, Name::NewHead, Name::Head, b"x").unwrap();
        assert_eq!(backing.read(Name::Head, 9).unwrap().unwrap(), b"x");
        assert_eq!(backing.read(Name::NewHead, 9).unwrap(), None);
    }

    #[test]
    fn links_and_pipes_of_the_host_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "precious").unwrap();
        let path = dir.path().join("volume");
        fs::create_dir(&path).unwrap();
        symlink(&outside, path.join("objects")).unwrap();
        assert!(matches!(DirBacking::open(&path), Err(LockError::Io(_))));

        fs::remove_file(path.join("objects")).unwrap();
        let backing = DirBacking::open(&path).unwrap();
        let file = path.join("objects").join(OBJECT.file_name());
        symlink(outside.join("file"), &file).unwrap();
        assert!(backing.read(OBJECT, 100).is_err());
        assert!(backing.sync(OBJECT).is_err());
        backing.write(OBJECT, b"sealed").unwrap();
        assert_eq!(fs::read(outside.join("file")).unwrap(), b"precious");

        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &file,
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(backing.read(OBJECT, 100).is_err());
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirBacking::open(dir.path()).unwrap();
        assert!(matches!(
            DirBacking::open(dir.path()),
            Err(LockError::InUse)
        ));
        drop(first);
        DirBacking::open(dir.path()).unwrap();
    }
}
