//! `state`: the newest head, and what it acknowledges.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

use crate::head::SignedHead;
use crate::storage::StorageError;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) checkpoints_bytes: u64,
    pub(super) entries_bytes: u64,
    pub(super) head: SignedHead,
}

impl State {
    pub(super) fn read(path: &Path) -> Result<Self, StorageError> {
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_STATE).read_to_end(&mut text))
            .map_err(StorageError::io("read", path))?;
        let damaged = |what: String| StorageError::Damaged {
            path: path.to_owned(),
            what,
        };
        let line = text
            .iter()
            .position(|byte| *byte == b'\n')
            .map(|end| &text[..end])
            .filter(|line| text == with_checksum(line))
            .ok_or_else(|| damaged("its checksum is not that of its content".to_owned()))?;
        serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))
    }

    /// Replaces the file in one step. The folder is not synced.
    pub(super) fn write(&self, path: &Path) -> Result<(), StorageError> {
        let line = serde_json_canonicalizer::to_vec(self)
            .expect("a state has only strings and integers below 2^53");
        let folder = path.parent().expect("the file is in a folder");
        // Temporary files are made 0600.
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&with_checksum(&line))?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(StorageError::io("write", path))
    }
}

const MAX_STATE: u64 = 4096;

fn with_checksum(line: &[u8]) -> Vec<u8> {
    [line, b"\n", Digest::of(line).to_string().as_bytes(), b"\n"].concat()
}
