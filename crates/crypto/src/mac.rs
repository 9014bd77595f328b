//! Tags that only who has the key can make: HMAC-SHA256 (RFC 2104, FIPS 198-1).

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use subtle::ConstantTimeEq;

use crate::sealing::SealingKey;

/// A key that tags. It has no `Debug`.
#[derive(Clone)]
pub struct MacKey(Key);

impl MacKey {
    /// The key with the bytes of `derived`: derive one for this purpose alone
    /// ([`SealingKey::derive`]), so that no key both seals and makes tags.
    pub fn new(derived: &SealingKey) -> Self {
        Self(Key::new(HMAC_SHA256, derived.expose()))
    }

    /// The tag of the concatenated `parts`, 32 bytes. The caller sees to it that parts of varying
    /// length cannot run into each other.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// Whether `half` is the first half of the tag of `parts`; takes the same time wherever they
    /// differ.
    pub fn verify_half(&self, parts: &[&[u8]], half: &[u8]) -> bool {
        self.tag(parts)[..16].ct_eq(half).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_hmac_of_the_whole() {
        // HMAC-SHA256 under the RFC 4231 key of case 1, which HMAC pads with zeros to a block.
        let mut key = [0; 32];
        key[..20].copy_from_slice(&[0x0b; 20]);
        let key = MacKey::new(&SealingKey::from_bytes(key));
        let tag = key.tag(&[b"Hi ", b"There"]);
        assert_eq!(
            hex::encode(tag),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert!(key.verify_half(&[b"Hi There"], &tag[..16]));
        for wrong in [&tag[..15], &tag[..17], &tag[16..], &[]] {
            assert!(!key.verify_half(&[b"Hi There"], wrong));
        }
    }
}
