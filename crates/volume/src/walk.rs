//! Reads a tree from its sealed form, entry by entry, in bounded memory.

use std::collections::HashSet;

use crate::MAX_DEPTH;
use crate::blob::{BlobReader, BlobRef, Step};
use crate::manifest::{
    Decoded, Entry, EntryName, Malformed, Node, OUT_OF_ORDER, RootManifest, Summary,
};
use crate::seal::{Kind, ObjectId};
use crate::store::{ReadError, Store};

/// Takes a tree: a directory's entries come between its `enter` and its `leave`.
pub(crate) trait Visitor {
    type Error: From<ReadError>;

    /// An entry. After a file [`Visitor::content`] follows, after a directory its entries.
    fn entry(&mut self, entry: &Entry) -> Result<(), Self::Error>;
    /// The content of the file that came last.
    fn content(&mut self, store: &mut Store, content: &BlobRef) -> Result<(), Self::Error>;
    /// The directory that came last and was not left has no more entries.
    fn leave(&mut self) -> Result<(), Self::Error>;
    /// An index or a chunk of a listing that was read.
    fn passed(&mut self, _: ObjectId) {}
}

/// Visits all of a state. Bounds hold, links stay inside, and the whole amounts to what the root
/// manifest says.
pub(crate) fn walk<V: Visitor>(
    store: &mut Store,
    manifest: &RootManifest,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let mut summary = Summary::default();
    directory(store, manifest.tree, 0, &mut summary, visitor)?;
    if summary == manifest.summary {
        Ok(())
    } else {
        Err(malformed("amounts to another tree than it says"))
    }
}

fn directory<V: Visitor>(
    store: &mut Store,
    listing: BlobRef,
    depth: usize,
    summary: &mut Summary,
    visitor: &mut V,
) -> Result<(), V::Error> {
    let mut listing = ListingReader::new(listing);
    while let Some(entry) = listing.next(store, &mut |id| visitor.passed(id))? {
        if !summary.add(&entry.node) {
            return Err(malformed("is over the bounds of a volume"));
        }
        match &entry.node {
            Node::File { content, .. } => {
                visitor.entry(&entry)?;
                visitor.content(store, content)?;
            }
            Node::Directory { listing, .. } => {
                if depth + 1 > MAX_DEPTH {
                    return Err(malformed("has directories that nest too deep"));
                }
                visitor.entry(&entry)?;
                directory(store, *listing, depth + 1, summary, visitor)?;
                visitor.leave()?;
            }
            Node::Link { target } => {
                if !target.stays_inside(depth) {
                    return Err(malformed("has a link that leads out of the volume"));
                }
                visitor.entry(&entry)?;
            }
        }
    }
    Ok(())
}

fn malformed<E: From<ReadError>>(problem: &'static str) -> E {
    ReadError::from(Malformed(problem)).into()
}

/// Reads a listing entry by entry. It holds one chunk.
pub(crate) struct ListingReader {
    blob: BlobReader,
    buffer: Vec<u8>,
    at: usize,
    last: Option<EntryName>,
}

impl ListingReader {
    pub(crate) fn new(listing: BlobRef) -> Self {
        Self {
            blob: BlobReader::new(Kind::Listing, listing),
            buffer: Vec::new(),
            at: 0,
            last: None,
        }
    }

    /// The next entry. `passed` is told the objects that are read for it.
    pub(crate) fn next(
        &mut self,
        store: &mut Store,
        passed: &mut dyn FnMut(ObjectId),
    ) -> Result<Option<Entry>, ReadError> {
        loop {
            let rest = &self.buffer[self.at..];
            if !rest.is_empty()
                && let Decoded::Entry(entry, length) = Entry::decode(rest)?
            {
                if self.last.as_ref().is_some_and(|last| *last >= entry.name) {
                    return Err(OUT_OF_ORDER.into());
                }
                self.at += length;
                self.last = Some(entry.name.clone());
                return Ok(Some(entry));
            }
            match self.blob.step(store)? {
                Some(Step::Index(id)) => passed(id),
                Some(Step::Chunk(id, length)) => {
                    let chunk = self.blob.read(store, id, length)?;
                    passed(id);
                    self.buffer.drain(..self.at);
                    self.at = 0;
                    self.buffer.extend(chunk.iter());
                }
                Some(Step::Hole(_)) => return Err(Malformed("has zeros for a listing").into()),
                None if rest.is_empty() => return Ok(None),
                None => return Err(Malformed("ends early").into()),
            }
        }
    }
}

/// Reads every object of the tree, and keeps nothing.
pub(crate) struct Verify;

impl Visitor for Verify {
    type Error = ReadError;

    fn entry(&mut self, _: &Entry) -> Result<(), ReadError> {
        Ok(())
    }

    fn content(&mut self, store: &mut Store, content: &BlobRef) -> Result<(), ReadError> {
        let mut reader = BlobReader::new(Kind::Data, *content);
        while let Some(step) = reader.step(store)? {
            if let Step::Chunk(id, length) = step {
                reader.read(store, id, length)?;
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), ReadError> {
        Ok(())
    }
}

/// Collects the names of all objects of the tree; contents are not read.
pub(crate) struct Collect<'a>(pub(crate) &'a mut HashSet<ObjectId>);

impl Visitor for Collect<'_> {
    type Error = ReadError;

    fn entry(&mut self, _: &Entry) -> Result<(), ReadError> {
        Ok(())
    }

    fn content(&mut self, store: &mut Store, content: &BlobRef) -> Result<(), ReadError> {
        let mut reader = BlobReader::new(Kind::Data, *content);
        while let Some(step) = reader.step(store)? {
            if let Step::Chunk(id, _) | Step::Index(id) = step {
                self.0.insert(id);
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), ReadError> {
        Ok(())
    }

    fn passed(&mut self, id: ObjectId) {
        self.0.insert(id);
    }
}
