//! Files that only their owner may read.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::failure::Failure;

/// Creates `dir` and what leads to it, each folder that was missing 0700; `dir` is 0700 even if
/// it was there.
pub(crate) fn create_dir(dir: &Path) -> Result<(), Failure> {
    create_private(dir)
        .and_then(|()| restrict(dir))
        .map_err(|error| Failure::file("create the folder", dir, &error))
}

/// Writes `content` to `path`, 0600, all of it or nothing: a reader never sees half a file.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    write_atomically(path, content).map_err(|error| Failure::file("write", path, &error))
}

/// What became of a file that was to be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    Written,
    /// Something is there already, and was left alone.
    Exists,
}

/// Writes `content` to `path`, 0600, all of it or nothing, unless there is something already.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> Result<Creation, Failure> {
    let written = temporary_with(path, content)
        .and_then(|file| file.persist_noclobber(path).map_err(|error| error.error));
    match written {
        Ok(_) => Ok(Creation::Written),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Creation::Exists),
        Err(error) => Err(Failure::file("write", path, &error)),
    }
}

/// Reads the text of `path`, or `None` if there is no such file.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<String>, Failure> {
    match read_bounded(path, limit) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file("read", path, &error)),
    }
}

fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    temporary_with(path, content)?.persist(path)?;
    Ok(())
}

/// A file beside `path` that becomes it, or vanishes.
fn temporary_with(path: &Path, content: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Temporary files are made 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    Ok(file)
}

fn read_bounded(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(limit + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        let why = format!("it is longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(text)
}

#[cfg(unix)]
fn create_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(not(unix))]
fn create_private(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

#[cfg(unix)]
fn restrict(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// A user's profile is that user's alone by default.
#[cfg(not(unix))]
fn restrict(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_0600_and_folders_0700_even_where_looser_ones_were() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = dir.path().join("a/b");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        create_dir(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);

        let file = folder.join("secret");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        write(&file, b"new").unwrap();
        assert_eq!(mode(&file), 0o600);
        assert_eq!(read(&file, 3).unwrap().unwrap(), "new");
        assert!(
            read(&file, 2)
                .unwrap_err()
                .message()
                .contains("longer than 2 bytes")
        );
        assert_eq!(read(&folder.join("none"), 2).unwrap(), None);

        assert_eq!(write_new(&file, b"newer").unwrap(), Creation::Exists);
        assert_eq!(read(&file, 9).unwrap().unwrap(), "new");
        let other = folder.join("other");
        assert_eq!(write_new(&other, b"newer").unwrap(), Creation::Written);
        assert_eq!(read(&other, 9).unwrap().unwrap(), "newer");
        assert_eq!(mode(&other), 0o600);
        // No temporary file stays.
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }
}
