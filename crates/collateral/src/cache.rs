//! Answers on disk. What lies there is not trusted: it is read like an answer from the network,
//! and whatever is wrong with it only costs a request.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::answer::{Answer, AnswerError};

/// A folder of answers, 0700, one file each, 0600.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// An answer that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The answer.
    pub answer: Answer,
    /// When it was fetched.
    pub fetched: SystemTime,
}

impl Cache {
    /// The cache in `dir`, which is made if it is missing.
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        let problem = |source| CacheError::Folder {
            path: dir.to_owned(),
            source,
        };
        create_private(dir).map_err(problem)?;
        restrict(dir).map_err(problem)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// The answer of `url`, if one is kept.
    pub fn load(&self, url: &str, now: SystemTime) -> Result<Option<Kept>, CacheError> {
        let path = self.path(url);
        let entry = |why| CacheError::Entry {
            path: path.clone(),
            why,
        };
        let bytes = match read_plain(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CacheError::Read { path, source }),
        };
        let record: Record = serde_json::from_slice(&bytes).map_err(|_| entry(Flaw::NotAnEntry))?;
        if record.url != url {
            return Err(entry(Flaw::OtherEntry));
        }
        let fetched = UNIX_EPOCH
            .checked_add(Duration::from_secs(record.fetched))
            .filter(|fetched| *fetched <= now + CLOCK_SKEW)
            .ok_or_else(|| entry(Flaw::Future))?;
        let body = hex::decode(&record.body).map_err(|_| entry(Flaw::NotAnEntry))?;
        Ok(Some(Kept {
            answer: Answer {
                chain: record.chain,
                body,
            },
            fetched,
        }))
    }

    /// Keeps an answer: all of it or nothing, a reader never sees half a file.
    pub fn store(&self, url: &str, kept: &Kept, expires: SystemTime) -> Result<(), CacheError> {
        let path = self.path(url);
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        };
        let record = Record {
            format: Format::V1,
            url: url.to_owned(),
            fetched: seconds(kept.fetched),
            expires: seconds(expires),
            chain: kept.answer.chain.clone(),
            body: hex::encode(&kept.answer.body),
        };
        self.check_count(&path)
            .and_then(|()| write_atomically(&self.dir, &path, &record))
            .map_err(|source| CacheError::Write { path, source })
    }

    /// Where the answer of `url` is kept.
    pub fn path(&self, url: &str) -> PathBuf {
        let name = Digest::of(url.as_bytes());
        self.dir.join(format!("{}.json", hex::encode(name.0)))
    }

    /// A folder that grows without end is somebody's attack, not a cache.
    fn check_count(&self, path: &Path) -> io::Result<()> {
        if path.symlink_metadata().is_ok() {
            return Ok(());
        }
        let count = fs::read_dir(&self.dir)?.take(MAX_ENTRIES).count();
        if count >= MAX_ENTRIES {
            return Err(io::Error::other(format!(
                "the folder holds {MAX_ENTRIES} entries already; empty it"
            )));
        }
        Ok(())
    }
}

/// What a file holds. `expires` is for people and their scripts: it is worked out anew from the
/// document whenever an entry is read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: Format,
    url: String,
    fetched: u64,
    expires: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chain: Option<String>,
    body: String,
}

#[derive(Serialize, Deserialize)]
enum Format {
    #[serde(rename = "mse-collateral-cache/1")]
    V1,
}

/// Why the cache cannot be used. None of these stops a fetch.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The folder cannot be made or made private.
    #[error(
        "the cache folder `{path}` cannot be used: {source}; remove what is there, or name another folder"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An entry cannot be read.
    #[error(
        "the cache entry `{path}` cannot be read: {source}; it is fetched again, and may be removed"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An entry is not what it should be.
    #[error("the cache entry `{path}` {why}; it is fetched again")]
    Entry {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: Flaw,
    },
    /// An entry holds a document that is none, or is about something else.
    #[error("the cache entry `{path}` {source}; it is fetched again")]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: AnswerError,
    },
    /// An entry cannot be written.
    #[error("the cache entry `{path}` cannot be written: {source}; the next run fetches it again")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Flaw {
    /// Not the form of an entry.
    #[error("is no cache entry")]
    NotAnEntry,
    /// The entry of another URL under this one's name.
    #[error("belongs to another request")]
    OtherEntry,
    /// Fetched in the future, so that it would never be fetched again.
    #[error("says that it was fetched in the future")]
    Future,
}

/// Reads an ordinary file of bounded size. A link is not followed, and nothing that could block
/// (a pipe) or go on for ever (a device) is read.
fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_plain(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!(
            "it has more than {MAX_FILE} bytes"
        )));
    }
    Ok(bytes)
}

fn write_atomically(dir: &Path, path: &Path, record: &Record) -> io::Result<()> {
    // Temporary files are made 0600. Renaming replaces a link, it does not follow it.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(unix)]
fn open_plain(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

#[cfg(not(unix))]
fn open_plain(path: &Path) -> io::Result<File> {
    if path.symlink_metadata()?.is_symlink() {
        return Err(io::Error::other("it is a link"));
    }
    OpenOptions::new().read(true).open(path)
}

#[cfg(unix)]
fn create_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

#[cfg(not(unix))]
fn create_private(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

#[cfg(unix)]
fn restrict(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// A user's profile is that user's alone by default.
#[cfg(not(unix))]
fn restrict(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The largest document in hexadecimal, and room for the rest.
const MAX_FILE: u64 = 2 * mse_attest::MAX_COLLATERAL_BYTES as u64 + 256 * 1024;
/// Intel has some fifty machine types; a chip has one VCEK per TCB version.
const MAX_ENTRIES: usize = 4096;
/// How far clocks of machines that share a folder may part.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
