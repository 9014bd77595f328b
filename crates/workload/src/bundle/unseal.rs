//! Reading a bundle: checking it against its digest, and decrypting it.

use std::io::{self, Read};

use mse_crypto::digest::Hasher;
use mse_crypto::secretbox::{NONCE_LEN, Nonce, OVERHEAD, Opener};
use mse_crypto::{CodeKey, Digest, Zeroizing};

use super::commitment::{self, SourceSalt};
use super::tree::FileMode;
use super::{BundleHasher, ENCRYPTED, MAX_FILES, MAX_PATH, MAX_SIZE, is_clean_path, stays_clear};

const PIECE: usize = 256 * 1024;

/// Takes the decrypted files, in path order of the archive.
///
/// What is written is authentic only once [`unseal`] has returned without an error: until then
/// keep it where nothing uses it.
pub trait FileSink {
    /// A file begins.
    fn begin(&mut self, path: &str, mode: FileMode, size: u64) -> io::Result<()>;
    /// The next bytes of the file.
    fn write(&mut self, piece: &[u8]) -> io::Result<()>;
    /// The file is complete, and its tag is right.
    fn end(&mut self) -> io::Result<()>;
}

/// Takes nothing: for checking a key and a bundle without decrypting to anywhere.
pub struct NoSink;

