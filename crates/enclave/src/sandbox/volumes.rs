//! Volumes: directories of the app's own that `mse-enclave` fills before the app starts, and reads
//! while it runs.
//!
//! They are mounted in the sandbox's mount namespace only. Stage 1 hands descriptors of them up the
//! channel, which reach them from outside, and after the end of the sandbox too. A path would not
//! do: the app could put a link in its way.
//!
//! To be read as they are at one moment, the app is stopped for it ([`Pauses`]): the init sends
//! SIGSTOP to every process but itself, and waits until each of their threads has stopped.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::unix::OwnedReadHalf;

use super::failure::{Doing, StageError};
use super::launcher::{Progress, SandboxError};
use super::network::MAX_DESCRIPTORS;
use super::plan::{MAX_VOLUMES, TreePlan};
use super::released::Down;
use super::wire::{self, Event, Kind};

/// Room for as many descriptors as come at once: of volumes, or of a network.
const SPACE: usize = rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS));
const MOST_DESCRIPTORS: usize = if MAX_VOLUMES > MAX_DESCRIPTORS {
    MAX_VOLUMES
} else {
    MAX_DESCRIPTORS
};
/// How long processes are waited for to stand still.
const STOPPING: Duration = Duration::from_secs(1);
/// How long those that cannot stop because the kernel has them wait: for a disk, or with `vfork`
/// for a child that has stopped.
const WAITING: Duration = Duration::from_millis(20);
/// Between two looks at them.
const LOOK: Duration = Duration::from_micros(500);

/// Sends descriptors of the volumes up the channel: the work of stage 1, in the new root directory.
pub(super) fn hand_up(channel: &mut UnixStream, plan: &TreePlan) -> Result<(), StageError> {
    if plan.volumes.is_empty() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directories = plan
        .volumes
        .iter()
        .map(|volume| {
            open(volume.target.as_path(), flags, Mode::empty())
                .doing(|| format!("open the volume at `{}`", volume.target))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let descriptors: Vec<_> = directories.iter().map(AsFd::as_fd).collect();
    let mut frame = Vec::new();
    wire::write_frame(&mut frame, Kind::Event, &wire::encode(&Event::Mounted)?)?;
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let sent = sendmsg(
        &*channel,
        &[IoSlice::new(&frame)],
        &mut ancillary,
        SendFlags::empty(),
    )
    .doing(|| "hand up the volumes".into())?;
    channel
        .write_all(&frame[sent..])
        .doing(|| "hand up the volumes".into())
}

/// The side of the channel that `mse-enclave` reads, with the descriptors that came along.
pub(super) struct Up {
    half: OwnedReadHalf,
    descriptors: Vec<OwnedFd>,
}

impl Up {
    pub(super) fn new(half: OwnedReadHalf) -> Self {
        Self {
            half,
            descriptors: Vec::new(),
        }
    }

    /// What has come so far.
    pub(super) fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { half, descriptors } = self;
        let stream = half.as_ref();
        stream.try_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); SPACE];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(
                stream,
                &mut [IoSliceMut::new(buffer)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(more) = message {
                    descriptors.extend(more);
                }
            }
            Ok(received.bytes)
        })
    }
}

impl AsyncRead for Up {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.half.as_ref().poll_read_ready(context))?;
            match this.receive(buffer.initialize_unfilled()) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Stops the app for a moment.
pub struct Pauses {
    channel: Down,
    progress: Progress,
    count: u64,
}

impl Pauses {
    pub(super) fn new(channel: Down, progress: Progress) -> Self {
        Self {
            channel,
            progress,
            count: 0,
        }
    }

    /// Returns when all of the app's processes stand still. [`Self::resume`] must follow.
    pub async fn pause(&mut self) -> Result<(), SandboxError> {
        self.channel.send(Kind::Pause, &[], &self.progress).await?;
        self.count += 1;
        self.progress.pause(self.count).await
    }

    /// Lets them go on.
    pub async fn resume(&mut self) -> Result<(), SandboxError> {
        self.channel.send(Kind::Resume, &[], &self.progress).await
    }

