//! Objects: how a piece of the volume is sealed and named.

use std::fmt;

use mse_crypto::Zeroizing;
use mse_crypto::mac::MacKey;
use mse_crypto::random;
use mse_crypto::sealing::{OVERHEAD, SealingKey};

use crate::header::{Header, Protection};
use crate::{CHUNK, VolumeRoot};

/// Sealed objects are padded to powers of two from here to [`CHUNK`].
const SMALLEST: usize = 256;
/// In front of the padded content: its length.
const LENGTH: usize = 4;
/// No object is larger.
pub(crate) const MAX_OBJECT: usize = OVERHEAD + LENGTH + CHUNK;
/// No sealed root manifest is larger.
pub(crate) const MAX_MANIFEST: usize = OVERHEAD + 256;

/// The name of an object: HMAC-SHA256 under a key of the volume over its kind, the salt of the
/// file it belongs to, and its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId(pub(crate) [u8; 32]);

impl ObjectId {
    /// Stands for zeros that are not stored. No object has this name.
    pub(crate) const HOLE: Self = Self([0; 32]);
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

/// Random per file and directory, kept as long as it has its path: equal contents of two files
/// have different names, so nobody learns what one file holds by writing a guess into another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Salt(pub(crate) [u8; 16]);

impl Salt {
    pub(crate) fn generate() -> Self {
        Self(random::bytes())
    }
}

/// What an object is: part of its name and of its associated data, so that none passes for
/// another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A chunk of a file.
    Data,
    /// A chunk of the listing of a directory.
    Listing,
    /// Names of objects that are this many levels above the chunks.
    Index(u8),
}

impl Kind {
    fn tag(self) -> [u8; 2] {
        match self {
            Self::Data => [1, 0],
            Self::Listing => [2, 0],
            Self::Index(level) => [3, level],
        }
    }
}

/// The keys of one volume.
pub(crate) struct VolumeKeys {
    objects: SealingKey,
    manifests: SealingKey,
    names: MacKey,
    protection: Protection,
}

impl VolumeKeys {
    pub(crate) fn derive(key: &SealingKey, header: &Header) -> Self {
        let context = header.encode();
        Self {
            objects: key.derive("mse-volume-objects-v1", &context),
            manifests: key.derive("mse-volume-manifests-v1", &context),
            names: MacKey::new(&key.derive("mse-volume-names-v1", &context)),
            protection: header.protection,
        }
    }

    pub(crate) fn name(&self, kind: Kind, salt: Salt, content: &[u8]) -> ObjectId {
        ObjectId(self.names.tag(&[&kind.tag(), &salt.0, content]))
    }

    /// The stored form of `content`, which is at most [`CHUNK`] long and has the name `id`.
    pub(crate) fn seal(&self, kind: Kind, id: ObjectId, content: &[u8]) -> Vec<u8> {
        if self.in_clear(kind) {
            return content.to_vec();
        }
        let padded = content.len().next_power_of_two().max(SMALLEST);
        let mut plaintext = Zeroizing::new(Vec::with_capacity(LENGTH + padded));
        let length = u32::try_from(content.len()).expect("content is at most a chunk");
        plaintext.extend(length.to_be_bytes());
        plaintext.extend(content);
        plaintext.resize(LENGTH + padded, 0);
        self.objects.seal(&aad(kind, id), &plaintext)
    }

    /// Opens what [`VolumeKeys::seal`] made. The content is the one that has the name `id`: a key
    /// holder, too, cannot make a root that stands for two states.
    pub(crate) fn open(
        &self,
        kind: Kind,
        salt: Salt,
        id: ObjectId,
        stored: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let content = if self.in_clear(kind) {
            Zeroizing::new(stored.to_vec())
        } else {
            let mut plaintext = self.objects.open(&aad(kind, id), stored).ok()?;
            let length = u32::from_be_bytes(*plaintext.first_chunk::<LENGTH>()?);
            let length = usize::try_from(length).ok()?;
            if length > plaintext.len() - LENGTH {
                return None;
            }
            plaintext.copy_within(LENGTH..LENGTH + length, 0);
            plaintext.truncate(length);
            plaintext
        };
        (content.len() <= CHUNK && self.name(kind, salt, &content) == id).then_some(content)
    }

    pub(crate) fn seal_manifest(&self, header: &Header, manifest: &[u8]) -> (VolumeRoot, Vec<u8>) {
        let sealed = self.manifests.seal(b"", manifest);
        (VolumeRoot::of(&header.encode(), &sealed), sealed)
    }

    pub(crate) fn open_manifest(&self, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.manifests.open(b"", sealed).ok()
    }

    fn in_clear(&self, kind: Kind) -> bool {
        self.protection == Protection::AuthenticatedOnly && kind == Kind::Data
    }
}

fn aad(kind: Kind, id: ObjectId) -> Vec<u8> {
    [&kind.tag(), &id.0[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(protection: Protection) -> VolumeKeys {
        VolumeKeys::derive(&SealingKey::generate(), &Header::new(protection))
    }

    #[test]
    fn an_object_opens_as_what_it_is_only() {
        let keys = keys(Protection::Encrypted);
        let (salt, content) = (Salt::generate(), b"content");
        let id = keys.name(Kind::Data, salt, content);
        let stored = keys.seal(Kind::Data, id, content);
        assert_eq!(
            &**keys.open(Kind::Data, salt, id, &stored).unwrap(),
            content
        );
        assert!(keys.open(Kind::Listing, salt, id, &stored).is_none());
        assert!(keys.open(Kind::Index(1), salt, id, &stored).is_none());
        assert!(
            keys.open(Kind::Data, Salt::generate(), id, &stored)
                .is_none()
        );
        let other = keys.name(Kind::Data, salt, b"other");
        assert!(keys.open(Kind::Data, salt, other, &stored).is_none());
        // Sealed by a holder of the key under a name that is not its own.
        let liar = keys.seal(Kind::Data, other, content);
        assert!(keys.open(Kind::Data, salt, other, &liar).is_none());
    }

    #[test]
    fn sizes_are_classes() {
        let keys = keys(Protection::Encrypted);
        let stored = |length: usize| {
            let content = vec![7; length];
            let id = keys.name(Kind::Data, Salt([0; 16]), &content);
            keys.seal(Kind::Data, id, &content).len() - OVERHEAD - LENGTH
        };
        assert_eq!([0, 1, 255, 256].map(stored), [256; 4]);
        assert_eq!([257, 400, 512].map(stored), [512; 3]);
        assert_eq!([CHUNK / 2 + 1, CHUNK].map(stored), [CHUNK; 2]);
    }

    #[test]
    fn without_encryption_only_contents_are_in_clear() {
        let keys = keys(Protection::AuthenticatedOnly);
        let salt = Salt::generate();
        for (kind, in_clear) in [
            (Kind::Data, true),
            (Kind::Listing, false),
            (Kind::Index(1), false),
        ] {
            let id = keys.name(kind, salt, b"content");
            let mut stored = keys.seal(kind, id, b"content");
            assert_eq!(stored == b"content", in_clear);
            assert!(keys.open(kind, salt, id, &stored).is_some());
            stored[0] ^= 1;
            assert!(keys.open(kind, salt, id, &stored).is_none());
        }
    }
}
