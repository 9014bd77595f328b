//! What a sandbox is to be: the root directory ([`TreePlan`]) and what runs in
//! it ([`LaunchPlan`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::network::{MAX_LISTENERS, Network};

/// Everything needed to make a sandbox and run an app in it.
#[derive(Clone)]
pub struct SandboxPlan {
    /// The root directory that the app sees.
    pub tree: TreePlan,
    /// What runs there.
    pub launch: LaunchPlan,
}

impl SandboxPlan {
    /// Refuses a plan whose directories hide each other or the system's own.
    pub fn validate(&self) -> Result<(), InvalidPlan> {
        let mut seen = BTreeSet::new();
        for target in self.tree.targets() {
            if !seen.insert(target) {
                return Err(InvalidPlan::SameTarget(target.clone()));
            }
            if RESERVED
                .iter()
                .any(|reserved| target.0.starts_with(reserved))
                || SYSTEM.iter().any(|system| target.0 == Path::new(system))
            {
                return Err(InvalidPlan::Reserved(target.clone()));
            }
        }
        self.tree.check_network()?;
        self.tree.check_volumes()?;
        self.tree.check_released()
    }
}

/// Directories below which the plan may put nothing: the sandbox makes them.
const RESERVED: &[&str] = &["/proc", "/dev", "/sys"];
/// Directories that the plan may not replace.
const SYSTEM: &[&str] = &[
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/run", "/tmp",
];

/// Directories of the system that are mounted read-only: nothing can be put into them.
const READ_ONLY: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ssl/certs",
    "/etc/alternatives",
];

/// Where engines look for the program of a container whose image has no `PATH`.
const IMAGE_SEARCH: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The root directory that the app sees. Sizes are in bytes and are limits, not
/// reservations: memory is taken as files are written.
#[derive(Clone, Serialize, Deserialize)]
pub struct TreePlan {
    /// The user of the host as whom the app runs if `mse-enclave` is root.
    pub app_uid: AppUid,
    /// What it is made of.
    pub base: RootBase,
    /// Where secrets are unpacked; always read-only for the app.
    pub secrets: PrivateDir,
    /// Size of `/tmp`.
    pub tmp_bytes: u64,
    /// Size of `/dev/shm`.
    pub shm_bytes: u64,
    /// Directories or files of the host that the app may read, beyond the
    /// system's programs and libraries: the Python environment, for example, or what of an image
    /// is not measured.
    pub read_only: Vec<ReadOnlyBind>,
    /// The directory through which the app's socket is reached.
    pub socket_dir: Option<SocketDir>,
    /// Where the app expects released files. Each place is a link to the file of the same path
    /// below [`RELEASED`] of `secrets`, where [`super::ReleasedFiles`] can replace all of them at
    /// once while the app runs. If there is one, the app may write to `secrets`, which is its own;
    /// if there is none, `secrets` is sealed.
    pub released: Vec<SandboxPath>,
    /// Directories that the app may write to and that `mse-enclave` reaches, too
    /// ([`super::SandboxHandle::volumes`]): at most [`MAX_VOLUMES`].
    pub volumes: Vec<PrivateDir>,
    /// Which network the app has.
    pub network: Network,
}

/// What a root directory is made of.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootBase {
    /// The machine's programs and libraries, read-only, and directories of the app's own.
    Machine(AppDirs),
    /// The copy of an image's root file system that the sandbox has already
    /// ([`super::RootedSandbox`]). All of it is the app's own.
    Image,
}

/// Where the app's own files are on the programs and libraries of a machine.
#[derive(Clone, Serialize, Deserialize)]
pub struct AppDirs {
    /// Where the owner's code is unpacked (`/app`).
    pub code: PrivateDir,
    /// Whether the app may change its code directory.
    pub code_access: CodeAccess,
    /// The app's home: empty, private and writable.
    pub home: PrivateDir,
}

/// A sandbox has at most this many volumes.
pub const MAX_VOLUMES: usize = 16;

/// The link, in the directory of the secrets, to the generation of released files that is in
/// force.
pub(super) const RELEASED: &str = "current";

impl TreePlan {
    /// Directories that the app may write to.
    pub(super) fn writable(&self) -> Vec<PathBuf> {
        let mut writable = vec![PathBuf::from("/tmp"), PathBuf::from("/dev/shm")];
        match &self.base {
            RootBase::Machine(own) => {
                writable.push(own.home.target.0.clone());
                if own.code_access == CodeAccess::ReadWrite {
                    writable.push(own.code.target.0.clone());
                }
            }
            RootBase::Image => writable.push(PathBuf::from("/")),
        }
        if self.has_released() {
            writable.push(self.secrets.target.0.clone());
        }
        writable.extend(self.volumes.iter().map(|volume| volume.target.0.clone()));
        writable
    }

