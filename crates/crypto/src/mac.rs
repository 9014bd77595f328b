//! HMAC-SHA256 (RFC 2104, FIPS 198-1): names for things that say nothing to who has not the key.

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};

use crate::sealing::SealingKey;

/// A key that makes tags of 32 bytes. It has no `Debug`.
pub struct MacKey(Key);

impl MacKey {
    /// The key with the bytes of `derived`: derive one for this purpose alone
    /// ([`SealingKey::derive`]), so that no key both seals and makes tags.
    pub fn new(derived: &SealingKey) -> Self {
        Self(Key::new(HMAC_SHA256, derived.expose()))
    }

    /// The tag of the concatenated `parts`. The caller sees to it that parts of varying length
    /// cannot run into each other.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
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
        assert_eq!(
            hex::encode(key.tag(&[b"Hi ", b"There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }
}
