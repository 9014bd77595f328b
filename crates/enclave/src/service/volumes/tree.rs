//! The plaintext of a volume, reached by an open directory: what lies in it is the program's, and no
//! link of it is followed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat, statat,
};
use rustix::io::Errno;

/// Gives everything in `directory` to who owns it, if that is not who made it: when `mse-enclave` is
/// root, it restores as root. Nothing of the program runs yet.
pub(super) fn hand_over(directory: &OwnedFd) -> io::Result<()> {
    let owner = fstat(directory)?;
    if owner.st_uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    walk(directory.as_fd(), DEEPEST, &mut |parent, name, _| {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(chownat(parent, name, Some(user), Some(group), flags)?)
    })
}

/// Differs after a change, as far as the times of files tell. A program that writes through a
/// mapping may leave them as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Looks(u64);

impl Looks {
    pub(super) fn of(directory: &OwnedFd) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        state_of(&fstat(directory)?).hash(&mut hasher);
        walk(directory.as_fd(), DEEPEST, &mut |_, name, stat| {
            name.to_bytes().hash(&mut hasher);
            state_of(stat).hash(&mut hasher);
            Ok(())
        })?;
        Ok(Self(hasher.finish()))
    }
}

fn state_of(stat: &Stat) -> (u64, u32, i64, i64, i64) {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    let changed = i64::try_from(stat.st_ctime_nsec).unwrap_or_default();
    (
        stat.st_ino,
        stat.st_mode,
        stat.st_size,
        stat.st_mtime
            .wrapping_mul(1_000_000_000)
            .wrapping_add(nanoseconds),
        stat.st_ctime
            .wrapping_mul(1_000_000_000)
            .wrapping_add(changed),
    )
}

/// No volume is deeper; a program must not lead this one further.
const DEEPEST: usize = mse_volume::MAX_DEPTH + 1;

type Visit<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &std::ffi::CStr, &Stat) -> io::Result<()>;

/// Visits all that is below `directory`, each before what is in it. What is gone when its turn comes
/// is left out.
fn walk(directory: BorrowedFd<'_>, levels: usize, visit: Visit<'_>) -> io::Result<()> {
    let Some(levels) = levels.checked_sub(1) else {
        return Ok(());
    };
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        // Opened first: who is not root may enter it only before it is somebody else's.
        let inner = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(directory, name, flags, Mode::empty()) {
                Ok(inner) => Some(inner),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(error) => return Err(error.into()),
            }
        } else {
            None
        };
        visit(directory, name, &stat)?;
        if let Some(inner) = inner {
            walk(inner.as_fd(), levels, visit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_change_anywhere_is_seen_and_nothing_outside_counts() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), "1").unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        let open = fs::File::open(dir.path()).unwrap().into();
        let looks = || Looks::of(&open).unwrap();
        let before = looks();
        fs::write(outside.path().join("x"), "1").unwrap();
        assert!(looks() == before);
        fs::write(dir.path().join("a/b/file"), "12").unwrap();
        let after = looks();
        assert!(after != before);
        fs::remove_file(dir.path().join("a/b/file")).unwrap();
        assert!(looks() != after);
    }
}
