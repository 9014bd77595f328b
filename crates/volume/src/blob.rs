//! Contents of any length: chunks, and above them a tree of indexes with one name at its top.
//!
//! A content of at most [`CHUNK`] bytes is one object. Longer ones are chunks whose names stand in
//! order in indexes of at most [`FAN_OUT`] names, whose names stand in indexes, up to one. The
//! shape follows from the size, so there is one for every content. Whole chunks and indexes of
//! zeros are not stored: their name is [`ObjectId::HOLE`].

use std::io;

use mse_crypto::Zeroizing;

use crate::CHUNK;
use crate::manifest::{Malformed, Reader};
use crate::seal::{Kind, ObjectId, Salt};
use crate::store::{ReadError, Store};

/// Names in a full index.
const FAN_OUT: usize = CHUNK / ID;
const ID: usize = 32;

/// A content: where its tree begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobRef {
    pub(crate) salt: Salt,
    pub(crate) size: u64,
    pub(crate) id: ObjectId,
}

impl BlobRef {
    /// Bytes of an encoded reference.
    pub(crate) const LENGTH: usize = 16 + 8 + ID;

    /// Length of the content in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn encode_into(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.salt.0);
        bytes.extend(self.size.to_be_bytes());
        bytes.extend(self.id.0);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Option<Self>, Malformed> {
        let (Some(salt), Some(size), Some(id)) = (reader.array(), reader.number(), reader.array())
        else {
            return Ok(None);
        };
        let id = ObjectId(id);
        if size == 0 && id != ObjectId::HOLE {
            return Err(Malformed("has a name for an empty content"));
        }
        Ok(Some(Self {
            salt: Salt(salt),
            size,
            id,
        }))
    }

    /// Levels of indexes above the chunks.
    fn depth(&self) -> u8 {
        let mut nodes = self.size.div_ceil(CHUNK as u64);
        let mut depth = 0;
        while nodes > 1 {
            nodes = nodes.div_ceil(FAN_OUT as u64);
            depth += 1;
        }
        depth
    }
}

/// Writes a content from front to back. It holds one chunk and one index per level.
pub(crate) struct BlobWriter {
    leaf: Kind,
    salt: Salt,
    size: u64,
    pending: Zeroizing<Vec<u8>>,
    levels: Vec<Vec<u8>>,
}

impl BlobWriter {
    pub(crate) fn new(leaf: Kind, salt: Salt) -> Self {
        Self {
            leaf,
            salt,
            size: 0,
            pending: Zeroizing::new(Vec::new()),
            levels: Vec::new(),
        }
    }

    /// Bytes written so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn write(&mut self, store: &mut Store, mut bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            if let (true, Some((chunk, rest))) =
                (self.pending.is_empty(), bytes.split_at_checked(CHUNK))
            {
                let id = put(store, self.leaf, self.salt, chunk)?;
                self.push(store, 0, id)?;
                bytes = rest;
                continue;
            }
            let (taken, rest) = bytes.split_at(bytes.len().min(CHUNK - self.pending.len()));
            self.pending.extend(taken);
            bytes = rest;
            if self.pending.len() == CHUNK {
                self.flush(store)?;
            }
        }
        Ok(())
    }

    /// Writes `chunks` chunks of zeros, without storing them. What was written before ends with
    /// a whole chunk.
    pub(crate) fn skip(&mut self, store: &mut Store, chunks: u64) -> io::Result<()> {
        debug_assert!(self.pending.is_empty());
        for _ in 0..chunks {
            self.push(store, 0, ObjectId::HOLE)?;
        }
        self.size += chunks * CHUNK as u64;
        Ok(())
    }

    pub(crate) fn finish(mut self, store: &mut Store) -> io::Result<BlobRef> {
        if !self.pending.is_empty() {
            self.flush(store)?;
        }
        let mut level = 0;
        let id = loop {
            let Some(ids) = self.levels.get_mut(level).map(std::mem::take) else {
                break ObjectId::HOLE;
            };
            let is_top = level + 1 == self.levels.len();
            match <[u8; ID]>::try_from(&ids[..]) {
                Ok(only) if is_top => break ObjectId(only),
                _ if ids.is_empty() => {}
                _ => self.close(store, level, &ids)?,
            }
            level += 1;
        };
        Ok(BlobRef {
            salt: self.salt,
            size: self.size,
            id,
        })
    }

    fn flush(&mut self, store: &mut Store) -> io::Result<()> {
        let id = put(store, self.leaf, self.salt, &self.pending)?;
        self.pending.clear();
        self.push(store, 0, id)
    }

    fn push(&mut self, store: &mut Store, level: usize, id: ObjectId) -> io::Result<()> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].extend(id.0);
        if self.levels[level].len() == FAN_OUT * ID {
            let ids = std::mem::take(&mut self.levels[level]);
            self.close(store, level, &ids)?;
        }
        Ok(())
    }

    /// Makes an index of the names at `level`.
    fn close(&mut self, store: &mut Store, level: usize, ids: &[u8]) -> io::Result<()> {
        let index = Kind::Index(u8::try_from(level + 1).expect("sizes are of 64 bits"));
        let id = put(store, index, self.salt, ids)?;
        self.push(store, level + 1, id)
    }
}

fn put(store: &mut Store, kind: Kind, salt: Salt, content: &[u8]) -> io::Result<ObjectId> {
    if content.iter().all(|byte| *byte == 0) {
        return Ok(ObjectId::HOLE);
    }
    store.put(kind, salt, content)
}

