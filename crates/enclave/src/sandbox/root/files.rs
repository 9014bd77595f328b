//! Copying the files, on all cores.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;
use rustix::fs::{FileType, Mode, OFlags};

use super::walk::{Found, shown_kind};
use super::{RootError, finish, into_file};
use crate::sandbox::plan::AppUid;

/// More copiers would wait for the one that walks.
const MAX_COPIERS: usize = 8;
/// Files that wait for a copier. Each may hold two folders open.
const BACKLOG: usize = 64;
/// As much as a core has at hand between reading, hashing and writing it.
const PIECE: usize = 128 * 1024;

/// A file to copy.
pub(super) struct Job {
    /// Its place among all that was found.
    pub(super) index: usize,
    /// The folder of the host.
    pub(super) from: Arc<OwnedFd>,
    /// Its copy.
    pub(super) to: Arc<OwnedFd>,
    pub(super) name: CString,
    /// For people.
    pub(super) path: String,
}

/// A file that was copied.
pub(super) struct CopiedFile {
    pub(super) mode: u32,
    pub(super) content: Digest,
    pub(super) bytes: u64,
}

/// Files by their places among all that was found.
pub(super) type Copied = HashMap<usize, CopiedFile>;

/// The threads that copy.
pub(super) struct Copiers {
    jobs: SyncSender<Job>,
    failed: Arc<AtomicBool>,
}

impl Copiers {
    /// Has `walk` find files, and copies them; returns when all of that is over.
    pub(super) fn run(
        owner: Option<AppUid>,
        walk: impl FnOnce(&Self) -> Result<(Vec<Found>, Vec<String>), RootError>,
    ) -> Result<(Vec<Found>, Vec<String>, Copied), RootError> {
        let (jobs, queue) = sync_channel(BACKLOG);
        let queue = Mutex::new(queue);
        let failed = Arc::new(AtomicBool::new(false));
        let count = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..count.min(MAX_COPIERS))
                .map(|_| scope.spawn(|| work(&queue, owner, &failed)))
                .collect();
            let copiers = Self {
                jobs,
                failed: Arc::clone(&failed),
            };
            let walked = walk(&copiers);
            // No more jobs: this ends the threads.
            drop(copiers);
            let mut copied = Copied::new();
            for thread in threads {
                let done = thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                copied.extend(done?);
            }
            let (found, other_mounts) = walked?;
            Ok((found, other_mounts, copied))
        })
    }

    /// Leaves a file to them.
    pub(super) fn take(&self, job: Job) {
        // There is a queue as long as there are copiers, which take jobs even after an error.
        let _ = self.jobs.send(job);
    }

    /// Whether there is no use in going on.
    pub(super) fn have_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// Copies until there are no more jobs. After an error the rest is only taken, so that nobody
/// waits for room in the queue.
fn work(
    queue: &Mutex<Receiver<Job>>,
    owner: Option<AppUid>,
    failed: &AtomicBool,
) -> Result<Vec<(usize, CopiedFile)>, RootError> {
    let mut buffer = vec![0; PIECE];
    let mut copied = Ok(Vec::new());
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return copied;
        };
        if failed.load(Ordering::Relaxed) {
            continue;
        }
        match (copy(&job, owner, &mut buffer), &mut copied) {
            (Ok(file), Ok(copied)) => copied.push((job.index, file)),
            (Err(error), copied) => {
                failed.store(true, Ordering::Relaxed);
                *copied = Err(error);
            }
            (Ok(_), Err(_)) => {}
        }
    }
}

fn copy(job: &Job, owner: Option<AppUid>, buffer: &mut [u8]) -> Result<CopiedFile, RootError> {
    let Job {
        from,
        to,
        name,
        path,
        ..
    } = job;
    // Should a pipe be there by now, opening it must not wait for its other end.
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let source =
        rustix::fs::openat(from, name, flags, Mode::empty()).map_err(RootError::read(path))?;
    let stat = rustix::fs::fstat(&source).map_err(RootError::read(path))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::RegularFile {
        return Err(RootError::OtherKind {
            path: path.clone(),
            kind: shown_kind(kind),
        });
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)
        .map_err(RootError::write(path))?;
    let (mut source, mut target) = (into_file(source), into_file(target));
    let (content, bytes) = pass(&mut source, &mut target, path, buffer)?;
    finish(&target, stat.st_mode, owner).map_err(RootError::write(path))?;
    Ok(CopiedFile {
        mode: stat.st_mode,
        content,
        bytes,
    })
}

/// Hashes what it writes.
fn pass(
    source: &mut impl Read,
    target: &mut impl Write,
    path: &str,
    buffer: &mut [u8],
) -> Result<(Digest, u64), RootError> {
    let path = || path.to_owned();
    let mut hasher = Hasher::new();
    let mut bytes = 0;
    loop {
        let piece = match source.read(buffer) {
            Ok(0) => return Ok((hasher.finish(), bytes)),
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(RootError::Read {
                    path: path(),
                    source,
                });
            }
        };
        hasher.update(piece);
        target.write_all(piece).map_err(|source| RootError::Write {
            path: path(),
            source,
        })?;
        bytes += piece.len() as u64;
    }
}