    /// Returns when the app has asked for its volumes to be committed since `seen`, which counts
    /// how often it did; or never, if the sandbox has ended.
    pub async fn commit_asked(&self, seen: &mut u64) {
        match self.progress.commit_asked(*seen).await {
            Some(count) => *seen = count,
            None => std::future::pending().await,
        }
    }
}

/// Stops every process of this pid namespace but its init, which calls it.
pub(super) fn halt() -> Result<(), StageError> {
    match kill(EVERYBODY, Signal::SIGSTOP) {
        Ok(()) => {}
        // Nobody is there.
        Err(Errno::ESRCH) => return Ok(()),
        Err(error) => return Err(error).doing(|| "stop the app for a moment".into()),
    }
    let begun = Instant::now();
    let mut last_moved = begun;
    loop {
        let now = Instant::now();
        match stillness() {
            Stillness::Stopped => return Ok(()),
            Stillness::Waits if now - last_moved > WAITING => return Ok(()),
            Stillness::Waits => {}
            Stillness::Runs => last_moved = now,
        }
        if now - begun > STOPPING {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// Lets all of them go on.
pub(super) fn go_on() {
    // Fails only if nobody is there.
    let _ = kill(EVERYBODY, Signal::SIGCONT);
}

/// All processes that the caller may signal, without itself and without process 1.
const EVERYBODY: Pid = Pid::from_raw(-1);

/// How still a thread stands, or the least still of several.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stillness {
    /// It is stopped, or over.
    Stopped,
    /// The kernel has it wait for something, and will not stop it meanwhile.
    Waits,
    Runs,
}

/// Of all threads of all processes. One that is not seen any more has ended.
fn stillness() -> Stillness {
    let numbered = |path: &str| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
    };
    numbered("/proc")
        .filter(|process| *process != 1)
        .flat_map(|process| {
            let tasks = format!("/proc/{process}/task");
            let stats: Vec<String> = numbered(&tasks)
                .filter_map(|task| fs::read_to_string(format!("{tasks}/{task}/stat")).ok())
                .collect();
            stats
        })
        .map(|stat| stillness_of(&stat))
        .max()
        .unwrap_or(Stillness::Stopped)
}

/// The state follows the name, which is in brackets and may hold anything.
fn stillness_of(stat: &str) -> Stillness {
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    match state {
        None | Some('T' | 't' | 'Z' | 'X') => Stillness::Stopped,
        Some('D') => Stillness::Waits,
        Some(_) => Stillness::Runs,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn a_thread_stands_still_if_it_is_stopped_or_over() {
        for (stat, expected) in [
            ("7 (sh) T 1 7", Stillness::Stopped),
            ("7 (a) R (b) Z 1 7", Stillness::Stopped),
            ("7 (T) S 1 7", Stillness::Runs),
            ("7 (x) R 1 7", Stillness::Runs),
            ("7 (x) D 1 7", Stillness::Waits),
            ("", Stillness::Stopped),
        ] {
            assert_eq!(stillness_of(stat), expected, "{stat}");
        }
        assert!(Stillness::Stopped < Stillness::Waits && Stillness::Waits < Stillness::Runs);
    }

    #[tokio::test]
    async fn descriptors_arrive_with_the_bytes_that_they_were_sent_with() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (half, _other) = tokio::net::UnixStream::from_std(ours).unwrap().into_split();
        let mut up = Up::new(half);
        theirs.write_all(b"before").unwrap();
        let mut read = [0; 6];
        up.read_exact(&mut read).await.unwrap();
        assert!(up.take_descriptors().is_empty());

        let file = tempfile::tempfile().unwrap();
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [file.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(
            &theirs,
            &[IoSlice::new(b"with")],
            &mut ancillary,
            SendFlags::empty(),
        )
        .unwrap();
        let mut read = [0; 4];
        up.read_exact(&mut read).await.unwrap();
        let received = up.take_descriptors();
        assert_eq!(received.len(), 1);
        fs::File::from(file.as_fd().try_clone_to_owned().unwrap())
            .write_all(b"x")
            .unwrap();
        let length = rustix::fs::fstat(&received[0]).unwrap().st_size;
        assert_eq!(length, 1);
        drop(theirs);
        assert_eq!(up.read(&mut read).await.unwrap(), 0);
    }
}