    /// Whether released files can be replaced.
    pub(super) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Where private files of the area of code go.
    pub(super) fn code_root(&self) -> &Path {
        self.base
            .own_dirs()
            .map_or(Path::new("/"), |own| own.code.target.as_path())
    }

    /// Where a program without a path is looked up if its environment has no `PATH`; empty for
    /// the system's own places.
    pub(super) fn search(&self) -> Vec<PathBuf> {
        match self.base {
            RootBase::Machine(_) => Vec::new(),
            RootBase::Image => IMAGE_SEARCH.iter().map(PathBuf::from).collect(),
        }
    }

    /// The links to make: place, and what it points to.
    pub(super) fn released_links(&self) -> impl Iterator<Item = (&Path, PathBuf)> {
        let current = self.secrets.target.0.join(RELEASED);
        self.released.iter().map(move |place| {
            let below = place.0.strip_prefix("/").unwrap_or(&place.0);
            (place.as_path(), current.join(below))
        })
    }

    /// Refuses a network of its own with more listeners than can be handed up, or with names that
    /// a released file would hide.
    fn check_network(&self) -> Result<(), InvalidPlan> {
        let Network::Own(network) = &self.network else {
            return Ok(());
        };
        if network.listen.len() > MAX_LISTENERS {
            return Err(InvalidPlan::TooManyListeners(network.listen.len()));
        }
        let hosts = self
            .released
            .iter()
            .find(|place| place.as_path() == Path::new("/etc/hosts"));
        match hosts.filter(|_| !network.hosts.is_empty()) {
            Some(place) => Err(InvalidPlan::HidesHosts(place.clone())),
            None => Ok(()),
        }
    }

    /// Refuses volumes that lie in each other, or where nothing can be put. Below the app's code
    /// and home they may lie.
    fn check_volumes(&self) -> Result<(), InvalidPlan> {
        if self.volumes.len() > MAX_VOLUMES {
            return Err(InvalidPlan::TooManyVolumes(self.volumes.len()));
        }
        let binds = self.read_only.iter().map(|bind| &bind.target);
        let sockets = self.socket_dir.iter().map(|dir| &dir.target);
        let closed: Vec<&Path> = [&self.secrets.target]
            .into_iter()
            .chain(binds)
            .chain(sockets)
            .map(SandboxPath::as_path)
            .chain(self.base.closed().iter().map(Path::new))
            .collect();
        for (at, volume) in self.volumes.iter().enumerate() {
            let path = volume.target.as_path();
            let others = self.volumes.iter().enumerate();
            let is_within_another = others
                .filter(|(other, _)| *other != at)
                .any(|(_, other)| path.starts_with(other.target.as_path()));
            let hides = self
                .targets()
                .any(|target| target != &volume.target && target.as_path().starts_with(path));
            if is_within_another || hides || closed.iter().any(|closed| path.starts_with(closed)) {
                return Err(InvalidPlan::VolumePlace(volume.target.clone()));
            }
        }
        Ok(())
    }

    /// Refuses released files that hide each other, or lie where nothing can be put.
    fn check_released(&self) -> Result<(), InvalidPlan> {
        let places: BTreeSet<&Path> = self.released.iter().map(SandboxPath::as_path).collect();
        if places.len() < self.released.len() {
            let mut seen = BTreeSet::new();
            let twice = self.released.iter().find(|place| !seen.insert(*place));
            return twice.map_or(Ok(()), |place| Err(InvalidPlan::SameTarget(place.clone())));
        }
        let code = self.base.own_dirs().map(|own| &own.code.target);
        let volumes = self.volumes.iter().map(|volume| &volume.target);
        let binds = self.read_only.iter().map(|bind| &bind.target);
        let sockets = self.socket_dir.iter().map(|dir| &dir.target);
        let closed: Vec<&Path> = [&self.secrets.target]
            .into_iter()
            .chain(code)
            .chain(volumes)
            .chain(binds)
            .chain(sockets)
            .map(SandboxPath::as_path)
            .chain(RESERVED.iter().chain(self.base.closed()).map(Path::new))
            .collect();
        let home = self.base.own_dirs().map(|own| own.home.target.as_path());
        let kept: Vec<&Path> = SYSTEM.iter().map(Path::new).chain(home).collect();
        for place in &self.released {
            let path = place.as_path();
            if closed.iter().any(|closed| path.starts_with(closed))
                // A directory of the sandbox's own would be below the file.
                || closed.iter().chain(&kept).any(|kept| kept.starts_with(path))
            {
                return Err(InvalidPlan::Occupied(place.clone()));
            }
            let above = path
                .ancestors()
                .skip(1)
                .find(|above| places.contains(above));
            if above.is_some() {
                return Err(InvalidPlan::BelowFile(place.clone()));
            }
        }
        Ok(())
    }

