//! Encrypting a code folder into a bundle, on all cores, in flat memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use mse_crypto::digest::Hasher;
use mse_crypto::secretbox::{NONCE_LEN, Nonce, OVERHEAD, Sealer};
use mse_crypto::{CodeKey, Digest, Zeroizing};
use rayon::prelude::*;

use super::BundleHasher;
use super::commitment::{self, SourceSalt};
use super::layout::{self, Entry};
use super::tree::{CodeTree, SourceFile};

/// One worker's buffer; a multiple of the cipher's 64-byte block.
const PIECE: usize = 256 * 1024;

/// What [`seal`] made besides the archive.
#[derive(Debug, Clone)]
pub struct SealedBundle {
    /// The bundle digest.
    pub digest: Digest,
    /// The source commitment.
    pub commitment: Digest,
    /// The key check value of the key it was sealed with.
    pub key_check: Digest,
    /// The nonce of every encrypted file by its plaintext path.
    pub nonces: BTreeMap<String, Nonce>,
    /// Length of the archive in bytes.
    pub size: u64,
}

/// Where the nonces come from.
pub enum NonceSource<'a> {
    /// A fresh one per file: every new bundle.
    Fresh,
    /// Those of an earlier bundle, to make the same bytes again. A file without one is an error.
    Again(&'a BTreeMap<String, Nonce>),
    /// From key, path and content ([`CodeKey::derived_nonce`]): the same files under the same key
    /// make the same bytes, and no two files share a nonce.
    Derived,
}

