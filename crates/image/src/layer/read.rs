//! Reading layers of unknown origin: bounded before anything is believed.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use mse_crypto::digest::Hasher;

use super::{Change, ChangeKind, Compression, LayerIndex};
use crate::digest::BlobDigest;

/// A header that carries a long name or attributes is never larger: 1 MiB.
const MAX_EXTENSION: u64 = 1 << 20;
/// Whiteouts: the beginning of the name of a file that says that another is gone.
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const PIECE: usize = 64 * 1024;

/// How much of an image is read before it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes of one layer.
    pub layer: u64,
    /// Entries of one layer.
    pub entries: u64,
    /// Bytes of a path.
    pub path: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layer: 16 << 30,
            entries: 1_000_000,
            path: mse_workload::bundle::MAX_PATH,
        }
    }
}

/// Reads a layer to its end: its changes, and the digest of its uncompressed bytes.
pub fn index(
    layer: impl Read,
    compression: Compression,
    limits: &Limits,
) -> Result<(LayerIndex, BlobDigest), InvalidLayer> {
    let mut changes = Vec::new();
    let diff_id = visit(layer, compression, limits, &mut |change, content| {
        let mut change = change;
        if let ChangeKind::File { digest, .. } = &mut change.kind {
            *digest = mse_crypto::Digest::of_reader(content).map_err(InvalidLayer::Read)?;
        }
        changes.push(change);
        Ok(())
    })?;
    Ok((LayerIndex(changes), diff_id))
}

/// Hears of a change; for a file, with its content. The digest of a file is not known yet.
pub(super) type Visit<'a> = dyn FnMut(Change, &mut dyn Read) -> Result<(), InvalidLayer> + 'a;

/// Reads a layer to its end and shows each change to `each`; the digest of its uncompressed bytes.
pub fn visit(
    layer: impl Read,
    compression: Compression,
    limits: &Limits,
    each: &mut Visit<'_>,
) -> Result<BlobDigest, InvalidLayer> {
    match compression {
        Compression::None => visit_tar(layer, limits, each),
        Compression::Gzip => visit_tar(MultiGzDecoder::new(layer), limits, each),
    }
}

fn visit_tar(
    tar: impl Read,
    limits: &Limits,
    each: &mut Visit<'_>,
) -> Result<BlobDigest, InvalidLayer> {
    let mut bounded = Bounded {
        inner: tar,
        left: limits.layer,
        hasher: Hasher::new(),
    };
    {
        let mut archive = tar::Archive::new(&mut bounded);
        let mut extension = Extension::default();
        let mut count = 0;
        let mut place = 0;
        // Raw: the library would read long names and extended headers of any length into memory.
        for entry in archive.entries().map_err(InvalidLayer::Read)?.raw(true) {
            let mut entry = entry.map_err(InvalidLayer::Read)?;
            count += 1;
            if count > limits.entries {
                return Err(InvalidLayer::TooMany(limits.entries));
            }
            if extension.take(&mut entry)? {
                continue;
            }
            let extension = std::mem::take(&mut extension);
            let change = change(&entry, extension, place, limits)?;
            place += 1;
            if let Some(change) = change {
                each(change, &mut entry)?;
            }
        }
    }
    // What follows the end of the archive counts for the digest as well.
    io::copy(&mut bounded, &mut io::sink()).map_err(InvalidLayer::Read)?;
    Ok(BlobDigest(bounded.hasher.finish()))
}

/// What headers in front of an entry say about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

