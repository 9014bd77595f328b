//! Writing layers whose bytes depend on nothing but their content.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use flate2::write::GzEncoder;
use flate2::{Compression as Level, GzBuilder};
use mse_crypto::digest::Hasher;

use super::{Change, ChangeKind, LayerIndex};
use crate::digest::BlobDigest;
use crate::manifest::{Blob, media};
use crate::spec::Epoch;

/// gzip's usual level. Another changes every blob's digest.
const LEVEL: u32 = 6;
/// gzip's way to say that it does not say on which system it ran.
const UNKNOWN_SYSTEM: u8 = 255;

/// A finished layer.
pub struct Layer {
    /// The compressed blob.
    pub blob: Blob,
    /// The digest of the uncompressed bytes.
    pub diff_id: BlobDigest,
    /// What it changes.
    pub index: LayerIndex,
}

/// Writes a layer entry by entry. The caller sees to the order.
pub struct LayerWriter {
    tar: tar::Builder<Hashing<GzEncoder<Hashing<BufWriter<File>>>>>,
    epoch: Epoch,
    changes: Vec<Change>,
    entries: u64,
}

impl LayerWriter {
    /// Writes into `file`, which must be empty.
    pub fn new(file: File, epoch: Epoch) -> Self {
        let gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(UNKNOWN_SYSTEM)
            .write(Hashing::new(BufWriter::new(file)), Level::new(LEVEL));
        Self {
            tar: tar::Builder::new(Hashing::new(gzip)),
            epoch,
            changes: Vec::new(),
            entries: 0,
        }
    }

    /// A folder at the absolute `path`.
    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Directory, mode, 0);
        self.append(&mut header, &format!("{}/", relative(path)), io::empty())?;
        self.changed(path, ChangeKind::Folder { mode: mode & 0o777 });
        Ok(())
    }

    /// A file at the absolute `path`, of exactly `size` bytes of `content`.
    pub fn file(&mut self, path: &str, mode: u32, size: u64, content: impl Read) -> io::Result<()> {
        let entry = self.entries;
        let mut header = self.header(tar::EntryType::Regular, mode, size);
        let mut content = HashingReader {
            inner: content.take(size),
            hasher: Hasher::new(),
            read: 0,
        };
        // The library pads, but it does not notice what is missing.
        self.append(&mut header, relative(path), &mut content)?;
        if content.read != size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("`{path}` became shorter while it was read"),
            ));
        }
        let digest = content.hasher.finish();
        self.changed(
            path,
            ChangeKind::File {
                mode: mode & 0o777,
                digest,
                size,
                entry,
            },
        );
        Ok(())
    }

    /// A symbolic link at the absolute `path`.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        let mut header = self.header(tar::EntryType::Symlink, 0o777, 0);
        if header.set_link_name_literal(target).is_ok() {
            self.append(&mut header, relative(path), io::empty())?;
        } else {
            self.tar.append_link(&mut header, relative(path), target)?;
            self.entries += 1;
        }
        self.changed(
            path,
            ChangeKind::Link {
                target: target.to_owned(),
            },
        );
        Ok(())
    }

    /// Nothing any more at the absolute `path`.
    pub fn gone(&mut self, path: &str) -> io::Result<()> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut header = self.header(tar::EntryType::Regular, 0o644, 0);
        let whiteout = format!("{}/.wh.{name}", relative(folder));
        self.append(&mut header, whiteout.trim_start_matches('/'), io::empty())?;
        self.changed(path, ChangeKind::Gone);
        Ok(())
    }

    /// Ends the layer.
    pub fn finish(self) -> io::Result<Layer> {
        let tar = self.tar.into_inner()?;
        let diff_id = BlobDigest(tar.hasher.finish());
        let gzip = tar.inner.finish()?;
        let digest = BlobDigest(gzip.hasher.finish());
        let mut file = gzip
            .inner
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.flush()?;
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Layer {
            blob: Blob {
                media_type: media::LAYER_GZIP.into(),
                digest,
                size,
                annotations: std::collections::BTreeMap::new(),
            },
            diff_id,
            index: LayerIndex(self.changes),
        })
    }

    fn header(&self, kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode & 0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.epoch.0.into());
        header.set_size(size);
        header
    }

    fn append(
        &mut self,
        header: &mut tar::Header,
        name: &str,
        content: impl Read,
    ) -> io::Result<()> {
        self.tar.append_data(header, name, content)?;
        self.entries += 1;
        Ok(())
    }

    fn changed(&mut self, path: &str, kind: ChangeKind) {
        self.changes.push(Change {
            path: path.to_owned(),
            kind,
        });
    }
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

struct Hashing<W> {
    inner: W,
    hasher: Hasher,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Hasher::new(),
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    read: u64,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.read += read as u64;
        Ok(read)
    }
}
