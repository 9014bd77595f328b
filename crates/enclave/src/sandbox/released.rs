//! Released files: put in place before the app starts, and replaced while it runs.
//!
//! They lie in the directory of the secrets, one folder per generation, and a link names the one
//! in force. Exchanging that link replaces all files at once, so that a certificate never meets
//! the key of another:
//!
//! ```text
//! /etc/web/tls.pem ─link─▶ <secrets>/current/etc/web/tls.pem
//!                                    └─link─▶ 0, then 1, then 2…
//! ```
//!
//! The init does it. It has the app's user and no right that the app has not: nothing that the
//! app may put in its way gives it more.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};
use zeroize::Zeroizing;

use super::failure::{Doing, StageError};
use super::files;
use super::launcher::{Progress, SandboxError};
use super::plan::{Area, FileMode, InvalidPath, PrivatePath, RELEASED, SandboxPath, TreePlan};
use super::volumes::{self, Pauses};
use super::wire::{self, CHUNK, Event, FileHeader, Frame, FrameReader, Kind, WireError};

/// The way to released files of an app that runs.
///
/// Dropping it changes nothing.
pub struct ReleasedFiles {
    channel: Down,
    progress: Progress,
    replacements: u64,
}

/// A file to be put where the app expects it.
pub struct ReleasedFile<'a> {
    /// One of [`TreePlan::released`].
    pub place: &'a SandboxPath,
    /// Its permissions.
    pub mode: FileMode,
    /// Its content.
    pub content: &'a [u8],
}

/// Whether the app was told that its files are others now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// It was sent SIGHUP.
    Sent,
    /// It handles no SIGHUP, which would have ended it.
    NotHandled,
}

impl ReleasedFiles {
    pub(super) fn new(channel: OwnedWriteHalf, progress: Progress) -> Self {
        Self {
            channel: Down::new(channel),
            progress,
            replacements: 0,
        }
    }

    /// Replaces all released files by `files`, at once, and sends the app SIGHUP if it handles
    /// it. A file that is left out is gone. On an error the files are those from before.
    pub async fn replace(&mut self, files: &[ReleasedFile<'_>]) -> Result<Notice, SandboxError> {
        for file in files {
            let header = FileHeader {
                area: Area::Secrets,
                path: below(file.place)?,
                mode: file.mode,
            };
            let header =
                wire::encode(&header).map_err(|error| SandboxError::Plan(error.to_string()))?;
            self.send(Kind::File, &header).await?;
            for chunk in file.content.chunks(CHUNK) {
                self.send(Kind::Chunk, chunk).await?;
            }
            self.send(Kind::EndFile, &[]).await?;
        }
        self.send(Kind::Replace, &[]).await?;
        self.replacements += 1;
        self.progress.replacement(self.replacements).await
    }

    /// What stops the app for a moment, on the same channel.
    pub fn pauses(&self) -> Pauses {
        Pauses::new(self.channel.clone(), self.progress.clone())
    }

    async fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), SandboxError> {
        self.channel.send(kind, payload, &self.progress).await
    }
}

/// The way down the channel, for several to send on.
#[derive(Clone)]
pub(super) struct Down(Arc<Mutex<Half>>);

/// Taken when dropped.
struct Half(Option<OwnedWriteHalf>);

impl Down {
    fn new(half: OwnedWriteHalf) -> Self {
        Self(Arc::new(Mutex::new(Half(Some(half)))))
    }

