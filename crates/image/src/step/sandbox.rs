//! Running one program of an image, with nothing of this machine but what it needs.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::progress::{Cancel, Event, Progress};
use crate::spec::StepNetwork;

/// What makes the sandbox.
const BWRAP: &str = "bwrap";
/// Search path of every step.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often a running step is asked whether it shall end.
const PATIENCE: Duration = Duration::from_millis(50);
/// A line of a step's output is cut here.
const MAX_LINE: u64 = 4096;
/// So many of its last lines stand in the error if it fails.
const LAST_LINES: usize = 12;
/// Files of the machine that say how to use its network.
const NETWORK_FILES: &[&str] = &["/etc/resolv.conf", "/etc/hosts"];

/// Something of this machine that a step sees.
pub(crate) struct Mount {
    pub(crate) from: PathBuf,
    pub(crate) to: String,
    pub(crate) access: Access,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Mount {
    pub(crate) fn read(from: &Path, to: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            access: Access::Read,
        }
    }

    pub(crate) fn write(from: &Path, to: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            access: Access::Write,
        }
    }
}

/// One program to run. bubblewrap makes the sandbox, with namespaces of the user, so that it works
/// alike with and without root.
pub(crate) struct Sandbox<'a> {
    /// The root of the image, writable.
    pub(crate) root: &'a Path,
    pub(crate) network: StepNetwork,
    pub(crate) folder: &'a str,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) environment: Vec<(String, OsString)>,
}

impl Sandbox<'_> {
    /// Runs `command` to its end; its output goes to `progress`.
    pub(crate) fn run(
        &self,
        command: &[&str],
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<(), StepError> {
        is_there(BWRAP).map_err(StepError::Start)?;
        let mut child = self.command(command).spawn().map_err(StepError::Start)?;
        let lines = output_of(&mut child);
        let mut last: Vec<String> = Vec::new();
        let status = loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if last.len() == LAST_LINES {
                        last.remove(0);
                    }
                    last.push(line.clone());
                    progress.tell(Event::Output(line));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break wait(&mut child, cancel)?,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let Some(status) = child.try_wait().map_err(StepError::Start)? {
                        last.extend(lines.try_iter());
                        break status;
                    }
                }
            }
            if cancel.is_cancelled() {
                end(&mut child);
                return Err(StepError::Cancelled);
            }
        };
        if status.success() {
            return Ok(());
        }
        Err(StepError::Failed {
            status,
            output: last.join("\n"),
        })
    }

    fn command(&self, program: &[&str]) -> Command {
        // The modes of files are the image's, whatever this user's are.
        let mut bwrap = Command::new("/bin/sh");
        bwrap.args(["-c", "umask 022; exec \"$@\"", "sh", BWRAP]);
        bwrap.args([
            "--unshare-all",
            "--unshare-user",
            "--uid",
            "0",
            "--gid",
            "0",
        ]);
        bwrap.args(["--die-with-parent", "--new-session", "--clearenv"]);
        bwrap.args(["--hostname", "build"]);
        bwrap.arg("--bind").arg(self.root).arg("/");
        bwrap.args(["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]);
        if self.network == StepNetwork::On {
            bwrap.arg("--share-net");
            for file in NETWORK_FILES
                .iter()
                .filter(|file| Path::new(file).is_file())
            {
                bwrap.args(["--ro-bind", file, file]);
            }
        }
        for mount in &self.mounts {
            bwrap
                .arg(match mount.access {
                    Access::Read => "--ro-bind",
                    Access::Write => "--bind",
                })
                .arg(&mount.from)
                .arg(&mount.to);
        }
        bwrap.args(["--setenv", "PATH", PATH, "--setenv", "HOME", "/root"]);
        bwrap.args(["--setenv", "LANG", "C.UTF-8"]);
        for (name, value) in &self.environment {
            bwrap.arg("--setenv").arg(name).arg(value);
        }
        bwrap.args(["--chdir", self.folder, "--"]);
        bwrap
            .args(program)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        bwrap
    }
}

/// Whether the program can be started at all: a shell would say it in words of its own.
fn is_there(program: &str) -> io::Result<()> {
    let mut asked = Command::new(program);
    asked
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    asked.status().map(drop)
}

/// The lines that `child` prints; ends when it closed both of its outputs.
fn output_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    let outputs: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for pipe in outputs.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
    }
    lines
}

/// Both outputs are closed: the end is near, but a program may go on without.
fn wait(child: &mut Child, cancel: &Cancel) -> Result<ExitStatus, StepError> {
    loop {
        if let Some(status) = child.try_wait().map_err(StepError::Start)? {
            return Ok(status);
        }
        if cancel.is_cancelled() {
            end(child);
            return Err(StepError::Cancelled);
        }
        thread::sleep(PATIENCE);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// There is no sandbox.
    #[error("`bwrap` cannot be started: {0}; install the package `bubblewrap`")]
    Start(#[source] io::Error),
    /// The program failed.
    #[error("the command failed ({status}); its last lines:\n{output}")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        output: String,
    },
    /// The build was told to stop.
    #[error("the build was stopped")]
    Cancelled,
}
