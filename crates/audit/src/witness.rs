//! What a verifier remembers of a log: the heads that it has seen.
//!
//! A log that was set back as a whole, with its signatures, is not to be told from one that never
//! was larger. Only who has seen it larger can tell.

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mse_crypto::signing::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::head::{Conflict, LogId, SignedHead, UnverifiedHead};
use crate::tree::{ConsistencyProof, InvalidProof};
use crate::verify::{Report, Verdict};

/// The format that this code reads and writes.
pub const FORMAT: &str = "mse-audit-witness-1";

/// A witness knows at most so many heads.
pub const MAX_HEADS: usize = 4096;

/// A witness file is never larger: 4 MiB.
pub const MAX_FILE: u64 = 4 * 1024 * 1024;

/// The heads of one log that a verifier has seen, by size. All are signed by the log and none
/// contradicts another.
///
/// JSON: `{"format": "mse-audit-witness-1", "heads": [{…}, …], "log_id": "<64 hex>"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    log_id: LogId,
    heads: Vec<SignedHead>,
}

impl Witness {
    /// One that has seen nothing yet.
    pub fn new(log_id: LogId) -> Self {
        Self {
            log_id,
            heads: Vec::new(),
        }
    }

    /// Reads the JSON form, and checks every head with the log's key.
    pub fn from_json(json: &[u8], key: &VerifyingKey) -> Result<Self, WitnessError> {
        let file: WitnessJson = serde_json::from_slice(json)?;
        if file.format != FORMAT {
            return Err(WitnessError::Format(file.format.chars().take(80).collect()));
        }
        let mut witness = Self::new(LogId::of(key));
        if file.log_id != witness.log_id {
            return Err(UnverifiedHead::WrongLog {
                expected: witness.log_id,
                found: file.log_id,
            }
            .into());
        }
        for head in file.heads {
            witness.see(head, key)?;
        }
        Ok(witness)
    }

