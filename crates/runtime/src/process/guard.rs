//! Ties an enclave's life to the program that launched it.
//!
//! An enclave ends when its socket closes, if it is the enclave it should be. The kernel makes
//! sure of it for any program: a process can ask to be killed when its parent dies. It can only
//! ask for itself, so a launcher starts enclaves through itself: its own program, called with
//! [`ARGUMENT`], asks the kernel and then becomes the enclave, under the same process id.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// What a program is called with to be the guard: this, the launcher's process id, the enclave
/// program.
pub const ARGUMENT: &str = "enclave-guard";

/// Becomes an enclave if this program was called as the guard; otherwise returns `None` at once.
///
/// The first thing in `main` of every program that launches with [`Guard::OwnProgram`].
pub fn intercept() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next()? != ARGUMENT {
        return None;
    }
    let problem = match (arguments.next(), arguments.next()) {
        (Some(launcher), Some(program)) => become_enclave(&launcher, &program),
        _ => "the launcher and the enclave program are missing".to_owned(),
    };
    eprintln!("the enclave does not start: {problem}");
    Some(ExitCode::FAILURE)
}

/// Through what enclaves are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// This very program, which calls [`intercept`] first.
    OwnProgram,
    /// Nothing: an enclave that does not watch its socket outlives a launcher that is killed,
    /// until the next one ends it.
    None,
}

impl Guard {
    /// The command that starts `program`.
    pub(super) fn command(self, program: &std::path::Path) -> tokio::process::Command {
        match self {
            Self::None => tokio::process::Command::new(program),
            Self::OwnProgram => {
                let mut command = tokio::process::Command::new("/proc/self/exe");
                command
                    .arg(ARGUMENT)
                    .arg(std::process::id().to_string())
                    .arg(program);
                command
            }
        }
    }
}

/// Does not return unless it fails; says why then.
fn become_enclave(launcher: &OsString, program: &OsString) -> String {
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        return format!("the kernel does not tie it to its launcher: {error}");
    }
    // The launcher may have died before the kernel was asked.
    let launcher = launcher.to_str().and_then(|pid| pid.parse().ok());
    if launcher.map(Pid::from_raw) != Some(getppid()) {
        return "its launcher is gone".to_owned();
    }
    let error = Command::new(program).exec();
    format!("`{}`: {error}", program.display())
}