impl Extension {
    /// Takes in `entry` if it is such a header.
    fn take(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, InvalidLayer> {
        use tar::EntryType as Type;
        let kind = entry.header().entry_type();
        if !matches!(
            kind,
            Type::GNULongName | Type::GNULongLink | Type::XHeader | Type::XGlobalHeader
        ) {
            return Ok(false);
        }
        if entry.size() > MAX_EXTENSION {
            return Err(InvalidLayer::Extension(entry.size()));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(InvalidLayer::Read)?;
        match kind {
            Type::GNULongName => self.path = Some(until_zero(bytes)),
            Type::GNULongLink => self.target = Some(until_zero(bytes)),
            Type::XHeader => self.attributes(&bytes)?,
            _ => {}
        }
        Ok(true)
    }

    fn attributes(&mut self, bytes: &[u8]) -> Result<(), InvalidLayer> {
        for attribute in tar::PaxExtensions::new(bytes) {
            let attribute = attribute.map_err(InvalidLayer::Read)?;
            match attribute.key_bytes() {
                b"path" => self.path = Some(attribute.value_bytes().to_vec()),
                b"linkpath" => self.target = Some(attribute.value_bytes().to_vec()),
                b"size" => return Err(InvalidLayer::Unsupported("a file of more than 8 GiB")),
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(InvalidLayer::Unsupported("a file with holes"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The change that an entry makes; none if it belongs to no image but does no harm.
fn change(
    entry: &tar::Entry<'_, impl Read>,
    extension: Extension,
    at: u64,
    limits: &Limits,
) -> Result<Option<Change>, InvalidLayer> {
    use tar::EntryType as Type;
    let header = entry.header();
    let path = extension
        .path
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let Some(path) = absolute(&path, limits)? else {
        return Ok(None);
    };
    let mode = header.mode().map_err(InvalidLayer::Read)? & 0o777;
    let target = || {
        extension
            .target
            .clone()
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .ok_or_else(|| InvalidLayer::Target(path.clone()))
    };
    let kind = match header.entry_type() {
        Type::Directory => ChangeKind::Folder { mode },
        Type::Regular | Type::Continuous => match whiteout(&path) {
            Some(gone) => return Ok(Some(gone)),
            None => ChangeKind::File {
                mode,
                digest: mse_crypto::Digest([0; 32]),
                size: entry.size(),
                entry: at,
            },
        },
        Type::Symlink => ChangeKind::Link {
            target: text(target()?, limits)?,
        },
        Type::Link => ChangeKind::Same {
            path: absolute(&target()?, limits)?
                .ok_or_else(|| InvalidLayer::Target(path.clone()))?,
        },
        // Of /dev, engines make their own.
        Type::Char | Type::Block | Type::Fifo if path.starts_with("/dev/") => return Ok(None),
        Type::Char | Type::Block => return Err(InvalidLayer::NotAFile(path, "a device")),
        Type::Fifo => return Err(InvalidLayer::NotAFile(path, "a pipe")),
        _ => return Err(InvalidLayer::NotAFile(path, "of an unknown type")),
    };
    Ok(Some(Change { path, kind }))
}

fn whiteout(path: &str) -> Option<Change> {
    let (folder, name) = path.rsplit_once('/')?;
    if name == OPAQUE {
        return Some(Change {
            path: if folder.is_empty() { "/" } else { folder }.to_owned(),
            kind: ChangeKind::Emptied,
        });
    }
    name.strip_prefix(WHITEOUT).map(|gone| Change {
        path: format!("{folder}/{gone}"),
        kind: ChangeKind::Gone,
    })
}

/// `path` from the root of the image; none for the root itself. `..` leads out and is refused.
fn absolute(path: &[u8], limits: &Limits) -> Result<Option<String>, InvalidLayer> {
    let path = text(path.to_vec(), limits)?;
    let mut clean = String::with_capacity(path.len() + 1);
    let mut depth = 0;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(InvalidLayer::Path(shortened(&path))),
            part if part.len() > 255 => return Err(InvalidLayer::Path(shortened(&path))),
            part => {
                depth += 1;
                clean.push('/');
                clean.push_str(part);
            }
        }
    }
    if depth > mse_workload::bundle::MAX_DEPTH {
        return Err(InvalidLayer::Path(shortened(&path)));
    }
    if clean.rsplit('/').next() == Some(WHITEOUT) {
        return Err(InvalidLayer::Path(shortened(&path)));
    }
    Ok((!clean.is_empty()).then_some(clean))
}

fn text(bytes: Vec<u8>, limits: &Limits) -> Result<String, InvalidLayer> {
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') && text.len() <= limits.path => Ok(text),
        Ok(text) => Err(InvalidLayer::Path(shortened(&text))),
        Err(error) => Err(InvalidLayer::Path(shortened(&String::from_utf8_lossy(
            error.as_bytes(),
        )))),
    }
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn shortened(path: &str) -> String {
    path.chars()
        .take(200)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// Gives up after so many bytes, and hashes what it gives.
struct Bounded<R> {
    inner: R,
    left: u64,
    hasher: Hasher,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(PIECE);
        let read = self.inner.read(&mut buffer[..wanted])?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("the layer is larger than layers may be"))?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

/// A layer that is no part of an image here.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLayer {
    /// Not tar, not gzip, too large, or not to be read at all.
    #[error("the layer cannot be read: {0}")]
    Read(#[source] io::Error),
    /// More entries than [`Limits::entries`].
    #[error("the layer has more than {0} entries")]
    TooMany(u64),
    /// An extended header of unreasonable size.
    #[error("the layer has a header of {0} bytes: at most {MAX_EXTENSION} are read")]
    Extension(u64),
    /// A path that leads out of the image, is no UTF-8, or is too long.
    #[error(
        "the layer has the path `{0}`, which leads out of the image, is no UTF-8, or is too long"
    )]
    Path(String),
    /// A link without a target.
    #[error("the layer has a link at `{0}` that leads nowhere")]
    Target(String),
    /// Neither file nor folder nor link.
    #[error("the layer has `{0}`, which is {1}: only files, folders and links can be in an image")]
    NotAFile(String, &'static str),
    /// Something that this program does not read.
    #[error("the layer has {0}, which is not supported")]
    Unsupported(&'static str),
    /// The visitor could not go on.
    #[error("`{0}` cannot be written: {1}")]
    Write(String, #[source] io::Error),
}
