//! The digest of a tree that is no secret: the program of a service.
//!
//! It is the source commitment with a salt that everybody knows, so that a tree of files has one
//! digest, which its author, the enclave and any third party compute alike. The salt is SHA-256 of
//! `"mse-service-tree-v1"`: no source commitment, whose salt is random, is ever taken for one.

use mse_crypto::{Digest, Zeroizing};

use super::commitment::{self, SourceSalt};
use super::seal::{SealError, source_commitment};
use super::{CodeTree, FileMode};

/// The digest of `tree`: every path, mode and content counts.
pub fn tree_digest(tree: &CodeTree) -> Result<Digest, SealError> {
    source_commitment(tree, &salt())
}

/// The same digest, of files that are at hand one after the other.
pub struct TreeHasher {
    salt: SourceSalt,
    leaves: Vec<Digest>,
}

impl TreeHasher {
    /// Of no file yet.
    pub fn new() -> Self {
        Self {
            salt: salt(),
            leaves: Vec::new(),
        }
    }

    /// Takes in the next file, in the order of [`CodeTree::files`]; `content` is the SHA-256 of
    /// its bytes.
    pub fn file(&mut self, path: &str, mode: FileMode, content: &Digest) {
        self.leaves
            .push(commitment::leaf(&self.salt, path, mode, content));
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        commitment::root(&self.leaves)
    }
}

impl Default for TreeHasher {
    fn default() -> Self {
        Self::new()
    }
}

fn salt() -> SourceSalt {
    SourceSalt(Zeroizing::new(Digest::of(b"mse-service-tree-v1").0))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn digest(root: &Path) -> Digest {
        tree_digest(&CodeTree::collect(root).unwrap()).unwrap()
    }

    #[test]
    fn path_mode_and_every_byte_count_and_both_ways_agree() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir(at("lib")).unwrap();
        fs::write(at("main.py"), "print(1)").unwrap();
        fs::write(at("lib/a.py"), "").unwrap();
        let base = digest(dir.path());

        let tree = CodeTree::collect(dir.path()).unwrap();
        let mut hasher = TreeHasher::new();
        for file in tree.files() {
            let content = Digest::of(&fs::read(tree.locate(file)).unwrap());
            hasher.file(&file.path, file.mode, &content);
        }
        assert_eq!(hasher.finish(), base);

        fs::write(at("main.py"), "print(2)").unwrap();
        assert_ne!(digest(dir.path()), base);
        fs::write(at("main.py"), "print(1)").unwrap();
        assert_eq!(digest(dir.path()), base);
        fs::set_permissions(at("main.py"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(digest(dir.path()), base);
        fs::set_permissions(at("main.py"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(at("lib/a.py"), at("lib/b.py")).unwrap();
        assert_ne!(digest(dir.path()), base);
    }

    /// The digest is a public format.
    #[test]
    fn the_digest_of_a_known_tree_is_fixed() {
        let mut hasher = TreeHasher::new();
        hasher.file("a", FileMode::Plain, &Digest::of(b"1"));
        hasher.file("b", FileMode::Executable, &Digest::of(b"2"));
        assert_eq!(
            hasher.finish().to_string(),
            "7b703460b7fe672bcca76451b3bf9cdbbefeddfd8c7eb39e95f9afee9822215e"
        );
    }
}
