//! The source commitment: a salted Merkle root over the plaintext (RFC 9162 §2.1.1 tree hash).
//!
//! The salt keeps the operator, who sees the root, from testing guesses about the code; who has
//! the salt (from a context) and the source can recompute the root without the code key.

use std::str::FromStr;

use mse_crypto::digest::Hasher;
use mse_crypto::{Digest, Zeroizing, random};

use super::FileMode;

/// 32 random bytes that salt every leaf. Known to the owner, the verifiers and the enclave.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceSalt(pub(super) Zeroizing<[u8; 32]>);

impl SourceSalt {
    /// A fresh salt.
    pub fn generate() -> Self {
        Self(random::secret_bytes())
    }

    /// 64 hex digits.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(Digest(*self.0).to_string())
    }
}

impl FromStr for SourceSalt {
    type Err = InvalidSalt;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Digest(bytes) = text.parse().map_err(|_| InvalidSalt)?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// The text is not 64 hex digits.
#[derive(Debug, thiserror::Error)]
#[error("the source salt is not 64 hexadecimal digits")]
pub struct InvalidSalt;

/// The leaf of one file: `SHA-256(0x00 ‖ salt ‖ len(path) ‖ path ‖ executable ‖ SHA-256(content))`.
pub(super) fn leaf(salt: &SourceSalt, path: &str, mode: FileMode, content: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&[0x00]);
    hasher.update(salt.0.as_ref());
    hasher.update_field(path.as_bytes());
    hasher.update(&[mode.is_executable().into()]);
    hasher.update(&content.0);
    hasher.finish()
}

/// The root over `leaves`, which stand in path order.
pub(super) fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let mut hasher = Hasher::new();
            hasher.update(&[0x01]);
            hasher.update(&root(&leaves[..split]).0);
            hasher.update(&root(&leaves[split..]).0);
            hasher.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree of RFC 9162 §2.1.5 has 7 leaves: ((0 1) (2 3)) ((4 5) 6).
    #[test]
    fn tree_shape_is_that_of_rfc_9162() {
        let leaves: Vec<Digest> = (0u8..7).map(|i| Digest::of(&[i])).collect();
        let node =
            |a: Digest, b: Digest| Digest::of(&[&[0x01][..], a.as_ref(), b.as_ref()].concat());
        let [a, b, c, d, e, f, g] = leaves[..].try_into().unwrap();
        let expected = node(node(node(a, b), node(c, d)), node(node(e, f), g));
        assert_eq!(root(&leaves), expected);
    }

    #[test]
    fn a_leaf_binds_salt_path_mode_and_content() {
        let salt = SourceSalt::generate();
        let content = Digest::of(b"x");
        let base = leaf(&salt, "app.py", FileMode::Plain, &content);
        assert_ne!(
            base,
            leaf(&SourceSalt::generate(), "app.py", FileMode::Plain, &content)
        );
        assert_ne!(base, leaf(&salt, "apq.py", FileMode::Plain, &content));
        assert_ne!(base, leaf(&salt, "app.py", FileMode::Executable, &content));
        assert_ne!(
            base,
            leaf(&salt, "app.py", FileMode::Plain, &Digest::of(b"y"))
        );
    }
}
