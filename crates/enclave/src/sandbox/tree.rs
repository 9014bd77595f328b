//! The root directory that the app sees.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, move_mount};

use super::failure::{Doing, StageError};
use super::host::{Access, Host, Shape, Tree};
use super::namespaces::{INSIDE_ID, Maker};
use super::plan::{AppDirs, CodeAccess, PrivateDir, TreePlan};
use super::report::SandboxEntry;

/// The root file system holds directories, links and copies from `/etc` only.
const ROOT_BYTES: u64 = 16 * 1024 * 1024;

/// Builds the root directory and makes it this process's. Afterwards the
/// process has no way back to the host's files.
///
/// The caller has its own mount namespace and may mount in it.
pub(super) fn build(
    plan: &TreePlan,
    own: &AppDirs,
    maker: Maker,
) -> Result<Vec<SandboxEntry>, StageError> {
    keep_private()?;
    let host = Host::open(plan)?;

    let mut site = Site {
        base: base()?,
        maker,
        never_swapped: true,
    };
    site.tmpfs(Path::new("/"), ROOT_BYTES, Owner::Maker)?;

    let mut places: Vec<Place> = host.trees.into_iter().map(Place::Tree).collect();
    places.extend(
        [
            (own.home.target.as_path(), own.home.max_bytes),
            (own.code.target.as_path(), own.code.max_bytes),
            (plan.secrets.target.as_path(), plan.secrets.max_bytes),
            (Path::new("/tmp"), plan.tmp_bytes),
            (Path::new("/dev/shm"), plan.shm_bytes),
        ]
        .map(|(target, bytes)| Place::Private(target.to_owned(), bytes)),
    );
    places.extend(plan.volumes.iter().map(Place::of_volume));
    site.mount_all(places)?;
    site.write_etc(&plan.network.adapt(host.etc))?;
    site.write_accounts(own.home.target.as_path())?;
    site.write_released(plan)?;
    site.write_links(&host.links)?;
    let base = site.base;
    remount(
        &base,
        MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
    )?;
    pivot(&base)?;

    Ok(vec![
        SandboxEntry::applied(
            "read-only system",
            "system and environment are mounted read-only",
        ),
        SandboxEntry::applied(
            "host's files hidden",
            "own root directory; the host's is unmounted",
        ),
        SandboxEntry::applied(
            "private storage",
            "code, secrets, home, volumes and /tmp are memory-backed and seen by the app only",
        ),
        swap_entry(site.never_swapped),
    ])
}

/// Keeps what is mounted from now on from the host.
pub(super) fn keep_private() -> Result<(), StageError> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .doing(|| "keep the sandbox's mounts from the host".into())
}

/// Whether private storage can reach a disk.
pub(super) fn swap_entry(never_swapped: bool) -> SandboxEntry {
    const NAME: &str = "private storage stays in memory";
    match (never_swapped, SwapOf::machine()) {
        (true, _) => SandboxEntry::applied(NAME, "tmpfs with `noswap`"),
        (false, SwapOf::None) => SandboxEntry::applied(NAME, "the machine has no swap"),
        (false, SwapOf::Some) => SandboxEntry::not_applied(
            NAME,
            "the machine has swap: use `swapoff -a`, or run mse-enclave as root on Linux 6.4 or later",
        ),
    }
}

const SEALED: &str = "sealed after unpacking";

/// Makes code and secrets unchangeable once unpacked, unless the plan says otherwise.
pub(super) fn seal(plan: &TreePlan) -> Result<Vec<SandboxEntry>, StageError> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mut entries = Vec::new();
    if plan.has_released() {
        entries.push(SandboxEntry::not_applied(
            "read-only secrets",
            "the plan lets released files be replaced while the app runs",
        ));
    } else {
        remount(plan.secrets.target.as_path(), flags)?;
        entries.push(SandboxEntry::applied("read-only secrets", SEALED));
    }
    let Some(own) = plan.base.own_dirs() else {
        return Ok(entries);
    };
    entries.push(match own.code_access {
        CodeAccess::ReadOnly => {
            remount(own.code.target.as_path(), flags)?;
            SandboxEntry::applied("read-only code", SEALED)
        }
        CodeAccess::ReadWrite => SandboxEntry::not_applied(
            "read-only code",
            "the plan lets the app write beside its code",
        ),
    });
    Ok(entries)
}

/// Something to mount.
pub(super) enum Place {
    Tree(Tree),
    Private(PathBuf, u64),
}

impl Place {
    pub(super) fn of_volume(volume: &PrivateDir) -> Self {
        Self::Private(volume.target.as_path().to_owned(), volume.max_bytes)
    }