    /// The JSON form, with an end of line.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json_canonicalizer::to_vec(&WitnessJson {
            format: FORMAT.to_owned(),
            heads: self.heads.clone(),
            log_id: self.log_id,
        })
        .expect("a witness has only strings and integers");
        json.push(b'\n');
        json
    }

    /// Reads the file at `path`; `None` if there is none.
    pub fn read(path: &Path, key: &VerifyingKey) -> Result<Option<Self>, WitnessError> {
        let mut json = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut json));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WitnessError::io("read", path, error)),
            Ok(_) if json.len() as u64 > MAX_FILE => return Err(WitnessError::TooLarge),
            Ok(_) => {}
        }
        Self::from_json(&json, key).map(Some)
    }

    /// Writes the file at `path` (0600), in one step, with what others wrote there meanwhile
    /// taken in: no head that was ever in the file gets lost, and one that contradicts it does not
    /// get in.
    pub fn save(&mut self, path: &Path, key: &VerifyingKey) -> Result<(), WitnessError> {
        let lock_path = path.with_added_extension("lock");
        // Held until the function ends.
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|error| WitnessError::io("lock", &lock_path, error))?;
        if let Some(there) = Self::read(path, key)? {
            self.merge(&there)?;
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let write = || {
            // Temporary files are made 0600.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&self.to_json())?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| WitnessError::io("write", path, error))?;
        drop(lock);
        Ok(())
    }

    /// Which log.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The heads, the smallest first.
    pub fn heads(&self) -> &[SignedHead] {
        &self.heads
    }

    /// The largest head.
    pub fn newest(&self) -> Option<&SignedHead> {
        self.heads.last()
    }

    /// Takes in the newest head of an audit that used this witness and ended with
    /// [`Verdict::Ok`]. If the witness is full and the audit confirmed all that it knows, every
    /// other head is forgotten: the new one vouches for them.
    pub fn record(&mut self, report: &Report) -> Result<(), WitnessError> {
        let (Verdict::Ok, Some(head)) = (report.verdict, &report.signed_head) else {
            return Err(WitnessError::NotOk(report.verdict));
        };
        if self.newest() != report.witness_newest.as_ref() {
            return Err(WitnessError::NotUsed);
        }
        if self.heads.len() >= MAX_HEADS && report.witnessed == Some(self.heads.len() as u64) {
            let mut at = 0;
            self.heads.retain(|_| {
                at += 1;
                at % 2 == 0
            });
        }
        self.insert(head.clone())
    }

    /// Takes in a newer head, shown by a proof that the log only grew since the newest one known.
    /// The first head of all needs none.
    pub fn advance(
        &mut self,
        head: SignedHead,
        proof: &ConsistencyProof,
        key: &VerifyingKey,
    ) -> Result<(), WitnessError> {
        let new = head.verify(key)?;
        if let Some(newest) = self.newest() {
            let known = newest.head();
            new.follows(known)?;
            if (proof.first, proof.second) != (known.tree_size, new.tree_size) {
                return Err(WitnessError::OtherProof {
                    first: known.tree_size,
                    second: new.tree_size,
                });
            }
            proof.verify(&known.root, &new.root)?;
        }
        self.insert(head)
    }

    /// Takes in all that another witness of the same log knows. That its heads are of one history
    /// with ours shows the next audit; here only plain contradictions are refused, and then
    /// nothing is taken in.
    pub fn merge(&mut self, other: &Self) -> Result<(), WitnessError> {
        if other.log_id != self.log_id {
            return Err(Conflict::OtherLog {
                expected: self.log_id,
                found: other.log_id,
            }
            .into());
        }
        let mut merged = self.clone();
        for head in &other.heads {
            merged.insert(head.clone())?;
        }
        *self = merged;
        Ok(())
    }

    /// Takes in a head that was seen somewhere, smaller or larger than those known. As in
    /// [`Witness::merge`], only a plain contradiction is refused.
    pub fn see(&mut self, head: SignedHead, key: &VerifyingKey) -> Result<(), WitnessError> {
        head.verify(key)?;
        self.insert(head)
    }

    fn insert(&mut self, head: SignedHead) -> Result<(), WitnessError> {
        let size = head.head().tree_size;
        for known in &self.heads {
            known.head().agrees_with(head.head())?;
            if known.head() == head.head() {
                return Ok(());
            }
        }
        if self.heads.len() >= MAX_HEADS {
            return Err(WitnessError::Full);
        }
        let at = self
            .heads
            .partition_point(|known| known.head().tree_size <= size);
        self.heads.insert(at, head);
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessJson {
    format: String,
    heads: Vec<SignedHead>,
    log_id: LogId,
}

/// Why a witness cannot be used, or does not take something in.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The operating system refuses.
    #[error("cannot {action} the witness file `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Over [`MAX_FILE`].
    #[error("the witness file is larger than {MAX_FILE} bytes: it is none, or was damaged")]
    TooLarge,
    /// Not the JSON of a witness.
    #[error("not a witness file: {0}")]
    Json(#[from] serde_json::Error),
    /// Another format.
    #[error("the format of the witness file is `{0}`; `{FORMAT}` is expected")]
    Format(String),
    /// A head is not the log's.
    #[error(transparent)]
    Head(#[from] UnverifiedHead),
    /// A head contradicts what is known: keep both, they prove what the log did.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The audit did not end well.
    #[error("an audit with the verdict `{0}` adds nothing to a witness")]
    NotOk(Verdict),
    /// The audit compared with something else.
    #[error("the audit was not one with this witness, or the witness has changed since: repeat it")]
    NotUsed,
    /// The proof is between other sizes.
    #[error("a proof between {first} and {second} entries is needed")]
    OtherProof {
        /// What is known.
        first: u64,
        /// What is new.
        second: u64,
    },
    /// The proof does not hold.
    #[error(transparent)]
    Proof(#[from] InvalidProof),
    /// Over [`MAX_HEADS`].
    #[error(
        "the witness knows {MAX_HEADS} heads, as many as it can: audit the whole log with it, \
         which lets it forget some"
    )]
    Full,
}

impl WitnessError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