    /// The directory in which the app may make its socket, and nothing else.
    pub(super) fn sockets(&self) -> Option<PathBuf> {
        self.socket_dir.as_ref().map(|dir| dir.target.0.clone())
    }

    fn targets(&self) -> impl Iterator<Item = &SandboxPath> {
        let own = self.base.own_dirs().into_iter();
        own.flat_map(|own| [&own.code.target, &own.home.target])
            .chain([&self.secrets.target])
            .chain(self.read_only.iter().map(|bind| &bind.target))
            .chain(self.socket_dir.iter().map(|dir| &dir.target))
            .chain(self.volumes.iter().map(|volume| &volume.target))
    }
}

impl RootBase {
    /// Directories of the app's own, if there are any.
    pub(super) fn own_dirs(&self) -> Option<&AppDirs> {
        match self {
            Self::Machine(own) => Some(own),
            Self::Image => None,
        }
    }

    /// Directories into which nothing can be put, besides those that the sandbox makes.
    fn closed(&self) -> &'static [&'static str] {
        match self {
            Self::Machine(_) => READ_ONLY,
            Self::Image => &[mse_workload::image::OWN],
        }
    }
}

/// What runs in the sandbox.
///
/// No `Debug`: arguments and environment may hold released secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// Run to success in this order before the server starts.
    pub prepare: Vec<AppCommand>,
    /// The app's server.
    pub serve: AppCommand,
    /// Limits that the kernel keeps per process or user.
    pub limits: ProcessLimits,
}

/// A program of the app with exactly the environment given: nothing of the
/// host's is inherited.
///
/// No `Debug`, as [`LaunchPlan`].
#[derive(Clone, Serialize, Deserialize)]
pub struct AppCommand {
    /// An absolute path in the sandbox, or a name looked up in `PATH` of `env`.
    pub program: String,
    /// Arguments, without the program's own name.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub cwd: StartDir,
}

/// The working directory that a program starts in: [`SandboxPath`]s, and the root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub enum StartDir {
    /// `/`.
    Root,
    /// Another one.
    At(SandboxPath),
}

impl StartDir {
    /// The absolute path.
    pub fn as_path(&self) -> &Path {
        match self {
            Self::Root => Path::new("/"),
            Self::At(path) => path.as_path(),
        }
    }
}

impl TryFrom<PathBuf> for StartDir {
    type Error = InvalidPath;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        if path.as_os_str() == "/" {
            Ok(Self::Root)
        } else {
            path.try_into().map(Self::At)
        }
    }
}

impl From<StartDir> for PathBuf {
    fn from(dir: StartDir) -> Self {
        dir.as_path().to_owned()
    }
}

impl From<SandboxPath> for StartDir {
    fn from(path: SandboxPath) -> Self {
        Self::At(path)
    }
}

/// Limits set with `setrlimit`. Core dumps are always off.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Open files per process.
    pub open_files: u64,
    /// Processes and threads of the app's user.
    pub processes: u64,
}

/// A memory-backed directory that exists only in the sandbox.
#[derive(Clone, Serialize, Deserialize)]
pub struct PrivateDir {
    /// Where the app sees it.
    pub target: SandboxPath,
    /// The most that it may hold, in bytes.
    pub max_bytes: u64,
}

/// Whether the app may change its code directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeAccess {
    /// Sealed once the files are unpacked.
    ReadOnly,
    /// The app may write beside its code.
    ReadWrite,
}

/// A file or directory of the host that the app may read.
#[derive(Clone, Serialize, Deserialize)]
pub struct ReadOnlyBind {
    /// Where it is on the host; links are followed.
    pub source: PathBuf,
    /// Where the app sees it.
    pub target: SandboxPath,
}

