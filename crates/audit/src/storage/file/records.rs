//! `entries`: records behind their length, before their checksum.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use mse_crypto::digest::Hasher;

use crate::storage::{MAX_RECORD, StorageError};

pub(super) const MAGIC: &[u8] = b"mse-audit-entries-1\n";

/// Bytes around a record, and the most that a record takes.
const FRAME: u64 = 4 + 8;
pub(super) const MAX_FRAME: u64 = MAX_RECORD as u64 + FRAME;

/// The offset of every 64th record is kept in memory: 8 bytes for 64 records, and at most 63 are
/// skipped to find one.
const STRIDE: u64 = 64;

#[derive(Debug)]
pub(super) struct Records {
    file: File,
    path: PathBuf,
    len: u64,
    end: u64,
    offsets: Vec<u64>,
}

/// Records that are on the disk and not acknowledged yet.
pub(super) struct Written {
    lengths: Vec<u64>,
    end: u64,
}

impl Written {
    pub(super) fn end(&self) -> u64 {
        self.end
    }
}

impl Records {
    pub(super) fn create(file: File, path: PathBuf) -> Result<Self, StorageError> {
        file.set_len(0)
            .and_then(|()| file.write_all_at(MAGIC, 0))
            .and_then(|()| file.sync_all())
            .map_err(StorageError::io("write", &path))?;
        Ok(Self {
            file,
            path,
            len: 0,
            end: MAGIC.len() as u64,
            offsets: Vec::new(),
        })
    }

    /// Reads all `len` records, which end at `end`.
    pub(super) fn open(
        file: File,
        path: PathBuf,
        end: u64,
        len: u64,
    ) -> Result<Self, StorageError> {
        let mut magic = [0; MAGIC.len()];
        if end < MAGIC.len() as u64 {
            return Err(damaged(&path, "it is shorter than its first line"));
        }
        file.read_exact_at(&mut magic, 0)
            .map_err(StorageError::io("read", &path))?;
        if magic != MAGIC {
            return Err(damaged(&path, "its first line is not that of a log"));
        }
        let mut offsets = Vec::new();
        let mut reader = Positioned::new(&file, MAGIC.len() as u64, end);
        let mut found = 0;
        while reader.offset() < end {
            if found % STRIDE == 0 {
                offsets.push(reader.offset());
            }
            read_record(&mut reader, found, &path)?;
            found += 1;
        }
        if found != len {
            return Err(damaged(
                &path,
                &format!("it has {found} records, and {len} were acknowledged"),
            ));
        }
        Ok(Self {
            file,
            path,
            len,
            end,
            offsets,
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Puts records on the disk, behind the acknowledged ones.
    pub(super) fn write(&self, records: &[Vec<u8>]) -> Result<Written, StorageError> {
        let mut bytes = Vec::new();
        let mut lengths = Vec::with_capacity(records.len());
        for (index, record) in (self.len..).zip(records) {
            let length = u32::try_from(record.len())
                .expect("a record is not larger than MAX_RECORD")
                .to_be_bytes();
            bytes.extend(length);
            bytes.extend(record);
            bytes.extend(checksum(index, record));
            lengths.push(record.len() as u64 + FRAME);
        }
        self.file
            .write_all_at(&bytes, self.end)
            .and_then(|()| self.file.sync_data())
            .map_err(StorageError::io("write", &self.path))?;
        Ok(Written {
            lengths,
            end: self.end + bytes.len() as u64,
        })
    }

    pub(super) fn acknowledge(&mut self, written: Written) {
        for length in written.lengths {
            if self.len.is_multiple_of(STRIDE) {
                self.offsets.push(self.end);
            }
            self.len += 1;
            self.end += length;
        }
    }

    /// Cuts off what stands behind the acknowledged records, and keeps it in a file of its own:
    /// for who has to find out whether `state` was an older one.
    pub(super) fn cut_tail(&self, keep: &Path) -> Result<(), StorageError> {
        let tail = Positioned::new(&self.file, self.end, u64::MAX);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(keep)
            .and_then(|mut file| {
                io::copy(&mut { tail.reader }, &mut file)?;
                file.sync_all()
            })
            .map_err(StorageError::io("write", keep))?;
        self.file
            .set_len(self.end)
            .and_then(|()| self.file.sync_all())
            .map_err(StorageError::io("cut", &self.path))
    }

    /// A range within the acknowledged records.
    pub(super) fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, StorageError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let block = range.start / STRIDE;
        let offset = self.offsets[usize::try_from(block).expect("offsets are in memory")];
        let mut reader = Positioned::new(&self.file, offset, self.end);
        for index in block * STRIDE..range.start {
            read_record(&mut reader, index, &self.path)?;
        }
        range
            .map(|index| read_record(&mut reader, index, &self.path))
            .collect()
    }
}

fn read_record(
    reader: &mut Positioned<'_>,
    index: u64,
    path: &Path,
) -> Result<Vec<u8>, StorageError> {
    let not_whole = |error: io::Error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            damaged(path, &format!("record {index} is not whole"))
        } else {
            StorageError::io("read", path)(error)
        }
    };
    let mut length = [0; 4];
    reader.fill(&mut length).map_err(not_whole)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_RECORD {
        return Err(damaged(
            path,
            &format!("record {index} has {length} bytes, at most {MAX_RECORD} are allowed"),
        ));
    }
    let mut record = vec![0; length];
    reader.fill(&mut record).map_err(not_whole)?;
    let mut stored = [0; 8];
    reader.fill(&mut stored).map_err(not_whole)?;
    if stored != checksum(index, &record) {
        return Err(damaged(
            path,
            &format!("the checksum of record {index} is wrong"),
        ));
    }
    Ok(record)
}

/// Finds faults of disks. Against people, there is the tree.
fn checksum(index: u64, record: &[u8]) -> [u8; 8] {
    let mut hasher = Hasher::with_domain("mse-audit-checksum-v1");
    hasher.update(&index.to_be_bytes());
    hasher.update_field(record);
    let digest = hasher.finish().0;
    let mut short = [0; 8];
    short.copy_from_slice(&digest[..8]);
    short
}

fn damaged(path: &Path, what: &str) -> StorageError {
    StorageError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}

/// Reads a part of a file without moving the file's own position.
pub(super) struct Positioned<'a> {
    reader: BufReader<Part<'a>>,
    offset: u64,
}

struct Part<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
}

impl<'a> Positioned<'a> {
    pub(super) fn new(file: &'a File, offset: u64, end: u64) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, Part { file, offset, end }),
            offset,
        }
    }

    /// Where the next byte stands.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer)?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    /// The next line with its end, or what there is of it within `most` bytes. `None` at the end.
    pub(super) fn line(&mut self, most: usize) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        (&mut self.reader)
            .take(most as u64 + 1)
            .read_until(b'\n', &mut line)?;
        self.offset += line.len() as u64;
        Ok((!line.is_empty()).then_some(line))
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.offset)
            .map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