    fn target(&self) -> &Path {
        match self {
            Self::Tree(tree) => &tree.target,
            Self::Private(target, _) => target,
        }
    }
}

#[derive(Clone, Copy)]
enum Owner {
    Maker,
    App,
}

/// A root directory under construction, at `base`: of the old root, or of itself.
pub(super) struct Site {
    pub(super) base: PathBuf,
    pub(super) maker: Maker,
    pub(super) never_swapped: bool,
}

impl Site {
    /// Mounts everything, a directory before what is mounted inside it. `/proc` is the very first:
    /// it has the table of mounts.
    pub(super) fn mount_all(&mut self, mut places: Vec<Place>) -> Result<(), StageError> {
        places.sort_by_key(|place| {
            let target = place.target();
            (target != Path::new("/proc"), target.components().count())
        });
        for place in places {
            match place {
                Place::Tree(tree) => self.attach(&tree)?,
                Place::Private(target, bytes) => self.tmpfs(&target, bytes, Owner::App)?,
            }
        }
        Ok(())
    }

    fn at(&self, target: &Path) -> PathBuf {
        match target.strip_prefix("/") {
            Ok(below) if below.as_os_str().is_empty() => self.base.clone(),
            Ok(below) => self.base.join(below),
            Err(_) => self.base.join(target),
        }
    }

    fn tmpfs(&mut self, target: &Path, bytes: u64, owner: Owner) -> Result<(), StageError> {
        self.make_dirs(target)?;
        let path = self.at(target);
        let options = match owner {
            Owner::Maker => format!("size={bytes},mode=0755"),
            Owner::App => {
                let id = self.maker.owner();
                format!("size={bytes},mode=0700,uid={id},gid={id}")
            }
        };
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let try_mount =
            |options: &str| mount(Some("tmpfs"), &path, Some("tmpfs"), flags, Some(options));
        match try_mount(&format!("{options},noswap")) {
            Ok(()) => return Ok(()),
            // Linux before 6.4, or no right over the machine's swap.
            Err(Errno::EINVAL | Errno::EPERM) => self.never_swapped = false,
            Err(error) => {
                return Err(error)
                    .doing(|| format!("mount private memory at `{}`", target.display()));
            }
        }
        try_mount(&options).doing(|| format!("mount private memory at `{}`", target.display()))
    }

    fn attach(&self, tree: &Tree) -> Result<(), StageError> {
        let path = self.at(&tree.target);
        match tree.shape {
            Shape::Dir => self.make_dirs(&tree.target)?,
            Shape::File => {
                self.make_dirs(tree.target.parent().unwrap_or(Path::new("/")))?;
                match fs::File::create_new(&path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error)
                            .doing(|| format!("make a place for `{}`", tree.target.display()));
                    }
                    _ => {}
                }
            }
        }
        move_mount(
            &tree.mount,
            "",
            CWD,
            &path,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .doing(|| format!("mount `{}` in the sandbox", tree.target.display()))?;
        match tree.access {
            Access::Inherited => Ok(()),
            Access::ReadOnly => restrict(
                &path,
                MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            ),
            Access::ReadWrite => restrict(
                &path,
                MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            ),
        }
    }

    /// Makes `target` and its parents. What is made inside the app's own file
    /// systems belongs to the app.
    fn make_dirs(&self, target: &Path) -> Result<(), StageError> {
        let mut path = self.base.clone();
        for name in target.strip_prefix("/").unwrap_or(target) {
            let parent = path.clone();
            path.push(name);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.doing(|| format!("make the directory `{}`", target.display()))?,
            }
            if let Maker::Root(uid) = self.maker {
                let owner = fs::metadata(&parent)
                    .doing(|| format!("look at `{}`", parent.display()))?
                    .uid();
                if owner == uid.as_u32() {
                    chown(&path, Some(owner), Some(owner))
                        .doing(|| format!("hand `{}` to the app", target.display()))?;
                }
            }
        }
        Ok(())
    }

    /// Files below `/etc`, which any may read.
    pub(super) fn write_etc(&self, files: &[(&'static str, Vec<u8>)]) -> Result<(), StageError> {
        self.make_dirs(Path::new("/etc"))?;
        for (name, content) in files {
            let path = self.at(&Path::new("/etc").join(name));
            // An image may have one that is read-only, or a link to nowhere.
            let _ = fs::remove_file(&path);
            fs::write(&path, content)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o444)))
                .doing(|| format!("write `/etc/{name}` of the sandbox"))?;
        }
        Ok(())
    }

    /// The one user that there is.
    fn write_accounts(&self, home: &Path) -> Result<(), StageError> {
        let home = home.display();
        let passwd = format!("app:x:{INSIDE_ID}:{INSIDE_ID}:app:{home}:/usr/sbin/nologin\n");
        let group = format!("app:x:{INSIDE_ID}:\n");
        self.write_etc(&[("passwd", passwd.into()), ("group", group.into())])
    }

    /// Links where the app expects released files. One of those that the sandbox copied from the
    /// host's `/etc` gives way.
    fn write_released(&self, plan: &TreePlan) -> Result<(), StageError> {
        for (place, to) in plan.released_links() {
            let action = || format!("link the released file `{}`", place.display());
            self.make_dirs(place.parent().unwrap_or(Path::new("/")))?;
            let at = self.at(place);
            match fs::remove_file(&at) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.doing(action)?,
            }
            symlink(to, at).doing(action)?;
        }
        Ok(())
    }

    /// `links`, and those that programs expect in `/dev`.
    pub(super) fn write_links(&self, links: &[(PathBuf, PathBuf)]) -> Result<(), StageError> {
        let standard = [
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
        ];
        let links = links
            .iter()
            .map(|(place, to)| (place.as_path(), to.as_path()));
        for (place, to) in
            links.chain(standard.map(|(place, to)| (Path::new(place), Path::new(to))))
        {
            symlink(to, self.at(place)).doing(|| format!("link `{}`", place.display()))?;
        }
        Ok(())
    }
}