/// Encrypts `tree` into `archive`, which must be empty and open for reading and writing.
/// `progress` hears of bytes as they are done.
pub fn seal(
    tree: &CodeTree,
    key: &CodeKey,
    nonces: &NonceSource<'_>,
    salt: &SourceSalt,
    archive: &File,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<SealedBundle, SealError> {
    let (entries, size) = layout::plan(tree)?;
    archive.set_len(size).map_err(SealError::Write)?;
    let mut sealed: Vec<(usize, SealedFile)> = largest_first(&entries)
        .into_iter()
        .par_bridge()
        .map_init(
            || Zeroizing::new(vec![0; PIECE]),
            |buffer, place| {
                let entry = &entries[place];
                let nonce = nonce_for(tree, entry.file, key, nonces)?;
                let done = seal_file(tree, entry, nonce, key, archive, buffer, progress)?;
                // A nonce of other content may be used again for that content.
                if let (NonceSource::Derived, Some(nonce)) = (nonces, nonce)
                    && key.derived_nonce(&entry.file.path, &done.plaintext) != nonce
                {
                    return Err(SealError::Changed(entry.file.path.clone()));
                }
                Ok((place, done))
            },
        )
        .collect::<Result<_, SealError>>()?;
    sealed.sort_unstable_by_key(|(place, _)| *place);
    let mut digest = BundleHasher::new();
    let mut leaves = BTreeMap::new();
    let mut used = BTreeMap::new();
    for (entry, (_, done)) in entries.iter().zip(&sealed) {
        let SourceFile { path, mode, .. } = entry.file;
        digest.entry(&entry.name, *mode, &done.content);
        leaves.insert(
            path.as_str(),
            commitment::leaf(salt, path, *mode, &done.plaintext),
        );
        if let Some(nonce) = done.nonce {
            used.insert(path.clone(), nonce);
        }
    }
    Ok(SealedBundle {
        digest: digest.finish(),
        commitment: commitment::root(&leaves.into_values().collect::<Vec<_>>()),
        key_check: key.check_value(),
        nonces: used,
        size,
    })
}

/// The source commitment of `tree` under `salt`, without any key: what a third party who holds
/// the source compares.
pub fn source_commitment(tree: &CodeTree, salt: &SourceSalt) -> Result<Digest, SealError> {
    let leaves = tree
        .files()
        .par_iter()
        // Any file may be the large one: each can be taken over by a core that is free.
        .with_max_len(1)
        .map(|file| {
            let digest = File::open(tree.locate(file))
                .and_then(Digest::of_reader)
                .map_err(|source| SealError::Read(file.path.clone(), source))?;
            Ok(commitment::leaf(salt, &file.path, file.mode, &digest))
        })
        .collect::<Result<Vec<_>, SealError>>()?;
    Ok(commitment::root(&leaves))
}

/// The places of `entries` in the order in which cores should take them, one by one. Large files
/// often lie in one folder: were the folders shared out instead, one core would get all of them,
/// and were a large one left for the end, the others would have nothing more to do.
fn largest_first(entries: &[Entry<'_>]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..entries.len()).collect();
    places.sort_by_key(|&place| Reverse(entries[place].file.size));
    places
}

struct SealedFile {
    nonce: Option<Nonce>,
    content: Digest,
    plaintext: Digest,
}

fn nonce_for(
    tree: &CodeTree,
    file: &SourceFile,
    key: &CodeKey,
    nonces: &NonceSource<'_>,
) -> Result<Option<Nonce>, SealError> {
    if tree.stays_clear(&file.path) {
        return Ok(None);
    }
    match nonces {
        NonceSource::Fresh => Ok(Some(Nonce::generate())),
        NonceSource::Again(known) => known
            .get(&file.path)
            .copied()
            .map(Some)
            .ok_or_else(|| SealError::NonceNotFound(file.path.clone())),
        NonceSource::Derived => {
            let content = File::open(tree.locate(file))
                .and_then(Digest::of_reader)
                .map_err(|source| SealError::Read(file.path.clone(), source))?;
            Ok(Some(key.derived_nonce(&file.path, &content)))
        }
    }
}

fn seal_file(
    tree: &CodeTree,
    entry: &Entry<'_>,
    nonce: Option<Nonce>,
    key: &CodeKey,
    archive: &File,
    buffer: &mut [u8],
    progress: &(dyn Fn(u64) + Sync),
) -> Result<SealedFile, SealError> {
    let file = entry.file;
    let read = |source| SealError::Read(file.path.clone(), source);
    let write = |bytes: &[u8], at| write_all_at(archive, bytes, at).map_err(SealError::Write);
    let mut reader = File::open(tree.locate(file)).map_err(read)?;
    write(&entry.header, entry.header_at)?;

    let mut sealer = nonce.map(|nonce| Sealer::new(key, &nonce));
    let mut plaintext = Hasher::new();
    // The tag stands before the ciphertext and is known only after it, so the digest of the
    // whole entry is taken in a second pass over what was written, still in the page cache.
    let mut clear = Hasher::new();
    let offset = entry.content_at + if nonce.is_some() { OVERHEAD as u64 } else { 0 };
    let mut done = 0;
    while done < file.size {
        let wanted = usize::try_from(file.size - done).map_or(PIECE, |left| left.min(PIECE));
        let piece = &mut buffer[..wanted];
        reader
            .read_exact(piece)
            .map_err(|source| changed(file, source))?;
        plaintext.update(piece);
        match &mut sealer {
            Some(sealer) => sealer.seal_in_place(piece),
            None => clear.update(piece),
        }
        write(piece, offset + done)?;
        done += wanted as u64;
        progress(wanted as u64);
    }
    if reader.read(&mut [0]).map_err(read)? != 0 {
        return Err(SealError::Changed(file.path.clone()));
    }
    let content = match (sealer, nonce) {
        (Some(sealer), Some(nonce)) => {
            let mut head = [0; OVERHEAD];
            head[..NONCE_LEN].copy_from_slice(&nonce.0);
            head[NONCE_LEN..].copy_from_slice(&sealer.finish());
            write(&head, entry.content_at)?;
            digest_at(
                archive,
                entry.content_at,
                file.size + OVERHEAD as u64,
                buffer,
            )
            .map_err(SealError::Write)?
        }
        _ => clear.finish(),
    };
    Ok(SealedFile {
        nonce,
        content,
        plaintext: plaintext.finish(),
    })
}

fn changed(file: &SourceFile, source: io::Error) -> SealError {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        SealError::Changed(file.path.clone())
    } else {
        SealError::Read(file.path.clone(), source)
    }
}

fn digest_at(archive: &File, at: u64, length: u64, buffer: &mut [u8]) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    let mut done = 0;
    while done < length {
        let wanted = usize::try_from(length - done).map_or(PIECE, |left| left.min(PIECE));
        read_exact_at(archive, &mut buffer[..wanted], at + done)?;
        hasher.update(&buffer[..wanted]);
        done += wanted as u64;
    }
    Ok(hasher.finish())
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let written = file.seek_write(bytes, at)?;
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let read = file.seek_read(bytes, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        at += read as u64;
    }
    Ok(())
}

/// Why a bundle could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A source file could not be read.
    #[error("`{0}` cannot be read: {1}")]
    Read(String, #[source] io::Error),
    /// A source file grew or shrank meanwhile.
    #[error("`{0}` changed while it was encrypted: try again when nothing writes to it")]
    Changed(String),
    /// The archive could not be written.
    #[error("the bundle cannot be written: {0}")]
    Write(#[source] io::Error),
    /// An entry does not fit a tar header.
    #[error("`{0}` cannot be packed: {1}")]
    Layout(String, #[source] io::Error),
    /// A file that the earlier bundle did not have.
    #[error("there is no nonce for `{0}`: the file was not part of the deployed code")]
    NonceNotFound(String),
}
