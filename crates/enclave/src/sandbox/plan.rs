//! What a sandbox is to be: the root directory ([`TreePlan`]) and what runs in
//! it ([`LaunchPlan`]).

mod path;
mod permissions;
mod places;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::network::Network;

pub use path::{InvalidPath, PrivatePath, SandboxPath, StartDir};
pub use permissions::{AppUid, FileMode};
pub use places::InvalidPlan;

/// Everything needed to make a sandbox and run an app in it.
#[derive(Clone)]
pub struct SandboxPlan {
    /// The root directory that the app sees.
    pub tree: TreePlan,
    /// What runs there.
    pub launch: LaunchPlan,
}

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
                writable.push(own.home.target.as_path().to_owned());
                if own.code_access == CodeAccess::ReadWrite {
                    writable.push(own.code.target.as_path().to_owned());
                }
            }
            RootBase::Image => writable.push(PathBuf::from("/")),
        }
        if self.has_released() {
            writable.push(self.secrets.target.as_path().to_owned());
        }
        writable.extend(
            self.volumes
                .iter()
                .map(|volume| volume.target.as_path().to_owned()),
        );
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
        let current = self.secrets.target.as_path().join(RELEASED);
        self.released.iter().map(move |place| {
            let path = place.as_path();
            let below = path.strip_prefix("/").unwrap_or(path);
            (path, current.join(below))
        })
    }

    /// The directory in which the app may make its socket, and nothing else.
    pub(super) fn sockets(&self) -> Option<PathBuf> {
        self.socket_dir
            .as_ref()
            .map(|dir| dir.target.as_path().to_owned())
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
}

/// Where engines look for the program of a container whose image has no `PATH`.
const IMAGE_SEARCH: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

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

/// Limits set with `setrlimit`. Core dumps are always off.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Open files per process.
    pub open_files: u64,
    /// Processes and threads of the app's user.
    pub processes: u64,
}