    /// Sends a frame, wholly or not at all: whoever awaits it may give up.
    pub(super) async fn send(
        &self,
        kind: Kind,
        payload: &[u8],
        progress: &Progress,
    ) -> Result<(), SandboxError> {
        let half = Arc::clone(&self.0);
        let payload = Zeroizing::new(payload.to_vec());
        let sent = tokio::spawn(async move {
            match &mut half.lock().await.0 {
                Some(half) => wire::send_frame(half, kind, &payload).await,
                None => Err(WireError::Closed),
            }
        });
        match sent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(WireError::Closed)) => Err(progress.why_it_ended().await),
            Ok(Err(error)) => Err(SandboxError::Channel(error.to_string())),
            Err(_) => Err(SandboxError::Channel(WireError::Closed.to_string())),
        }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        // The channel's end tells the sandbox that mse-enclave is gone, so it stays open as long
        // as the handle reads events from it.
        if let Some(half) = self.0.take() {
            half.forget();
        }
    }
}

/// The path in the area of secrets, in the first generation, of the file at `place`.
pub(super) fn first(place: &SandboxPath) -> Result<PrivatePath, InvalidPath> {
    PrivatePath::try_from(format!("{FIRST}/{}", relative(place)))
}

fn below(place: &SandboxPath) -> Result<PrivatePath, InvalidPath> {
    PrivatePath::try_from(relative(place))
}

fn relative(place: &SandboxPath) -> String {
    let path = place.as_path();
    let below = path.strip_prefix("/").unwrap_or(path);
    below.to_string_lossy().into_owned()
}

/// The folder of the generation that the app starts with.
const FIRST: u64 = 0;

/// Puts the first generation in force: the work of stage 1, once the files are there.
pub(super) fn enact_first(plan: &TreePlan) -> Result<(), StageError> {
    if !plan.has_released() {
        return Ok(());
    }
    let secrets = plan.secrets.target.as_path();
    let first = secrets.join(FIRST.to_string());
    if !first.exists() {
        fs::create_dir(&first).doing(|| "make the folder of the released files".into())?;
    }
    symlink(FIRST.to_string(), secrets.join(RELEASED))
        .doing(|| "put the released files in force".into())
}

/// Puts the links to the released files where the program expects them in an image, in place of
/// the image's own files. All of that is the program's own memory by now.
pub(super) fn link_into_image(plan: &TreePlan) -> Result<(), StageError> {
    for (place, to) in plan.released_links() {
        let action = || format!("put the released file at `{}`", place.display());
        let parent = place.parent().unwrap_or(Path::new("/"));
        let mut folders = fs::DirBuilder::new();
        folders.recursive(true).mode(0o755);
        folders.create(parent).doing(action)?;
        match fs::remove_file(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.doing(action).map_err(|error| {
                let is_folder = error.os_error() == Some(Errno::EISDIR as i32);
                error.with_fix(is_folder.then(|| {
                    "the image has a folder there: have the session inject the file elsewhere"
                        .into()
                }))
            })?,
        }
        symlink(to, place).doing(action)?;
    }
    Ok(())
}

/// What came down the channel after the launch, for the init.
pub(super) enum Update {
    /// The files are others now.
    Replaced,
    /// They are not, and why.
    Failed(StageError),
    /// The app shall stand still.
    Pause,
    /// It may go on.
    Resume,
}

/// Takes updates from `channel` until it ends, and with it the sender.
pub(super) async fn receive(
    channel: OwnedReadHalf,
    secrets: Option<PathBuf>,
    updates: mpsc::Sender<Update>,
) {
    let mut frames = FrameReader::new(channel);
    let mut replacement = secrets.map(Replacement::new);
    while let Ok(frame) = frames.receive().await {
        let update = match (frame.kind, &mut replacement) {
            (Kind::Pause, _) => Some(Update::Pause),
            (Kind::Resume, _) => Some(Update::Resume),
            (_, Some(replacement)) => replacement.take(&frame),
            // There is nothing to be replaced: it is the end of mse-enclave, or of sense.
            (_, None) => return,
        };
        if let Some(update) = update
            && updates.send(update).await.is_err()
        {
            return;
        }
    }
}

/// Files that arrive and are not in force yet.
struct Replacement {
    secrets: PathBuf,
    in_force: u64,
    next: u64,
    begun: bool,
    open: Option<(File, FileMode)>,
    failure: Option<StageError>,
}

