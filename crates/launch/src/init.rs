//! The first process of a container: passes signals on, and reaps whatever nobody waits for.

use std::process::{Child, Command, ExitCode};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

/// What the launcher is called with by the first process.
pub(crate) const SERVICE: &str = "service";

/// Those that an engine or a person sends.
const PASSED_ON: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
];

/// Whether this process is the first one.
pub(crate) fn is_first() -> bool {
    getpid().as_raw() == 1
}

/// Launches what `argument` names in a process of its own, and ends as that does.
pub(crate) fn accompany(argument: &str) -> ExitCode {
    // Blocked before there is a child, so that no signal is lost in between.
    let mut signals = SigSet::empty();
    for signal in PASSED_ON.into_iter().chain([Signal::SIGCHLD]) {
        signals.add(signal);
    }
    if let Err(error) = signals.thread_block() {
        eprintln!("error: signals cannot be received: {error}");
        return ExitCode::FAILURE;
    }
    match Command::new("/proc/self/exe").arg(argument).spawn() {
        Ok(child) => attend(&child, &signals),
        Err(error) => {
            eprintln!("error: the launcher cannot be started: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the first process blocks for itself, its child inherits.
pub(crate) fn unblock_signals() {
    if let Err(error) = SigSet::all().thread_unblock() {
        eprintln!("warning: signals stay blocked: {error}");
    }
}

fn attend(child: &Child, signals: &SigSet) -> ExitCode {
    let pid = Pid::from_raw(child.id().cast_signed());
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(pid) {
                    return ExitCode::from(code);
                }
            }
            // It is not reaped yet: the id is still its.
            Ok(signal) => drop(kill(pid, signal)),
            Err(error) => {
                eprintln!("error: signals cannot be received: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}

/// Reaps all that ended; the code of `awaited` if it was among them.
fn reap(awaited: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == awaited => {
                code = Some(u8::try_from(status).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == awaited => {
                code = u8::try_from(128 + signal as i32).ok();
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return code,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                eprintln!("error: processes that ended cannot be waited for: {error}");
                return code;
            }
        }
    }
}
