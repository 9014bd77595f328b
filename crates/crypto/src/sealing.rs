//! Sealing under a symmetric key: AES-256-GCM-SIV (RFC 8452) with a random nonce.
//!
//! A sealed value is `nonce (12) ‖ ciphertext ‖ tag (16)`, [`OVERHEAD`] bytes longer than the
//! plaintext. The cipher resists nonces that repeat, so random ones are enough for every number of
//! values that one key will seal. What the value is about goes into the associated data: it opens
//! only with the same.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use crate::random;

/// Bytes that sealing adds.
pub const OVERHEAD: usize = NONCE_LEN + 16;

/// A key that seals values at rest: 32 bytes. Wiped when dropped; it has no `Debug`.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

impl SealingKey {
    /// A fresh key.
    pub fn generate() -> Self {
        Self(random::secret_bytes())
    }

    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes: to be sealed under another key or split into shares, never to be written.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for one purpose (`label`) and one thing (`context`): HKDF-SHA256 (RFC 5869) with
    /// the label as salt. Keys of different purposes say nothing of each other.
    pub fn derive(&self, label: &str, context: &[u8]) -> Self {
        struct Bytes32;
        impl KeyType for Bytes32 {
            fn len(&self) -> usize {
                32
            }
        }
        let mut derived = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, label.as_bytes())
            .extract(self.0.as_ref())
            .expand(&[context], Bytes32)
            .and_then(|output| output.fill(derived.as_mut()))
            .expect("32 bytes are within HKDF's limit");
        Self(derived)
    }

    /// Seals `plaintext`, which will open with the same `aad` only.
    pub fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let nonce = random::bytes::<NONCE_LEN>();
        let mut sealed = Vec::with_capacity(plaintext.len() + OVERHEAD);
        sealed.extend(nonce);
        sealed.extend(plaintext);
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut sealed[NONCE_LEN..],
            )
            .expect("no value is as long as the cipher's limit");
        sealed.extend(tag.as_ref());
        sealed
    }

    /// Opens what [`SealingKey::seal`] made with the same key and `aad`.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let (nonce, ciphertext) = sealed.split_at_checked(NONCE_LEN).ok_or(DoesNotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DoesNotOpen)?;
        let mut opened = Zeroizing::new(ciphertext.to_vec());
        let length = self
            .cipher()
            .open_in_place(nonce, Aad::from(aad), &mut opened)
            .map_err(|_| DoesNotOpen)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM_SIV, self.0.as_ref()).expect("the key has 32 bytes"),
        )
    }
}

/// Another key, another thing, or changed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sealed value does not open: it was sealed under another key, for something else, or changed"
)]
pub struct DoesNotOpen;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn derived_keys_differ_by_label_and_context() {
        let key = SealingKey::from_bytes([7; 32]);
        let one = key.derive("mse-test-v1", b"a");
        assert_eq!(one.expose(), key.derive("mse-test-v1", b"a").expose());
        assert_ne!(one.expose(), key.derive("mse-test-v1", b"b").expose());
        assert_ne!(one.expose(), key.derive("mse-test-v2", b"a").expose());
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_unchanged_and_only_so(
            plaintext in prop::collection::vec(any::<u8>(), 0..200),
            aad in prop::collection::vec(any::<u8>(), 0..20),
            at in any::<prop::sample::Index>(),
        ) {
            let key = SealingKey::generate();
            let sealed = key.seal(&aad, &plaintext);
            prop_assert_eq!(sealed.len(), plaintext.len() + OVERHEAD);
            prop_assert_eq!(&*key.open(&aad, &sealed).unwrap(), &plaintext);
            let mut changed = sealed.clone();
            changed[at.index(sealed.len())] ^= 1;
            prop_assert!(key.open(&aad, &changed).is_err());
            prop_assert!(key.open(&[&aad[..], b"x"].concat(), &sealed).is_err());
            prop_assert!(key.open(&aad, &sealed[..at.index(sealed.len())]).is_err());
            prop_assert!(SealingKey::generate().open(&aad, &sealed).is_err());
        }
    }
}