/// What comes next of a content.
#[derive(Debug)]
pub(crate) enum Step {
    /// An index, read on the way.
    Index(ObjectId),
    /// A chunk, not read yet, and its length.
    Chunk(ObjectId, usize),
    /// So many zeros.
    Hole(u64),
}

/// Reads a content from front to back. It holds one index per level.
pub(crate) struct BlobReader {
    leaf: Kind,
    blob: BlobRef,
    offset: u64,
    indexes: Vec<IndexCursor>,
}

struct IndexCursor {
    level: u8,
    ids: Zeroizing<Vec<u8>>,
    at: usize,
}

impl BlobReader {
    pub(crate) fn new(leaf: Kind, blob: BlobRef) -> Self {
        Self {
            leaf,
            blob,
            offset: 0,
            indexes: Vec::new(),
        }
    }

    /// Goes on; `None` at the end.
    pub(crate) fn step(&mut self, store: &mut Store) -> Result<Option<Step>, ReadError> {
        if self.offset == self.blob.size {
            return Ok(None);
        }
        let (id, level) = loop {
            match self.indexes.last_mut() {
                None => break (self.blob.id, self.blob.depth()),
                Some(index) => match index.ids[index.at..].first_chunk::<ID>() {
                    None => _ = self.indexes.pop(),
                    Some(id) => {
                        index.at += ID;
                        break (ObjectId(*id), index.level - 1);
                    }
                },
            }
        };
        let length = span(level).min(self.blob.size - self.offset);
        if id == ObjectId::HOLE {
            self.offset += length;
            return Ok(Some(Step::Hole(length)));
        }
        if level == 0 {
            self.offset += length;
            let length = usize::try_from(length).expect("a chunk fits in memory");
            return Ok(Some(Step::Chunk(id, length)));
        }
        let names = usize::try_from(length.div_ceil(span(level - 1))).expect("at most FAN_OUT");
        let ids = store.get(Kind::Index(level), self.blob.salt, id, names * ID)?;
        self.indexes.push(IndexCursor { level, ids, at: 0 });
        Ok(Some(Step::Index(id)))
    }

    /// The chunk that [`BlobReader::step`] has named.
    pub(crate) fn read(
        &self,
        store: &mut Store,
        id: ObjectId,
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, ReadError> {
        store.get(self.leaf, self.blob.salt, id, length)
    }
}

/// Bytes of content below a full node.
fn span(level: u8) -> u64 {
    (0..level).fold(CHUNK as u64, |span, _| span.saturating_mul(FAN_OUT as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(size: u64, skipped: u64) -> (Store, BlobRef) {
        let mut store = Store::in_memory();
        let mut writer = BlobWriter::new(Kind::Data, Salt([3; 16]));
        writer.skip(&mut store, skipped).unwrap();
        let piece: Vec<u8> = (1..=255).cycle().take(100_000).collect();
        let mut left = size;
        while left > 0 {
            let n = left.min(piece.len() as u64);
            writer
                .write(&mut store, &piece[..usize::try_from(n).unwrap()])
                .unwrap();
            left -= n;
        }
        let blob = writer.finish(&mut store).unwrap();
        assert_eq!(blob.size, size + skipped * CHUNK as u64);
        (store, blob)
    }

    /// Bytes, zeros and indexes that reading finds.
    fn read(store: &mut Store, blob: BlobRef) -> Result<(u64, u64, u64), ReadError> {
        let mut reader = BlobReader::new(Kind::Data, blob);
        let (mut bytes, mut zeros, mut indexes) = (0, 0, 0);
        while let Some(step) = reader.step(store)? {
            match step {
                Step::Index(_) => indexes += 1,
                Step::Hole(length) => zeros += length,
                Step::Chunk(id, length) => bytes += reader.read(store, id, length)?.len() as u64,
            }
        }
        Ok((bytes, zeros, indexes))
    }

    #[test]
    fn every_shape_reads_back() {
        let chunk = CHUNK as u64;
        for (size, indexes) in [
            (0, 0),
            (1, 0),
            (chunk - 1, 0),
            (chunk, 0),
            (chunk + 1, 1),
            (10 * chunk, 1),
        ] {
            let (mut store, blob) = written(size, 0);
            assert_eq!(
                read(&mut store, blob).unwrap(),
                (size, 0, indexes),
                "{size}"
            );
        }
    }

    #[test]
    fn zeros_are_not_stored_at_any_level() {
        let chunk = CHUNK as u64;
        for (size, skipped, indexes) in [
            (0, 1, 0),
            (0, 5000, 0),
            (2 * chunk, 2046, 1),
            (2 * chunk + 1, 2046, 3),
            (7, 4096, 2),
            (7, 4095, 2),
        ] {
            let (mut store, blob) = written(size, skipped);
            let read = read(&mut store, blob).unwrap();
            assert_eq!(read, (size, skipped * chunk, indexes), "{size} {skipped}");
        }
        let (_, blob) = written(0, 5000);
        assert_eq!(blob.id, ObjectId::HOLE);
    }

    #[test]
    fn another_size_is_refused() {
        let chunk = CHUNK as u64;
        let (mut store, blob) = written(3 * chunk + 5, 0);
        for size in [
            1,
            chunk,
            2 * chunk,
            3 * chunk + 4,
            3 * chunk + 6,
            5000 * chunk,
            u64::MAX,
        ] {
            let wrong = BlobRef { size, ..blob };
            assert!(read(&mut store, wrong).is_err(), "{size}");
        }
    }
}
