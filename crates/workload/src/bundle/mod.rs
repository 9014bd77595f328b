//! The code bundle: the owner's code, encrypted file by file.
//!
//! | part | form |
//! | --- | --- |
//! | container | deterministic ustar: entries sorted by path, mtime 0, uid and gid 0, mode 0644 or 0755; paths over 255 bytes by a GNU long-name entry |
//! | a file | entry `path.enc` = `nonce (24) ‖ tag (16) ‖ ciphertext`, XSalsa20-Poly1305 under the one code key |
//! | `requirements.txt` | in clear under its own name, at any depth |
//! | bundle digest | SHA-256 over `"mse-bundle-v1" ‖ 0` and, per entry in order, its name, whether it is executable and the SHA-256 of its bytes: every path is bound to its ciphertext |
//! | source commitment | RFC 9162 Merkle root whose leaves are salted digests of path, mode and plaintext |
//!
//! The same tree, key, nonces and salt make the same bytes on every machine.

mod commitment;
mod layout;
mod public_tree;
mod seal;
mod tree;
mod unseal;

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;

pub use commitment::{InvalidSalt, SourceSalt};
pub use public_tree::{TreeHasher, tree_digest};
pub use seal::{NonceSource, SealError, SealedBundle, seal, source_commitment};
pub use tree::{CodeTree, CollectError, FileMode, IGNORE_FILE, SourceFile};
pub use unseal::{FileSink, NoSink, UnsealError, Unsealed, digest_of, unseal};

/// A bundle holds at most this many files.
pub const MAX_FILES: usize = 100_000;
/// A path is at most this long, in bytes.
pub const MAX_PATH: usize = 1024;
/// A path has at most this many parts.
pub const MAX_DEPTH: usize = 60;
/// A part of a path is at most this long, in bytes: what file systems can name.
pub const MAX_NAME: usize = 251;
/// A bundle is at most this large: 10 GiB, the storage of an app.
pub const MAX_SIZE: u64 = 10 << 30;

/// The ending of an encrypted entry.
const ENCRYPTED: &str = ".enc";
/// The one file that stays in clear, so that the platform can prepare what it names.
const CLEAR: &str = "requirements.txt";

/// Whether `path` is relative, of plain parts, and within the bounds; `ending` may be added to
/// the last part.
fn is_clean_path(path: &str, ending: &str) -> bool {
    path.len() <= MAX_PATH + ending.len()
        && !path.contains(['\0', '\\'])
        && path.split('/').count() <= MAX_DEPTH
        && path
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.len() <= MAX_NAME + ending.len())
}

/// Whether the file at `path` stays in clear.
fn stays_clear(path: &str) -> bool {
    path.rsplit('/').next() == Some(CLEAR)
}

/// Collects the bundle digest, entry by entry in path order.
struct BundleHasher(Hasher);

impl BundleHasher {
    fn new() -> Self {
        Self(Hasher::with_domain("mse-bundle-v1"))
    }

    fn entry(&mut self, name: &str, mode: FileMode, content: &Digest) {
        self.0.update_field(name.as_bytes());
        self.0.update(&[mode.is_executable().into()]);
        self.0.update(&content.0);
    }

    fn finish(self) -> Digest {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests;