/// The one directory that the sandbox and `mse-enclave` share.
///
/// The app may write anything into it, so put it on memory-backed storage
/// (`/run`, `/dev/shm`) and make it 0700 before. If `mse-enclave` is root, the
/// directory is handed to [`TreePlan::app_uid`].
#[derive(Clone, Serialize, Deserialize)]
pub struct SocketDir {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where the app sees it (`/run/mse`).
    pub target: SandboxPath,
}

/// A private directory that files can be put into.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// [`AppDirs::code`]; the root directory itself if that is an image's.
    Code,
    /// [`TreePlan::secrets`].
    Secrets,
}

/// A user id of the host that belongs to no account: one app's alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct AppUid(u32);

impl AppUid {
    /// The first of the ids that systemd, too, keeps for users without account.
    pub const FIRST: u32 = 61184;
    /// The last of them.
    pub const LAST: u32 = 65519;

    /// The id as the kernel wants it.
    pub fn as_u32(self) -> u32 {
        self.0
    }

    /// One of the ids for the `index`-th app; they repeat after 4,336 apps.
    pub fn nth(index: u32) -> Self {
        Self(Self::FIRST + index % (Self::LAST - Self::FIRST + 1))
    }
}

impl TryFrom<u32> for AppUid {
    type Error = InvalidPlan;

    fn try_from(uid: u32) -> Result<Self, Self::Error> {
        match uid {
            Self::FIRST..=Self::LAST => Ok(Self(uid)),
            _ => Err(InvalidPlan::Uid(uid)),
        }
    }
}

impl From<AppUid> for u32 {
    fn from(uid: AppUid) -> Self {
        uid.0
    }
}

/// Permission bits of a private file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct FileMode(u32);

impl FileMode {
    /// Read by its owner alone: secrets.
    pub const SECRET: Self = Self(0o400);
    /// Read by all.
    pub const READABLE: Self = Self(0o444);
    /// Read and run by all.
    pub const EXECUTABLE: Self = Self(0o555);

    /// The bits, as in `0o444`.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl From<u32> for FileMode {
    /// Keeps the nine permission bits: set-id and sticky bits have no use here.
    fn from(bits: u32) -> Self {
        Self(bits & 0o777)
    }
}

impl From<FileMode> for u32 {
    fn from(mode: FileMode) -> Self {
        mode.0
    }
}

/// The path of a private file below its [`Area`]: relative, of plain names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrivatePath(String);

impl PrivatePath {
    /// The path, to be joined to a directory.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl TryFrom<String> for PrivatePath {
    type Error = InvalidPath;

    fn try_from(path: String) -> Result<Self, Self::Error> {
        check_names(&path, path.split('/'))?;
        Ok(Self(path))
    }
}

impl TryFrom<&str> for PrivatePath {
    type Error = InvalidPath;

    fn try_from(path: &str) -> Result<Self, Self::Error> {
        path.to_owned().try_into()
    }
}

impl From<PrivatePath> for String {
    fn from(path: PrivatePath) -> Self {
        path.0
    }
}

impl fmt::Display for PrivatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A path in the sandbox: absolute, of plain names, not the root itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub struct SandboxPath(PathBuf);

impl SandboxPath {
    /// The absolute path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl TryFrom<PathBuf> for SandboxPath {
    type Error = InvalidPath;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        let shown = path.display().to_string();
        let names = shown
            .strip_prefix('/')
            .ok_or_else(|| InvalidPath::new(&shown, "it is not absolute"))?;
        if path.to_str().is_none() {
            return Err(InvalidPath::new(&shown, "it is not UTF-8"));
        }
        check_names(&shown, names.split('/'))?;
        Ok(Self(path))
    }
}

impl TryFrom<&str> for SandboxPath {
    type Error = InvalidPath;

    fn try_from(path: &str) -> Result<Self, Self::Error> {
        PathBuf::from(path).try_into()
    }
}

impl From<SandboxPath> for PathBuf {
    fn from(path: SandboxPath) -> Self {
        path.0
    }
}

impl fmt::Display for SandboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Limits of a path, well below the kernel's own (4096 bytes, names of 255).
const MAX_PATH: usize = 2048;
const MAX_DEPTH: usize = 64;
const MAX_NAME: usize = 255;

