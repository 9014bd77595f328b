//! Stage 1: makes the namespaces and the root directory, unpacks the private
//! files, and starts the init. Single-threaded.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{self, Gid, Pid, Uid, fchown, getppid};
use tokio::signal::unix::{self, SignalKind};

use super::failure::{Doing, StageError};
use super::namespaces::{self, Maker};
use super::network::{self, Supply, Supplying};
use super::plan::{RootBase, TreePlan};
use super::report::{ExitCause, SandboxEntry};
use super::root::RootPlan;
use super::wire::{self, Event, FrameReader, Kind, WireError};
use super::{INIT, files, image, released, tree, volumes};

/// The exit code of a stage that failed; the reason went up the channel.
pub(super) const FAILED: u8 = 70;
/// The signal by which stage 1 is asked to kill the sandbox and wait for its end.
pub(super) const KILL_ALL: Signal = Signal::SIGHUP;

/// `sandbox-stage1 PARENT`: ends as the init ends.
pub(super) fn main(parent: Option<&str>) -> ExitCode {
    let Some(parent) = parent.and_then(|pid| pid.parse().ok()).map(Pid::from_raw) else {
        eprintln!("this is a part of mse-enclave that only mse-enclave itself can start");
        return ExitCode::from(FAILED);
    };
    let mut channel = match channel() {
        Ok(channel) => channel,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(FAILED);
        }
    };
    let prepared = prepare(&mut channel, parent).and_then(|supply| Ok((supply, start_init()?)));
    let (supply, init) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return fail(&mut channel, error),
    };
    // From here the channel belongs to the init alone, so that mse-enclave sees
    // its end at once.
    drop(channel);
    match accompany(init, supply) {
        Ok(status) => ExitCode::from(ExitCause::from(status).shell_code()),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(FAILED)
        }
    }
}

/// The socket to `mse-enclave`, which is standard input of both stages.
pub(super) fn channel() -> Result<UnixStream, StageError> {
    io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(UnixStream::from)
        .doing(|| "open the channel to mse-enclave".into())
}

/// Says up the channel why the stage ends.
pub(super) fn fail(channel: &mut UnixStream, error: StageError) -> ExitCode {
    // A closed channel means that nobody is left to be told.
    if let Ok(event) = wire::encode(&error.into_event()) {
        let _ = wire::write_frame(channel, Kind::Event, &event);
    }
    ExitCode::from(FAILED)
}

fn prepare(channel: &mut UnixStream, parent: Pid) -> Result<Option<Supply>, StageError> {
    die_with(parent)?;
    unistd::setsid().doing(|| "leave the terminal".into())?;
    umask(Mode::from_bits_truncate(0o022));

    let mut frames = FrameReader::new(&mut *channel);
    let (plan, mut entries) = match Order::read(&mut frames)? {
        Order::Tree(plan) => {
            let entries = on_machine(&plan)?;
            (*plan, entries)
        }
        Order::Root(root) => image::make(&mut frames, &root)?,
    };
    let (network, made) = network::make(&plan.network)?;
    entries.extend(made);
    // The kernel forgets this whenever a process changes its user.
    die_with(parent)?;

    volumes::hand_up(frames.channel(), &plan)?;
    let supply = network
        .map(|network| network.hand_up(frames.channel()))
        .transpose()?;
    files::unpack(&mut frames, &plan)?;
    released::enact_first(&plan)?;
    if let RootBase::Image = plan.base {
        released::link_into_image(&plan)?;
    }
    entries.extend(tree::seal(&plan)?);
    wire::write_frame(
        channel,
        Kind::Event,
        &wire::encode(&Event::Built { entries })?,
    )?;
    Ok(supply)
}

/// What comes first.
enum Order {
    /// A root directory of the machine's.
    Tree(Box<TreePlan>),
    /// A root directory of an image's; the rest of the plan follows when it is copied.
    Root(RootPlan),
}

impl Order {
    fn read(frames: &mut FrameReader<&mut UnixStream>) -> Result<Self, StageError> {
        let frame = frames.read()?;
        Ok(match frame.kind {
            Kind::Root => Self::Root(frame.json()?),
            Kind::Tree => Self::Tree(Box::new(frame.json()?)),
            got => {
                let expected = Kind::Tree;
                return Err(WireError::Unexpected { expected, got }.into());
            }
        })
    }
}