/// A directory of the host to build on. Its content is only covered in this
/// mount namespace.
pub(super) fn base() -> Result<PathBuf, StageError> {
    // The last is in containers of services, whose images may have none of the others.
    ["/tmp", "/run", "/mnt", "/mse"]
        .into_iter()
        // The mount table knows places by their real names.
        .find_map(|path| fs::canonicalize(path).ok().filter(|path| path.is_dir()))
        .ok_or(io::ErrorKind::NotFound)
        .map_err(io::Error::from)
        .doing(|| "find one of the directories `/tmp`, `/run`, `/mnt` and `/mse`".into())
}

/// Makes the directory `base` this process's root.
pub(super) fn pivot(base: &Path) -> Result<(), StageError> {
    // With both arguments the same, the old root ends up mounted over the new
    // one, from where it can be taken away without a directory to hold it.
    unistd::chdir(base)
        .and_then(|()| unistd::pivot_root(".", "."))
        .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
        .and_then(|()| unistd::chdir("/"))
        .doing(|| "exchange the root directory".into())
}

fn remount(path: &Path, flags: MsFlags) -> Result<(), StageError> {
    mount(
        None::<&str>,
        path,
        None::<&str>,
        flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT,
        None::<&str>,
    )
    .doing(|| format!("restrict the mount at `{}`", path.display()))
}

/// Adds `flags` to the mount at `path` and to all below it.
fn restrict(path: &Path, flags: MsFlags) -> Result<(), StageError> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").doing(|| "read the mount table".into())?;
    for (point, existing) in table.lines().filter_map(parse_mount) {
        if point.starts_with(path) {
            remount(&point, flags | existing)?;
        }
    }
    Ok(())
}

/// Mount point and restrictions of one line of `mountinfo` (proc(5)). A remount
/// must name the restrictions that exist, or it would lift them.
fn parse_mount(line: &str) -> Option<(PathBuf, MsFlags)> {
    let mut fields = line.split(' ').skip(4);
    let point = unescape(fields.next()?);
    let flags = fields
        .next()?
        .split(',')
        .map(|option| match option {
            "ro" => MsFlags::MS_RDONLY,
            "nosuid" => MsFlags::MS_NOSUID,
            "nodev" => MsFlags::MS_NODEV,
            "noexec" => MsFlags::MS_NOEXEC,
            _ => MsFlags::empty(),
        })
        .collect();
    Some((point, flags))
}

/// Undoes the kernel's `\ooo` for blanks and backslashes.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Whether memory of this machine can reach a disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SwapOf {
    None,
    Some,
}

impl SwapOf {
    fn machine() -> Self {
        // The first line is a heading. Unreadable counts as swap.
        match fs::read_to_string("/proc/swaps") {
            Ok(table) if table.lines().count() <= 1 => Self::None,
            _ => Self::Some,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_table_lines_give_place_and_restrictions() {
        let line = r"36 35 98:0 / /a\040b/c\134d ro,nosuid,relatime shared:1 - ext4 /dev/x rw";
        let (point, flags) = parse_mount(line).unwrap();
        assert_eq!(point, Path::new(r"/a b/c\d"));
        assert_eq!(flags, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
        assert!(parse_mount("36 35").is_none());
    }
}