fn check_names<'a>(path: &str, names: impl Iterator<Item = &'a str>) -> Result<(), InvalidPath> {
    if path.len() > MAX_PATH {
        return Err(InvalidPath::new(path, "it is longer than 2048 bytes"));
    }
    let mut depth = 0;
    for name in names {
        depth += 1;
        let plain = matches!(
            Path::new(name).components().collect::<Vec<_>>()[..],
            [Component::Normal(_)]
        );
        let reason = match name {
            "" => "it has an empty part",
            "." | ".." => "it has a part `.` or `..`",
            _ if name.contains('\0') => "it contains a NUL byte",
            _ if name.len() > MAX_NAME => "a part is longer than 255 bytes",
            _ if depth > MAX_DEPTH => "it is more than 64 parts deep",
            _ if !plain => "a part is not a plain name",
            _ => continue,
        };
        return Err(InvalidPath::new(path, reason));
    }
    Ok(())
}

/// A path that must not be used in or for a sandbox.
#[derive(Debug, thiserror::Error)]
#[error("the path `{path}` cannot be used in a sandbox: {reason}")]
pub struct InvalidPath {
    path: String,
    reason: &'static str,
}

impl InvalidPath {
    fn new(path: &str, reason: &'static str) -> Self {
        Self {
            path: path
                .chars()
                .take(200)
                .collect::<String>()
                .escape_debug()
                .to_string(),
            reason,
        }
    }
}

