//! The first process of the sandbox's pid namespace: gives up what the app must
//! not have, runs the plan's commands, reaps, passes on requests to stop.

use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{AccessFlags, Pid, access};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc;

use super::confine;
use super::failure::{Doing, StageError};
use super::plan::{AppCommand, LaunchPlan};
use super::released::{self, Update};
use super::report::{ExitCause, Step};
use super::stage1::{self, FAILED};
use super::wire::{self, Event, FrameReader, Kind, Launch};

/// `sandbox-init`: ends as the last command of the plan ends, and the kernel
/// then ends every process that is left.
pub(super) fn main() -> ExitCode {
    let mut channel = match stage1::channel() {
        Ok(channel) => channel,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(FAILED);
        }
    };
    match prepare(&mut channel).and_then(|launch| run(launch, &channel)) {
        Ok(cause) => ExitCode::from(cause.shell_code()),
        Err(error) => stage1::fail(&mut channel, error),
    }
}

fn prepare(channel: &mut UnixStream) -> Result<Launch, StageError> {
    // Should stage 1 be gone before this, mse-enclave notices and closes the
    // channel, which ends this process too.
    prctl::set_pdeathsig(Signal::SIGKILL).doing(|| "be tied to mse-enclave".into())?;
    // The app has the same user: it must not trace the init, nor open the
    // program of mse-enclave through `/proc/1/exe`.
    prctl::set_dumpable(false).doing(|| "become undumpable".into())?;

    let launch: Launch = FrameReader::new(&mut *channel).read_json(Kind::Launch)?;
    let entries = confine::confine(
        launch.plan.limits,
        &launch.writable,
        launch.sockets.as_deref(),
    )?;
    send(channel, &Event::Confined { entries })?;
    Ok(launch)
}

/// One thread: what it may do was given up by thread.
fn run(launch: Launch, channel: &UnixStream) -> Result<ExitCause, StageError> {
    let watched = channel
        .try_clone()
        .doing(|| "watch the channel to mse-enclave".into())?;
    // Events are few and small: they fit the socket's buffer, and this side need
    // not wait for it.
    watched
        .set_nonblocking(true)
        .doing(|| "watch the channel to mse-enclave".into())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .doing(|| "start the init's event loop".into())?
        .block_on(async {
            let (channel_end, write_half) = tokio::net::UnixStream::from_std(watched)
                .doing(|| "watch the channel to mse-enclave".into())?
                .into_split();
            write_half.forget();
            let (sender, updates) = mpsc::channel(1);
            tokio::spawn(released::receive(channel_end, launch.released, sender));
            Init::new(updates)?
                .run_all(&launch.plan, &launch.search, channel)
                .await
        })
}

struct Init {
    children: unix::Signal,
    stop: unix::Signal,
    /// The app's wish, `kill -USR1 1`.
    commit_asked: unix::Signal,
    /// Its end is the end of mse-enclave.
    updates: mpsc::Receiver<Update>,
    stopping: bool,
}

impl Init {
    fn new(updates: mpsc::Receiver<Update>) -> Result<Self, StageError> {
        let listen = |kind| unix::signal(kind).doing(|| "receive signals".into());
        Ok(Self {
            children: listen(SignalKind::child())?,
            stop: listen(SignalKind::terminate())?,
            commit_asked: listen(SignalKind::user_defined1())?,
            updates,
            stopping: false,
        })
    }

    /// The prepare steps, each to success, then the server.
    async fn run_all(
        mut self,
        plan: &LaunchPlan,
        search: &[PathBuf],
        channel: &UnixStream,
    ) -> Result<ExitCause, StageError> {
        for (index, command) in plan.prepare.iter().enumerate() {
            let step = Step::Prepare(index);
            let cause = self.wait(start(step, command, search)?, channel).await?;
            if cause != ExitCause::Code(0) || self.stopping {
                return end(channel, step, cause);
            }
        }
        let server = start(Step::Serve, &plan.serve, search)?;
        send(channel, &Event::Serving)?;
        let cause = self.wait(server, channel).await?;
        end(channel, Step::Serve, cause)
    }

    async fn wait(&mut self, pid: Pid, channel: &UnixStream) -> Result<ExitCause, StageError> {
        loop {
            tokio::select! {
                _ = self.children.recv() => {
                    if let Some(cause) = reap(pid)? {
                        return Ok(cause);
                    }
                }
                _ = self.stop.recv() => {
                    self.stopping = true;
                    // Only this process reaps, and it has not: the id is still
                    // the child's.
                    kill(pid, Signal::SIGTERM).doing(|| "pass on the request to stop".into())?;
                }
                update = self.updates.recv() => match update {
                    Some(update) => if let Some(event) = released::enact(update, pid)? {
                        send(channel, &event)?;
                    },
                    None => return Err(StageError::Orphaned),
                },
                _ = self.commit_asked.recv() => send(channel, &Event::CommitAsked)?,
            }
        }
    }
}

fn start(step: Step, command: &AppCommand, search: &[PathBuf]) -> Result<Pid, StageError> {
    let program = &command.program;
    let doing = || format!("start `{program}` ({step})");
    let directory = command.cwd.as_path();
    fs::metadata(directory).doing(|| {
        let directory = directory.display();
        format!("start `{program}` ({step}) in the working directory `{directory}`")
    })?;
    Command::new(looked_up(command, search).unwrap_or_else(|| program.into()))
        .arg0(program)
        .args(&command.args)
        .env_clear()
        .envs(&command.env)
        .current_dir(directory)
        // Not the init's own standard input, which is the channel.
        .stdin(Stdio::null())
        .spawn()
        .map(|child| Pid::from_raw(child.id().cast_signed()))
        .doing(doing)
}

/// The program in the first folder of `search` that has it, if it has no path and its environment
/// names no folders.
fn looked_up(command: &AppCommand, search: &[PathBuf]) -> Option<PathBuf> {
    if command.program.contains('/') || command.env.contains_key("PATH") {
        return None;
    }
    search
        .iter()
        .map(|folder| folder.join(&command.program))
        .find(|file| access(file, AccessFlags::X_OK).is_ok() && file.is_file())
}

/// Reaps whatever ended, and says how `awaited` did if it was among them.
fn reap(awaited: Pid) -> Result<Option<ExitCause>, StageError> {
    let mut found = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == awaited => {
                found = Some(ExitCause::Code(code));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == awaited => {
                found = Some(ExitCause::Signal(signal as i32));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(found),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).doing(|| "wait for the app".into()),
        }
    }
}

fn end(channel: &UnixStream, step: Step, cause: ExitCause) -> Result<ExitCause, StageError> {
    send(channel, &Event::Exited { step, cause })?;
    Ok(cause)
}

fn send(mut channel: &UnixStream, event: &Event) -> Result<(), StageError> {
    wire::write_frame(&mut channel, Kind::Event, &wire::encode(event)?)?;
    Ok(())
}
