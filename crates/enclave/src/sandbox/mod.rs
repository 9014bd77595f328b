//! The sandbox in which the owner's app runs (DESIGN.md §7.4).
//!
//! The app gets its own user, mount, pid, ipc and uts namespaces, a root
//! directory that holds nothing of the host's but the system's programs and
//! what the plan names (all read-only), no capability, no new privileges, a
//! seccomp filter and, where the kernel has it, a Landlock domain. Its code and
//! secrets arrive over a socket and exist only in memory-backed file systems
//! that no process outside the sandbox's mount namespace has mounted.
//!
//! Making a sandbox takes steps that must not be taken in a program with
//! threads, so this binary starts itself again under two hidden subcommands:
//!
//! ```text
//! mse-enclave ──spawns──▶ sandbox-stage1 ──spawns──▶ sandbox-init ──spawns──▶ app
//!  Sandbox                 namespaces, root           pid 1: /proc, filters,   prepare
//!      ▲                   directory, files           reaping, signals         steps, server
//!      └────────── one socket: plan and files down, events up ──┘
//! ```
//!
//! The socket is standard input of both stages and never reaches the app, which
//! therefore cannot forge an event. If `mse-enclave` dies, the kernel kills
//! stage 1, and with it the init, and with it everything in the pid namespace.
//!
//! The root directory of a service that runs an image is a copy of the image's ([`RootedSandbox`]):
//! then nothing of the machine's programs is there, and everything in it is the app's own.
//!
//! What cannot be done without is done or the app does not run
//! ([`SandboxError::Refused`]); what is good to have is reported either way in
//! the [`SandboxReport`].

mod confine;
mod failure;
mod files;
mod host;
mod image;
mod init;
mod landlock;
mod launcher;
mod logs;
mod namespaces;
mod network;
mod plan;
mod released;
mod report;
mod root;
mod seccomp;
mod stage1;
mod tree;
mod volumes;
mod wire;

use std::process::ExitCode;

pub use files::PrivateFilesWriter;
pub use launcher::{Sandbox, SandboxError, SandboxHandle, Spawned};
pub use logs::{LogLine, LogStream, MAX_LOG_LINE};
pub use network::{InsideNetwork, InsideSockets, MAX_LISTENERS, Network, OwnNetwork};
pub use plan::{
    AppCommand, AppDirs, AppUid, Area, CodeAccess, FileMode, InvalidPath, InvalidPlan, LaunchPlan,
    MAX_VOLUMES, PrivateDir, PrivatePath, ProcessLimits, ReadOnlyBind, RootBase, SandboxPath,
    SandboxPlan, SocketDir, StartDir, TreePlan,
};
pub use released::{Notice, ReleasedFile, ReleasedFiles};
pub use report::{ExitCause, SandboxEntry, SandboxExit, SandboxReport, State, Step};
pub use root::{CopiedRoot, RootPlan, RootedSandbox};
pub use volumes::Pauses;

/// The hidden subcommand that builds the namespaces and the root directory.
const STAGE1: &str = "sandbox-stage1";
/// The hidden subcommand that is pid 1 of the sandbox.
const INIT: &str = "sandbox-init";

/// Runs the hidden subcommand that `arguments` (without the program's name)
/// ask for, if they ask for one.
///
/// Call it first thing in `main`: both stages rely on being single-threaded.
pub fn dispatch(mut arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
    match arguments.next()?.as_str() {
        STAGE1 => Some(stage1::main(arguments.next().as_deref())),
        INIT => Some(init::main()),
        _ => None,
    }
}
