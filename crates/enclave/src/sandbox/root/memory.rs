//! The memory that holds the copy.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::{CopiedRoot, RootError, RootPlan, copy_into};
use crate::sandbox::failure::{Doing, StageError};
use crate::sandbox::namespaces::Maker;

/// A memory-backed file system that is mounted nowhere yet: nothing of the host is covered by it
/// while the host's folder, which may be its root directory, is walked over.
pub(in crate::sandbox) struct RootMemory {
    mount: OwnedFd,
    /// Whether it stays in memory even if the machine has swap.
    pub(in crate::sandbox) never_swapped: bool,
}

impl RootMemory {
    /// Fills one with what `plan` names. The caller may mount in its mount namespace.
    pub(in crate::sandbox) fn fill(
        plan: &RootPlan,
        maker: Maker,
    ) -> Result<(Self, CopiedRoot), StageError> {
        let memory = Self::new(plan, maker)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let to = rustix::fs::openat(&memory.mount, ".", flags, Mode::empty())
            .doing(|| "open the memory for the image".into())?;
        let owner = match maker {
            Maker::Root(uid) => Some(uid),
            Maker::User => None,
        };
        let copied =
            copy_into(to, plan, owner).map_err(|error: RootError| error.within(plan.max_bytes))?;
        Ok((memory, copied))
    }

    fn new(plan: &RootPlan, maker: Maker) -> Result<Self, StageError> {
        // Linux before 6.4, or no right over the machine's swap.
        match Self::with(plan, maker, &["noswap"]) {
            Ok(mount) => Ok(Self {
                mount,
                never_swapped: true,
            }),
            Err(_) => Ok(Self {
                mount: Self::with(plan, maker, &[])
                    .doing(|| "mount private memory for the image".into())
                    .map_err(|error| error.with_fix(lacking_user(maker)))?,
                never_swapped: false,
            }),
        }
    }

    fn with(plan: &RootPlan, maker: Maker, flags: &[&str]) -> rustix::io::Result<OwnedFd> {
        let id = maker.owner().to_string();
        let size = plan.max_bytes.to_string();
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in [
            ("size", size.as_str()),
            ("mode", "0755"),
            ("uid", &id),
            ("gid", &id),
        ] {
            fsconfig_set_string(&context, key, value)?;
        }
        for flag in flags {
            fsconfig_set_flag(&context, *flag)?;
        }
        fsconfig_create(&context)?;
        fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        )
    }

    /// Mounts it at `place`.
    pub(in crate::sandbox) fn mount_at(&self, place: &std::path::Path) -> Result<(), StageError> {
        move_mount(
            &self.mount,
            "",
            CWD,
            place,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .doing(|| "mount the image's root".into())
    }
}

/// What to do if the app's user is none in this user namespace: engines may give a container fewer
/// ids than all.
fn lacking_user(maker: Maker) -> Option<String> {
    let user = maker.owner();
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    (!has_user(&map, user)).then(|| {
        format!(
            "there is no user {user} in this user namespace: give the container one with 65,536 ids (`--userns=auto:size=65536`)"
        )
    })
}

/// Whether `map`, as of `/proc/self/uid_map`, has the user. Each line is its first id inside, its first
/// one outside, and how many there are.
fn has_user(map: &str, user: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line
            .split_whitespace()
            .filter_map(|word| word.parse::<u32>().ok());
        match (numbers.next(), numbers.nth(1)) {
            (Some(first), Some(count)) => user.checked_sub(first).is_some_and(|nth| nth < count),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::has_user;

    #[test]
    fn a_user_is_in_a_map_or_not() {
        assert!(has_user("         0          0 4294967295\n", 61184));
        assert!(has_user("0 1000000 1024\n60000 2000000 5536\n", 65535));
        for map in ["0 1000000 1024\n", "61185 0 10\n", "0 1000000 61184\n", ""] {
            assert!(!has_user(map, 61184), "{map}");
        }
    }
}
