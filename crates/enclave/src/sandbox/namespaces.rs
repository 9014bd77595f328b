//! Who the sandbox is on the host, and the namespaces that it gets.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use caps::errors::CapsError;
use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::unistd::{self, Gid, Uid};

use super::failure::{Doing, StageError};
use super::plan::AppUid;
use super::report::SandboxEntry;

/// User and group of the app, as it sees itself.
pub(super) const INSIDE_ID: u32 = 1000;

/// With which rights of the host the sandbox is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Maker {
    /// By root: the tree is built with its rights, then they are given up for a
    /// user id that nobody else has.
    Root(AppUid),
    /// By an ordinary user: the tree is built inside the user namespace.
    User,
}

impl Maker {
    pub(super) fn new(app_uid: AppUid) -> Self {
        // Root of a container may lack any of them.
        let needed = [
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_SETUID,
            Capability::CAP_SETGID,
            Capability::CAP_CHOWN,
        ];
        let has = |right| caps::has_cap(None, CapSet::Effective, right).unwrap_or(false);
        if needed.into_iter().all(has) {
            Self::Root(app_uid)
        } else {
            Self::User
        }
    }

    /// The app's user and group as the kernel knows them where the tree is built.
    pub(super) fn owner(self) -> u32 {
        match self {
            Self::Root(uid) => uid.as_u32(),
            Self::User => INSIDE_ID,
        }
    }
}

/// Makes a mount namespace with root's rights.
pub(super) fn enter_mounts() -> Result<(), StageError> {
    unshare(CloneFlags::CLONE_NEWNS)
        .doing(|| "make a mount namespace".into())
        .map_err(|error| error.with_fix(advice()))
}

