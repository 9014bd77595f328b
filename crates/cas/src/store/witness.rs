//! The witness: a small file outside of the store that remembers how far the store was.
//!
//! The store proves that it is *a* state that this CAS left; the witness proves that it is not an
//! earlier one. So it has to lie where whoever can put back an old store cannot put back an old
//! witness with it: on another disk, another machine, in a rollback-protected variable of the
//! platform. It is text, so that people can read how far a store was:
//!
//! ```text
//! mse-cas-witness 1
//! store 3f1e…        16 bytes
//! sequence 4711
//! head 9c0a…         32 bytes
//! mac 77b2…          32 bytes, under a key derived from the root key
//! ```

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use subtle::ConstantTimeEq;

use super::chain::{Position, StoreId};
use super::error::StoreError;
use crate::keys::{Purpose, RootKey};

/// A witness file. Each process has one of its own.
#[derive(Clone, Debug)]
pub struct Witness {
    path: PathBuf,
}

impl Witness {
    /// The witness at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The position that it remembers of this store; `None` if there is no file.
    pub fn seen(&self, root: &RootKey, store: StoreId) -> Result<Option<Position>, StoreError> {
        let broken = |what: String| StoreError::WitnessBroken {
            path: self.path.clone(),
            what,
        };
        let mut text = String::new();
        match File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(broken(error.to_string())),
            Ok(file) => {
                let read = file.take(MAX_WITNESS).read_to_string(&mut text);
                read.map_err(|error| broken(error.to_string()))?;
            }
        }
        let parsed = parse(&text).ok_or_else(|| {
            broken("it is not a witness file; name another path, or put the right one there".into())
        })?;
        if parsed.store != store {
            return Err(broken(format!(
                "it is of store {}, and this is {store}; name its own witness",
                parsed.store
            )));
        }
        if !bool::from(parsed.mac.ct_eq(&mac(root, parsed.signed))) {
            return Err(broken(
                "it was changed, or written by a CAS with another root key".into(),
            ));
        }
        Ok(Some(parsed.position))
    }

    /// Remembers a position, so that it survives a crash.
    pub fn record(
        &self,
        root: &RootKey,
        store: StoreId,
        position: Position,
    ) -> Result<(), StoreError> {
        let signed = format!(
            "{MAGIC}\nstore {store}\nsequence {}\nhead {}\n",
            position.sequence, position.head
        );
        let text = format!("{signed}mac {}\n", hex::encode(mac(root, &signed)));
        self.replace(text.as_bytes())
            .map_err(|error| StoreError::WitnessBroken {
                path: self.path.clone(),
                what: format!("it cannot be written: {error}"),
            })
    }

    /// Either the old text or the new one is there at any moment.
    fn replace(&self, text: &[u8]) -> std::io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }
}

struct Parsed<'a> {
    store: StoreId,
    position: Position,
    mac: [u8; 32],
    signed: &'a str,
}

fn parse(text: &str) -> Option<Parsed<'_>> {
    let (signed, mac) = text.split_at_checked(text.rfind("mac ")?)?;
    let mut lines = signed.strip_prefix(MAGIC)?.strip_prefix('\n')?.lines();
    let store = lines.next()?.strip_prefix("store ")?;
    let sequence = lines.next()?.strip_prefix("sequence ")?;
    let head = lines.next()?.strip_prefix("head ")?;
    if lines.next().is_some() {
        return None;
    }
    Some(Parsed {
        store: StoreId(bytes(store)?),
        position: Position {
            sequence: sequence.parse().ok()?,
            head: Digest(bytes(head)?),
        },
        mac: bytes(mac.strip_prefix("mac ")?.strip_suffix('\n')?)?,
        signed,
    })
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// HKDF is a pseudo-random function, and so a MAC, of its context.
fn mac(root: &RootKey, signed: &str) -> [u8; 32] {
    let key = root.derive(Purpose::Witness);
    *key.derive("mse-cas-witness-mac-v1", signed.as_bytes())
        .expose()
}

const MAGIC: &str = "mse-cas-witness 1";
const MAX_WITNESS: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: StoreId = StoreId([3; 16]);

    fn witness() -> (tempfile::TempDir, Witness, RootKey, Position) {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::at(folder.path().join("witness"));
        let root = RootKey::generate();
        let position = Position {
            sequence: 7,
            head: Digest([9; 32]),
        };
        witness.record(&root, STORE, position).unwrap();
        (folder, witness, root, position)
    }

    #[test]
    fn it_remembers_the_last_position() {
        let (_folder, witness, root, position) = witness();
        assert_eq!(witness.seen(&root, STORE).unwrap(), Some(position));
        let next = Position {
            sequence: 8,
            ..position
        };
        witness.record(&root, STORE, next).unwrap();
        assert_eq!(witness.seen(&root, STORE).unwrap(), Some(next));
        let nowhere = Witness::at(witness.path().with_extension("nowhere"));
        assert_eq!(nowhere.seen(&root, STORE).unwrap(), None);
    }

    #[test]
    fn another_store_another_key_and_any_change_are_refused() {
        let (_folder, witness, root, _) = witness();
        assert!(witness.seen(&root, StoreId([4; 16])).is_err());
        assert!(witness.seen(&RootKey::generate(), STORE).is_err());
        let text = std::fs::read(witness.path()).unwrap();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            std::fs::write(witness.path(), &changed).unwrap();
            assert!(witness.seen(&root, STORE).is_err(), "byte {at}");
            std::fs::write(witness.path(), &text[..at]).unwrap();
            assert!(witness.seen(&root, STORE).is_err(), "{at} bytes");
        }
    }
}