impl FileSink for NoSink {
    fn begin(&mut self, _: &str, _: FileMode, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a bundle turned out to be. Compare both with the workload before using the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsealed {
    /// The bundle digest.
    pub digest: Digest,
    /// The source commitment.
    pub commitment: Digest,
}

/// The bundle digest of the archive in `reader`, without any key. Also checks the archive's
/// form: sorted, bounded, only files with clean relative paths.
pub fn digest_of(reader: impl Read) -> Result<Digest, UnsealError> {
    let mut digest = BundleHasher::new();
    let mut buffer = vec![0; PIECE];
    for_each_entry(reader, |name, mode, _, content| {
        let mut hasher = Hasher::new();
        loop {
            match content.read(&mut buffer).map_err(UnsealError::Read)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        digest.entry(name, mode, &hasher.finish());
        Ok(())
    })?;
    Ok(digest.finish())
}

/// Decrypts the archive in `reader` into `sink`. Every tag is checked.
pub fn unseal(
    reader: impl Read,
    key: &CodeKey,
    salt: &SourceSalt,
    sink: &mut dyn FileSink,
) -> Result<Unsealed, UnsealError> {
    let mut digest = BundleHasher::new();
    let mut leaves = std::collections::BTreeMap::new();
    let mut buffer = Zeroizing::new(vec![0; PIECE]);
    for_each_entry(reader, |name, mode, size, content| {
        let opened = if stays_clear(name) {
            copy_clear(name, mode, size, content, sink, &mut buffer)?
        } else {
            open_entry(name, mode, size, content, key, sink, &mut buffer)?
        };
        digest.entry(name, mode, &opened.content);
        let leaf = commitment::leaf(salt, &opened.path, mode, &opened.plaintext);
        leaves.insert(opened.path, leaf);
        Ok(())
    })?;
    Ok(Unsealed {
        digest: digest.finish(),
        commitment: commitment::root(&leaves.into_values().collect::<Vec<_>>()),
    })
}

struct Opened {
    path: String,
    content: Digest,
    plaintext: Digest,
}

fn copy_clear(
    name: &str,
    mode: FileMode,
    size: u64,
    content: &mut dyn Read,
    sink: &mut dyn FileSink,
    buffer: &mut [u8],
) -> Result<Opened, UnsealError> {
    let mut hasher = Hasher::new();
    sink.begin(name, mode, size).map_err(UnsealError::Sink)?;
    loop {
        match content.read(buffer).map_err(UnsealError::Read)? {
            0 => break,
            n => {
                hasher.update(&buffer[..n]);
                sink.write(&buffer[..n]).map_err(UnsealError::Sink)?;
            }
        }
    }
    sink.end().map_err(UnsealError::Sink)?;
    let digest = hasher.finish();
    Ok(Opened {
        path: name.to_owned(),
        content: digest,
        plaintext: digest,
    })
}

fn open_entry(
    name: &str,
    mode: FileMode,
    size: u64,
    content: &mut dyn Read,
    key: &CodeKey,
    sink: &mut dyn FileSink,
    buffer: &mut [u8],
) -> Result<Opened, UnsealError> {
    let path = name
        .strip_suffix(ENCRYPTED)
        .filter(|path| !path.is_empty() && !path.ends_with('/'))
        .ok_or_else(|| UnsealError::malformed(name, "is neither `.enc` nor `requirements.txt`"))?;
    let mut left = size
        .checked_sub(OVERHEAD as u64)
        .ok_or_else(|| UnsealError::malformed(name, "is too short to be encrypted"))?;
    let mut head = [0; OVERHEAD];
    content.read_exact(&mut head).map_err(UnsealError::Read)?;
    let (nonce, tag) = head.split_at(NONCE_LEN);
    let nonce = Nonce(nonce.try_into().expect("split at its length"));
    let tag = tag.try_into().expect("what the nonce leaves");

    sink.begin(path, mode, left).map_err(UnsealError::Sink)?;
    let mut opener = Opener::new(key, &nonce);
    let mut ciphertext = Hasher::new();
    let mut plaintext = Hasher::new();
    ciphertext.update(&head);
    while left > 0 {
        let wanted = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let piece = &mut buffer[..wanted];
        content.read_exact(piece).map_err(UnsealError::Read)?;
        ciphertext.update(piece);
        opener.open_in_place(piece);
        plaintext.update(piece);
        sink.write(piece).map_err(UnsealError::Sink)?;
        left -= wanted as u64;
    }
    opener
        .finish(&tag)
        .map_err(|_| UnsealError::WrongKey(path.to_owned()))?;
    sink.end().map_err(UnsealError::Sink)?;
    Ok(Opened {
        path: path.to_owned(),
        content: ciphertext.finish(),
        plaintext: plaintext.finish(),
    })
}

/// Walks an archive of unknown origin: every entry a regular file with a clean path, names
/// strictly ascending, sizes bounded.
fn for_each_entry(
    reader: impl Read,
    mut visit: impl FnMut(&str, FileMode, u64, &mut dyn Read) -> Result<(), UnsealError>,
) -> Result<(), UnsealError> {
    let mut archive = tar::Archive::new(reader);
    let mut previous: Option<String> = None;
    let mut total = 0u64;
    let mut count = 0usize;
    let mut long_name = None;
    // Raw: the library would read long names and extended headers of any length into memory.
    for entry in archive.entries().map_err(UnsealError::Read)?.raw(true) {
        let mut entry = entry.map_err(UnsealError::Read)?;
        if entry.header().entry_type() == tar::EntryType::GNULongName && long_name.is_none() {
            long_name = Some(read_long_name(&mut entry)?);
            continue;
        }
        let name = match long_name.take() {
            Some(name) => name,
            None => entry.header().path_bytes().into_owned(),
        };
        let name = String::from_utf8(name)
            .map_err(|_| UnsealError::malformed("?", "has a name that is not UTF-8"))?;
        check_name(&name)?;
        if previous.as_ref().is_some_and(|previous| *previous >= name) {
            return Err(UnsealError::malformed(
                &name,
                "stands out of order or twice",
            ));
        }
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(UnsealError::malformed(&name, "is not a regular file"));
        }
        let mode = entry
            .header()
            .mode()
            .map_err(|_| UnsealError::malformed(&name, "has no readable mode"))?;
        let size = entry.size();
        total = total.saturating_add(size);
        count += 1;
        if total > MAX_SIZE || count > MAX_FILES {
            return Err(UnsealError::TooLarge);
        }
        visit(&name, FileMode::from_bits(mode), size, &mut entry)?;
        previous = Some(name);
    }
    if count == 0 {
        return Err(UnsealError::Empty);
    }
    Ok(())
}

/// The content of a GNU long-name entry: a name and a zero byte.
fn read_long_name(entry: &mut impl Read) -> Result<Vec<u8>, UnsealError> {
    let limit = MAX_PATH + ENCRYPTED.len() + 1;
    let mut name = Vec::new();
    entry
        .take(limit as u64 + 1)
        .read_to_end(&mut name)
        .map_err(UnsealError::Read)?;
    if name.len() > limit || name.pop() != Some(0) {
        return Err(UnsealError::malformed(
            "?",
            "has a long name that is too long",
        ));
    }
    Ok(name)
}

fn check_name(name: &str) -> Result<(), UnsealError> {
    if is_clean_path(name, ENCRYPTED) {
        Ok(())
    } else {
        Err(UnsealError::malformed(name, "is no clean relative path"))
    }
}

/// Why a bundle cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// The archive ends early or is no tar.
    #[error("the bundle cannot be read: {0}")]
    Read(#[source] io::Error),
    /// An entry that a bundle does not have.
    #[error("the bundle is malformed: `{name}` {problem}")]
    Malformed {
        /// The entry.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No entry at all.
    #[error("the bundle is empty")]
    Empty,
    /// Over the bounds.
    #[error("the bundle is over its bounds of {MAX_FILES} files and {MAX_SIZE} bytes")]
    TooLarge,
    /// A tag does not fit.
    #[error("`{0}` does not open: wrong code key, or the bundle was changed")]
    WrongKey(String),
    /// The decrypted files could not be stored.
    #[error("the decrypted code cannot be stored: {0}")]
    Sink(#[source] io::Error),
}

impl UnsealError {
    fn malformed(name: &str, problem: &'static str) -> Self {
        Self::Malformed {
            name: name.chars().take(120).collect(),
            problem,
        }
    }
}