/// A plan that contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPlan {
    /// Two directories at one place.
    #[error("the sandbox plan puts two directories at `{0}`; give each its own")]
    SameTarget(SandboxPath),
    /// A directory where the sandbox makes its own.
    #[error(
        "the sandbox plan puts a directory at `{0}`, which the sandbox makes itself; choose another place"
    )]
    Reserved(SandboxPath),
    /// A released file where nothing can be put.
    #[error(
        "a released file cannot be put at `{0}`: the program's tree, the system's directories (those of an image are open), volumes, `/proc`, `/dev` and `/sys` are closed to it; choose another place, such as below `/etc` or `/run/secrets`"
    )]
    Occupied(SandboxPath),
    /// A released file is another's directory.
    #[error("a released file cannot be put at `{0}`: another one is where its directory should be")]
    BelowFile(SandboxPath),
    /// A volume where nothing can be put, or that hides something.
    #[error(
        "a volume cannot be mounted at `{0}`: it would lie in the system's directories or in another volume, or hide what the sandbox has there; choose another place, such as below `/data` or `/var/lib`"
    )]
    VolumePlace(SandboxPath),
    /// Too many.
    #[error("there are {0} volumes: at most {MAX_VOLUMES} are mounted")]
    TooManyVolumes(usize),
    /// Too many.
    #[error("the app's network has {0} listeners: at most {MAX_LISTENERS} are made")]
    TooManyListeners(usize),
    /// A released file that would hide the names of the app's network.
    #[error(
        "a released file cannot be put at `{0}`: the network shield writes it, with the names of its destinations; take the file out"
    )]
    HidesHosts(SandboxPath),
    /// A user id that may belong to somebody.
    #[error("the user id `{0}` may belong to an account; choose one from 61184 to 65519")]
    Uid(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_paths_stay_below_their_area() {
        for good in ["app.py", "a/b/c.txt", "…/ü", "a..b", ".hidden"] {
            assert!(PrivatePath::try_from(good).is_ok(), "{good}");
        }
        let deep = vec!["d"; MAX_DEPTH + 1].join("/");
        let long = "n".repeat(MAX_NAME + 1);
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\0b",
            &deep,
            &long,
        ] {
            assert!(PrivatePath::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_is_checked_when_it_is_read_from_the_wire_too() {
        assert!(serde_json::from_str::<PrivatePath>(r#""../x""#).is_err());
        assert!(serde_json::from_str::<SandboxPath>(r#""/app/../etc""#).is_err());
        assert!(serde_json::from_str::<AppUid>("0").is_err());
    }

    #[test]
    fn sandbox_paths_are_absolute_and_not_the_root() {
        assert!(SandboxPath::try_from("/run/mse").is_ok());
        for bad in ["/", "app", "/app/", "/app/../etc", "/app//x"] {
            assert!(SandboxPath::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn released_files_have_places_of_their_own() {
        let path = |path: &str| SandboxPath::try_from(path).unwrap();
        let private = |target: &str| PrivateDir {
            target: path(target),
            max_bytes: 1,
        };
        let check = |places: &[&str]| {
            let tree = TreePlan {
                app_uid: AppUid::nth(0),
                base: RootBase::Machine(AppDirs {
                    code: private("/app"),
                    code_access: CodeAccess::ReadOnly,
                    home: private("/root"),
                }),
                secrets: private("/run/mse"),
                tmp_bytes: 1,
                shm_bytes: 1,
                read_only: vec![ReadOnlyBind {
                    source: "/opt/python".into(),
                    target: path("/opt/python"),
                }],
                socket_dir: None,
                released: places.iter().map(|place| path(place)).collect(),
                volumes: vec![private("/data")],
                network: Network::Host,
            };
            tree.check_released()
        };
        check(&[
            "/etc/a",
            "/etc/ab",
            "/etc/hosts",
            "/root/.netrc",
            "/tmp/x",
            "/run/secrets/x",
        ])
        .unwrap();
        for bad in [
            "/app",
            "/app/x",
            "/run/mse/x",
            "/data",
            "/data/x",
            "/run",
            "/root",
            "/tmp",
            "/usr/x",
            "/lib64/x",
            "/opt",
            "/opt/python/x",
            "/etc",
            "/etc/ssl",
            "/etc/ssl/certs/x",
            "/proc/x",
            "/dev/null",
            "/dev",
        ] {
            assert!(
                matches!(check(&[bad]), Err(InvalidPlan::Occupied(_))),
                "{bad}"
            );
        }
        assert!(matches!(
            check(&["/a/b", "/x", "/a/b"]),
            Err(InvalidPlan::SameTarget(_))
        ));
        for above in [&["/a", "/a/b"], &["/a/b/c", "/a"]] {
            assert!(matches!(check(above), Err(InvalidPlan::BelowFile(_))));
        }
    }

    #[test]
    fn volumes_have_places_of_their_own() {
        let path = |path: &str| SandboxPath::try_from(path).unwrap();
        let private = |target: &str| PrivateDir {
            target: path(target),
            max_bytes: 1,
        };
        let check = |places: &[&str]| {
            let command = AppCommand {
                program: "x".into(),
                args: Vec::new(),
                env: BTreeMap::new(),
                cwd: StartDir::Root,
            };
            let plan = SandboxPlan {
                tree: TreePlan {
                    app_uid: AppUid::nth(0),
                    base: RootBase::Machine(AppDirs {
                        code: private("/srv/app"),
                        code_access: CodeAccess::ReadOnly,
                        home: private("/root"),
                    }),
                    secrets: private("/run/mse"),
                    tmp_bytes: 1,
                    shm_bytes: 1,
                    read_only: Vec::new(),
                    socket_dir: None,
                    released: Vec::new(),
                    volumes: places.iter().map(|place| private(place)).collect(),
                    network: Network::Host,
                },
                launch: LaunchPlan {
                    prepare: Vec::new(),
                    serve: command,
                    limits: ProcessLimits {
                        open_files: 1,
                        processes: 1,
                    },
                },
            };
            plan.validate()
        };
        for good in [
            &["/data"][..],
            &["/srv/app/data", "/root/data", "/var/lib/db"],
            &["/tmp/x", "/etc/x", "/a", "/ab"],
        ] {
            check(good).unwrap();
        }
        for bad in [
            &["/a", "/a"][..],
            &["/a", "/a/b"],
            &["/a/b", "/a"],
            &["/srv"],
            &["/run"],
            &["/run/mse"],
            &["/run/mse/x"],
            &["/usr/x"],
            &["/etc/ssl/certs/x"],
            &["/etc"],
            &["/tmp"],
            &["/dev/shm"],
            &["/proc/x"],
            &["/srv/app"],
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        let many: Vec<String> = (0..=MAX_VOLUMES).map(|n| format!("/v/{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(matches!(check(&many), Err(InvalidPlan::TooManyVolumes(_))));
    }

    #[test]
    fn a_program_may_start_in_the_root_directory() {
        for good in ["/", "/app", "/srv/x"] {
            let dir = StartDir::try_from(PathBuf::from(good)).unwrap();
            assert_eq!(dir.as_path(), Path::new(good));
        }
        for bad in ["", "app", "/app/..", "//", "/app/"] {
            assert!(StartDir::try_from(PathBuf::from(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn modes_lose_set_id_bits() {
        assert_eq!(FileMode::from(0o6755).bits(), 0o755);
    }

    #[test]
    fn uids_are_never_an_account_s() {
        assert_eq!(AppUid::nth(0).as_u32(), 61184);
        assert_eq!(AppUid::nth(4336).as_u32(), 61184);
        assert!(AppUid::try_from(1000).is_err());
    }
}