/// Makes the namespaces and a root directory of the machine's.
fn on_machine(plan: &TreePlan) -> Result<Vec<SandboxEntry>, StageError> {
    let RootBase::Machine(own) = &plan.base else {
        return Err(StageError::NoRoot);
    };
    let maker = Maker::new(plan.app_uid);
    let mut entries;
    match maker {
        Maker::Root(uid) => {
            hand_over(plan)?;
            namespaces::enter_mounts()?;
            let built = tree::build(plan, own, maker)?;
            namespaces::become_app_user(uid)?;
            entries = namespaces::enter(maker)?;
            entries.extend(built);
        }
        Maker::User => {
            let advice = namespaces::advice();
            entries = namespaces::enter(maker)?;
            // AppArmor lets the namespace be made and forbids its use.
            entries.extend(tree::build(plan, own, maker).map_err(|error| {
                let advice = advice.filter(|_| namespaces::is_forbidden(&error));
                error.with_fix(advice)
            })?);
        }
    }
    Ok(entries)
}

/// Has the kernel kill this process when `parent` ends, and finds out whether it
/// did already.
fn die_with(parent: Pid) -> Result<(), StageError> {
    prctl::set_pdeathsig(Signal::SIGKILL).doing(|| "be tied to mse-enclave".into())?;
    if getppid() == parent {
        Ok(())
    } else {
        Err(StageError::Orphaned)
    }
}

/// Gives the app's user what root made for it: the socket's directory, and the
/// pipes that it may want to open as `/dev/stdout` and `/dev/stderr`.
pub(super) fn hand_over(plan: &TreePlan) -> Result<(), StageError> {
    let id = plan.app_uid.as_u32();
    if let Some(dir) = &plan.socket_dir {
        chown(&dir.source, Some(id), Some(id))
            .doing(|| format!("hand `{}` to the app's user", dir.source.display()))?;
    }
    let streams = [
        io::stdout().as_fd().try_clone_to_owned(),
        io::stderr().as_fd().try_clone_to_owned(),
    ];
    for stream in streams {
        let stream = std::fs::File::from(stream.doing(|| "open the app's output".into())?);
        let is_pipe = stream
            .metadata()
            .is_ok_and(|meta| meta.file_type().is_fifo());
        if is_pipe {
            fchown(&stream, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))
                .doing(|| "hand the output pipes to the app's user".into())?;
        }
    }
    Ok(())
}

/// Starts the init as the first process of the pid namespace. It takes over the
/// channel, in which the launch plan is the next frame.
fn start_init() -> Result<Child, StageError> {
    namespaces::keep_rights_of_init()?;
    // The program itself is not in the sandbox's root directory; the kernel's
    // link to it works all the same.
    Command::new("/proc/self/exe")
        .arg0("mse-sandbox-init")
        .arg(INIT)
        .env_clear()
        .stdin(Stdio::inherit())
        .spawn()
        .doing(|| "start the sandbox's init".into())
}

/// Passes on requests to stop, and supplies sockets, until the init ends. Still one thread: the
/// kernel allows no second one to who has made a pid namespace.
fn accompany(mut init: Child, supply: Option<Supply>) -> Result<ExitStatus, StageError> {
    let null = std::fs::File::open("/dev/null").doing(|| "open `/dev/null`".into())?;
    unistd::dup2_stdin(&null).doing(|| "leave the channel to the init".into())?;
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .doing(|| "start the event loop of stage 1".into())?
        .block_on(attend(&mut init, supply))
}

async fn attend(init: &mut Child, supply: Option<Supply>) -> Result<ExitStatus, StageError> {
    let listen = |kind| unix::signal(kind).doing(|| "receive signals".into());
    let mut children = listen(SignalKind::child())?;
    let mut stop = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut kill_all = listen(SignalKind::from_raw(KILL_ALL as i32))?;
    let mut supply = Supplying::new(supply)?;
    let pid = Pid::from_raw(init.id().cast_signed());
    loop {
        if let Some(status) = init
            .try_wait()
            .doing(|| "wait for the sandbox's init".into())?
        {
            return Ok(status);
        }
        let signal = tokio::select! {
            _ = children.recv() => None,
            _ = stop.recv() => Some(Signal::SIGTERM),
            _ = interrupt.recv() => Some(Signal::SIGTERM),
            // Not reaped yet, so the id is still the init's. Killing it here, and not this process,
            // lets this process see the last one end.
            _ = kill_all.recv() => Some(Signal::SIGKILL),
            () = supply.next() => None,
        };
        if let Some(signal) = signal {
            kill(pid, signal).doing(|| "pass on the request to stop".into())?;
        }
    }
}

impl From<ExitStatus> for ExitCause {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Code(i32::from(FAILED)),
        }
    }
}