/// Returns when this process has one thread: user namespaces are made for no other, and a thread
/// that was joined is there a little longer.
pub(super) fn await_single_thread() -> Result<(), StageError> {
    let begun = Instant::now();
    loop {
        let threads = fs::read_dir("/proc/self/task")
            .doing(|| "count the threads of the sandbox's first process".into())?
            .count();
        if threads == 1 {
            return Ok(());
        }
        if begun.elapsed() > LAST_THREAD {
            return Err(io::Error::from(io::ErrorKind::TimedOut))
                .doing(|| "see the threads that copied the image end".into());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// How long that is waited for.
const LAST_THREAD: Duration = Duration::from_secs(5);

/// Gives up root for `uid`, but for the right to make namespaces: several
/// distributions refuse user namespaces to who has no rights at all.
pub(super) fn become_app_user(uid: AppUid) -> Result<(), StageError> {
    let (user, group) = (Uid::from_raw(uid.as_u32()), Gid::from_raw(uid.as_u32()));
    unistd::setgroups(&[]).doing(|| "give up the supplementary groups".into())?;
    unistd::setresgid(group, group, group).doing(|| format!("become group `{group}`"))?;
    prctl::set_keepcaps(true).doing(|| "keep capabilities while the user changes".into())?;
    unistd::setresuid(user, user, user).doing(|| format!("become user `{user}`"))?;
    caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN)
        .map_err(caps_error)
        .doing(|| "keep the right to make namespaces".into())
}

/// Makes the namespaces and becomes [`INSIDE_ID`] in them, with every capability
/// over them and none over the host.
pub(super) fn enter(maker: Maker) -> Result<Vec<SandboxEntry>, StageError> {
    let mut entries = enter_user(maker)?;
    entries.extend(enter_rest()?);
    Ok(entries)
}

/// The first part of [`enter`]: the user and mount namespaces. This process can still have
/// threads.
pub(super) fn enter_user(maker: Maker) -> Result<Vec<SandboxEntry>, StageError> {
    // Read first: a new namespace may hide what explains a refusal.
    let advice = advice();
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let groups = unistd::getgroups().unwrap_or_default();

    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .doing(|| "make the user and mount namespaces".into())
        .and_then(|()| map_ids(uid, gid))
        .map_err(|error| error.with_fix(advice))?;

    Ok(vec![
        SandboxEntry::applied(
            "user namespace",
            format!("user {INSIDE_ID} inside is user {uid} of the host"),
        ),
        SandboxEntry::applied("mount namespace", "own mounts, none propagate"),
        match maker {
            Maker::Root(_) => SandboxEntry::applied(
                "separate host user",
                format!("user {uid} has no account and owns nothing on the host"),
            ),
            Maker::User => SandboxEntry::not_applied(
                "separate host user",
                format!(
                    "mse-enclave runs as user {uid} and has no right to another; run it as root to separate them"
                ),
            ),
        },
        match groups.iter().filter(|group| **group != gid).count() {
            0 => SandboxEntry::applied("supplementary groups", "none"),
            kept => SandboxEntry::not_applied(
                "supplementary groups",
                format!("an ordinary user cannot give up its groups: {kept} kept"),
            ),
        },
    ])
}

/// The second part of [`enter`]. The kernel starts no more threads of this process: they could not
/// be in the new pid namespace.
pub(super) fn enter_rest() -> Result<Vec<SandboxEntry>, StageError> {
    let advice = advice();
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
        .doing(|| "make the pid, ipc and uts namespaces".into())
        .map_err(|error| error.with_fix(advice))?;
    Ok(vec![
        SandboxEntry::applied("pid namespace", "sees only its own processes"),
        SandboxEntry::applied("ipc namespace", "own System V objects and message queues"),
        SandboxEntry::applied("uts namespace", "host name `enclave`"),
        match unshare(CloneFlags::CLONE_NEWCGROUP) {
            Ok(()) => SandboxEntry::applied("cgroup namespace", "the host's groups have no names"),
            Err(error) => SandboxEntry::not_applied("cgroup namespace", error.desc()),
        },
    ])
}

/// Lets the next program keep the two rights that the init needs: mounting
/// `/proc` and naming the host, and emptying its bounding set.
pub(super) fn keep_rights_of_init() -> Result<(), StageError> {
    for right in [Capability::CAP_SYS_ADMIN, Capability::CAP_SETPCAP] {
        for set in [CapSet::Inheritable, CapSet::Ambient] {
            caps::raise(None, set, right)
                .map_err(caps_error)
                .doing(|| format!("pass `{right}` to the sandbox's init"))?;
        }
    }
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` calls"
)]
pub(super) fn caps_error(error: CapsError) -> io::Error {
    io::Error::other(error.to_string())
}

fn map_ids(uid: Uid, gid: Gid) -> Result<(), StageError> {
    // A process that changed its user is undumpable, and its own /proc files
    // belong to root: without this it could not write them.
    prctl::set_dumpable(true).doing(|| "open the id maps".into())?;
    for (file, content) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{INSIDE_ID} {uid} 1\n")),
        ("gid_map", format!("{INSIDE_ID} {gid} 1\n")),
    ] {
        let path = Path::new("/proc/self").join(file);
        fs::write(&path, content).doing(|| format!("write `{}`", path.display()))?;
    }
    prctl::set_dumpable(false).doing(|| "become undumpable".into())
}

/// What to change on this machine if it refuses user namespaces.
pub(super) fn advice() -> Option<String> {
    let setting = |name: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(name))
            .ok()
            .map(|value| value.trim().to_owned())
    };
    if setting("user/max_user_namespaces").as_deref() == Some("0") {
        return Some("allow user namespaces: `sysctl -w user.max_user_namespaces=10000`".into());
    }
    if setting("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Some(
            "run mse-enclave as root, or `sysctl -w kernel.unprivileged_userns_clone=1`".into(),
        );
    }
    if setting("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return Some(
            "this is AppArmor's restriction (Ubuntu 23.10 and later): run mse-enclave as root, give it an AppArmor profile with `userns,`, or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`"
                .into(),
        );
    }
    if Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists() {
        return Some(
            "this is a container whose engine forbids nested sandboxes: start it with `--security-opt seccomp=unconfined --security-opt systempaths=unconfined --security-opt apparmor=unconfined`, or run mse-enclave outside"
                .into(),
        );
    }
    None
}

/// Whether an error is one by which a system forbids (and not a fault of ours).
pub(super) fn is_forbidden(error: &StageError) -> bool {
    const FORBIDDEN: [i32; 3] = [
        Errno::EPERM as i32,
        Errno::EACCES as i32,
        Errno::ENOSPC as i32,
    ];
    error
        .os_error()
        .is_some_and(|code| FORBIDDEN.contains(&code))
}