impl Replacement {
    fn new(secrets: PathBuf) -> Self {
        Self {
            secrets,
            in_force: FIRST,
            next: FIRST + 1,
            begun: false,
            open: None,
            failure: None,
        }
    }

    /// Takes the next frame. After a failure the rest is only read.
    fn take(&mut self, frame: &Frame<'_>) -> Option<Update> {
        if frame.kind == Kind::Replace {
            return Some(self.finish());
        }
        if self.failure.is_none() {
            self.failure = self.store(frame).err();
        }
        None
    }

    fn store(&mut self, frame: &Frame<'_>) -> Result<(), StageError> {
        let action = || "write a released file".to_owned();
        match (frame.kind, &mut self.open) {
            (Kind::File, None) => {
                self.begin()?;
                let header: FileHeader = frame.json()?;
                let file = files::create(&self.folder(self.next), &header)?;
                self.open = Some((file, header.mode));
                Ok(())
            }
            (Kind::Chunk, Some((file, _))) => files::append(file, frame.payload, action),
            (Kind::EndFile, Some((file, mode))) => {
                let permissions = fs::Permissions::from_mode(mode.bits());
                file.set_permissions(permissions).doing(action)?;
                self.open = None;
                Ok(())
            }
            (got, _) => Err(WireError::Unexpected {
                expected: Kind::File,
                got,
            }
            .into()),
        }
    }

    fn begin(&mut self) -> Result<(), StageError> {
        if !self.begun {
            fs::create_dir(self.folder(self.next))
                .doing(|| "make the folder of the released files".into())?;
            self.begun = true;
        }
        Ok(())
    }

    fn finish(&mut self) -> Update {
        let outcome = match self.failure.take() {
            Some(failure) => Err(failure),
            None => self.begin().and_then(|()| self.exchange()),
        };
        let gone = match &outcome {
            Ok(()) => std::mem::replace(&mut self.in_force, self.next),
            Err(_) => self.next,
        };
        // It is the app's own memory: what the app keeps there, it keeps.
        let _ = fs::remove_dir_all(self.folder(gone));
        self.next += 1;
        self.begun = false;
        self.open = None;
        match outcome {
            Ok(()) => Update::Replaced,
            Err(failure) => Update::Failed(failure),
        }
    }

    fn exchange(&self) -> Result<(), StageError> {
        let action = || "put the released files in force".to_owned();
        let link = self.secrets.join(format!(".{}", self.next));
        symlink(self.next.to_string(), &link).doing(action)?;
        fs::rename(&link, self.secrets.join(RELEASED)).doing(action)
    }

    fn folder(&self, generation: u64) -> PathBuf {
        self.secrets.join(generation.to_string())
    }
}

/// Sends `pid` SIGHUP, unless that would end it.
pub(super) fn notify(pid: Pid) -> Notice {
    let handles = fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|status| catches(&status, Signal::SIGHUP));
    if handles && nix::sys::signal::kill(pid, Signal::SIGHUP).is_ok() {
        Notice::Sent
    } else {
        Notice::NotHandled
    }
}

/// Whether a process of this `/proc/…/status` has a handler for `signal`.
fn catches(status: &str, signal: Signal) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal as u32 - 1) & 1 == 1)
}

