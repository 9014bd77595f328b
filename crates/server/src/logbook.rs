//! Logs of apps: kept in files of bounded size, and told to whoever follows.
//!
//! A line is one [`LogEntry`] as JSON in `<app id>.jsonl`. When that file is full it becomes
//! `<app id>.old.jsonl`, and what was there is forgotten: an app keeps between half of and all
//! of [`CAPACITY`]. Lines are numbered without gaps, so that a follower who comes back misses
//! nothing that is still there.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use mse_api::{LogEntry, LogStream};
use mse_workload::AppId;
use tokio::sync::broadcast;

/// An app keeps at most this much of its log: 5 MiB.
pub const CAPACITY: u64 = 5 * 1024 * 1024;

/// The logs of all apps. Cloning it is cheap.
#[derive(Clone)]
pub struct LogBook {
    folder: Arc<Path>,
    open: Arc<Mutex<HashMap<AppId, Arc<AppLog>>>>,
}

impl LogBook {
    /// The logs of this folder.
    pub fn open(folder: PathBuf) -> Self {
        Self {
            folder: folder.into(),
            open: Arc::default(),
        }
    }

    /// Adds a line.
    pub fn write(&self, app: AppId, stream: LogStream, text: String) {
        if let Err(error) = self.log(app).and_then(|log| log.write(stream, text)) {
            tracing::warn!(%app, %error, "a line of an app's log is lost");
        }
    }

    /// The last lines, at most `most` bytes of text.
    pub fn tail(&self, app: AppId, most: usize) -> io::Result<Vec<LogEntry>> {
        let mut tail = VecDeque::new();
        let mut size = 0;
        for entry in self.after(app, 0)? {
            size += entry.text.len() + 1;
            tail.push_back(entry);
            while size > most
                && let Some(first) = tail.pop_front()
            {
                size -= first.text.len() + 1;
            }
        }
        Ok(tail.into())
    }

    /// All lines that are still there with a number above `number`.
    pub fn after(&self, app: AppId, number: u64) -> io::Result<Vec<LogEntry>> {
        let mut entries = read(&self.old(app))?;
        entries.extend(read(&self.current(app))?);
        entries.retain(|entry| entry.number > number);
        Ok(entries)
    }

    /// Lines from now on, until [`LogBook::close`]; `None` if nobody writes to the log. A follower
    /// that is too slow is told so, and reads on by [`LogBook::after`].
    pub fn follow(&self, app: AppId) -> Option<broadcast::Receiver<LogEntry>> {
        Some(self.lock().get(&app)?.followers.subscribe())
    }

    /// The app has ended: its followers have read everything once they have caught up.
    pub fn close(&self, app: AppId) {
        self.lock().remove(&app);
    }

    /// Removes the app's log.
    pub fn remove(&self, app: AppId) {
        self.close(app);
        for path in [self.current(app), self.old(app)] {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%app, %error, "a log stays behind");
            }
        }
    }

    fn log(&self, app: AppId) -> io::Result<Arc<AppLog>> {
        let mut open = self.lock();
        if let Some(log) = open.get(&app) {
            return Ok(Arc::clone(log));
        }
        let last = self.after(app, 0)?.last().map_or(0, |entry| entry.number);
        let log = Arc::new(AppLog {
            current: self.current(app),
            old: self.old(app),
            followers: broadcast::channel(1024).0,
            state: Mutex::new(LogState { last, file: None }),
        });
        open.insert(app, Arc::clone(&log));
        Ok(log)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, Arc<AppLog>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self, app: AppId) -> PathBuf {
        self.folder.join(format!("{app}.jsonl"))
    }

    fn old(&self, app: AppId) -> PathBuf {
        self.folder.join(format!("{app}.old.jsonl"))
    }
}

struct AppLog {
    current: PathBuf,
    old: PathBuf,
    followers: broadcast::Sender<LogEntry>,
    state: Mutex<LogState>,
}

struct LogState {
    last: u64,
    file: Option<(File, u64)>,
}

impl AppLog {
    fn write(&self, stream: LogStream, text: String) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = LogEntry {
            number: state.last + 1,
            at: Timestamp::now(),
            stream,
            text,
        };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        let (mut file, size) = match state.file.take() {
            Some(open) => open,
            None => append(&self.current)?,
        };
        file.write_all(&line)?;
        let size = size + line.len() as u64;
        state.last = entry.number;
        if size < CAPACITY / 2 {
            state.file = Some((file, size));
        } else {
            fs::rename(&self.current, &self.old)?;
        }
        // Nobody may be following.
        let _ = self.followers.send(entry);
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn read(path: &Path) -> io::Result<Vec<LogEntry>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    // The last line may be cut off by a crash: it was never told to anyone.
    let lines = BufReader::new(file).split(b'\n');
    Ok(lines
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_slice(&line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> (tempfile::TempDir, LogBook, AppId) {
        let folder = tempfile::tempdir().unwrap();
        let book = LogBook::open(folder.path().to_owned());
        (folder, book, AppId::generate())
    }

    fn texts(entries: &[LogEntry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.text.as_str()).collect()
    }

    #[test]
    fn lines_are_numbered_and_survive_a_restart() {
        let (folder, book, app) = book();
        book.write(app, LogStream::App, "one".into());
        book.write(app, LogStream::Enclave, "two".into());
        let again = LogBook::open(folder.path().to_owned());
        again.write(app, LogStream::Platform, "three".into());
        let all = again.after(app, 0).unwrap();
        assert_eq!(texts(&all), ["one", "two", "three"]);
        assert_eq!(all.iter().map(|e| e.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(texts(&again.after(app, 2).unwrap()), ["three"]);
        assert_eq!(texts(&again.tail(app, 9).unwrap()), ["three"]);
        assert_eq!(texts(&again.tail(app, 10).unwrap()), ["two", "three"]);
    }

    #[test]
    fn a_chatty_app_forgets_its_oldest_lines_only() {
        let (folder, book, app) = book();
        for _ in 0..1000 {
            book.write(app, LogStream::App, "x".repeat(10_000));
        }
        let size: u64 = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(size <= CAPACITY + 20_000, "{size}");
        let entries = book.after(app, 0).unwrap();
        assert!(entries.len() > 200);
        assert_eq!(entries.last().unwrap().number, 1000);
        let gapless = entries
            .windows(2)
            .all(|two| two[0].number + 1 == two[1].number);
        assert!(gapless);
    }

    #[tokio::test]
    async fn followers_hear_lines_and_the_end() {
        let (_folder, book, app) = book();
        assert!(book.follow(app).is_none());
        book.write(app, LogStream::Platform, "first".into());
        let mut follower = book.follow(app).unwrap();
        book.write(app, LogStream::App, "live".into());
        book.close(app);
        assert_eq!(follower.recv().await.unwrap().text, "live");
        assert!(follower.recv().await.is_err());
        assert!(book.follow(app).is_none());
        book.remove(app);
        assert!(book.after(app, 0).unwrap().is_empty());
    }
}
