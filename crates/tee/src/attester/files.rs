//! The few file operations that attesters need, bounded.
//!
//! A plain directory cannot bump a counter when a file in it is written. So tests put a kernel
//! between the attester and a temporary directory (`emulated`); the product uses [`Disk`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// File operations as the kernel gives them. They block.
pub(super) trait Files: Send + Sync {
    /// Whether there is anything at `path`. An error is not an answer: a path that may not be
    /// looked at may well be there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes a directory that must not exist yet.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory. In configfs its attributes go with it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// The whole file. More than `limit` bytes are refused with [`ErrorKind::FileTooLarge`],
    /// which is also what configfs says (`EFBIG`) of a blob that exceeds its own limit.
    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>>;
    /// Writes `bytes` to a file that exists, in one call, and closes it: the kernel takes no
    /// partial writes, and a binary attribute of configfs is stored only when it is closed.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
}

/// The file system as it is.
pub(super) struct Disk;

impl Files for Disk {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        if file.write(bytes)? == bytes.len() {
            Ok(())
        } else {
            Err(ErrorKind::WriteZero.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(Disk.read(&path, 10).unwrap(), [7; 10]);
        let error = Disk.read(&path, 9).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        let error = Disk.read(Path::new("/dev/zero"), 9).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn writing_creates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let error = Disk.write(&path, b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!Disk.exists(&path).unwrap());
        fs::write(&path, b"").unwrap();
        Disk.write(&path, b"x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        let error = Disk.write(Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_directory_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entry");
        Disk.create_dir(&path).unwrap();
        let error = Disk.create_dir(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert!(Disk.exists(&path).unwrap());
        Disk.remove_dir(&path).unwrap();
        assert!(!Disk.exists(&path).unwrap());
    }
}