/// Has the init do its part of an update to the app `pid`, and says what it tells of it.
pub(super) fn enact(update: Update, pid: Pid) -> Result<Option<Event>, StageError> {
    Ok(Some(match update {
        Update::Replaced => Event::Replaced {
            notice: notify(pid),
        },
        Update::Failed(error) => Event::NotReplaced {
            message: error.to_string(),
        },
        Update::Pause => {
            volumes::halt()?;
            Event::Paused
        }
        Update::Resume => {
            volumes::go_on();
            return Ok(None);
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(replacement: &mut Replacement, frames: &[(Kind, &[u8])]) -> Vec<bool> {
        let mut updates = Vec::new();
        for (kind, payload) in frames {
            let frame = Frame {
                kind: *kind,
                payload,
            };
            match replacement.take(&frame) {
                Some(Update::Replaced) => updates.push(true),
                Some(Update::Failed(_)) => updates.push(false),
                Some(Update::Pause | Update::Resume) | None => {}
            }
        }
        updates
    }

    fn header(path: &str) -> Vec<u8> {
        format!(r#"{{"area":"secrets","path":"{path}","mode":256}}"#).into_bytes()
    }

    fn started() -> (tempfile::TempDir, Replacement) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("0/etc")).unwrap();
        fs::write(dir.path().join("0/etc/a"), "old").unwrap();
        symlink("0", dir.path().join(RELEASED)).unwrap();
        let replacement = Replacement::new(dir.path().to_owned());
        (dir, replacement)
    }

    #[test]
    fn all_files_are_exchanged_at_once_and_the_old_ones_are_gone() {
        let (dir, mut replacement) = started();
        let current = dir.path().join("current/etc/a");
        let head = header("etc/a");
        let frames = [
            (Kind::File, &head[..]),
            (Kind::Chunk, b"ne"),
            (Kind::Chunk, b"w"),
            (Kind::EndFile, b""),
        ];
        assert!(send(&mut replacement, &frames).is_empty());
        assert_eq!(fs::read(&current).unwrap(), b"old");
        assert_eq!(send(&mut replacement, &[(Kind::Replace, b"")]), [true]);
        assert_eq!(fs::read(&current).unwrap(), b"new");
        let mode = fs::metadata(&current).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o400);
        assert!(!dir.path().join("0").exists());
        assert_eq!(send(&mut replacement, &[(Kind::Replace, b"")]), [true]);
        assert!(!current.exists());
    }

    #[test]
    fn a_failure_leaves_the_files_as_they_were_and_the_way_open() {
        let (dir, mut replacement) = started();
        let current = dir.path().join("current/etc/a");
        let (head, escaping) = (header("etc/a"), header("../a"));
        for bad in [
            &[(Kind::File, &escaping[..]), (Kind::EndFile, b"")][..],
            &[(Kind::Chunk, b"x")],
            &[(Kind::File, &head[..]), (Kind::File, &head[..])],
            &[
                (Kind::File, &head[..]),
                (Kind::EndFile, b""),
                (Kind::File, &head[..]),
            ],
        ] {
            assert!(send(&mut replacement, bad).is_empty());
            assert_eq!(send(&mut replacement, &[(Kind::Replace, b"")]), [false]);
            assert_eq!(fs::read(&current).unwrap(), b"old");
        }
        let good = [
            (Kind::File, &head[..]),
            (Kind::Chunk, b"new"),
            (Kind::EndFile, b""),
            (Kind::Replace, b""),
        ];
        assert_eq!(send(&mut replacement, &good), [true]);
        assert_eq!(fs::read(&current).unwrap(), b"new");
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2, "one generation and the link");
    }

    #[test]
    fn only_a_handler_counts() {
        assert!(catches(
            "Name:\tx\nSigCgt:\t0000000000000001\n",
            Signal::SIGHUP
        ));
        assert!(!catches(
            "SigIgn:\t0000000000000001\nSigCgt:\t0000000000004002\n",
            Signal::SIGHUP
        ));
        assert!(!catches("", Signal::SIGHUP));
    }

    #[test]
    fn a_place_has_one_path_in_every_generation() {
        let place = SandboxPath::try_from("/etc/web/tls.pem").unwrap();
        assert_eq!(
            first(&place).unwrap().as_path(),
            Path::new("0/etc/web/tls.pem")
        );
        assert_eq!(
            below(&place).unwrap().as_path(),
            Path::new("etc/web/tls.pem")
        );
    }
}
