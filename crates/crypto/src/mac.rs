//! Tags that only who has the key can make: HMAC-SHA256 (RFC 2104, FIPS 198-1).
//!
//! What is tagged is `domain ‖ 0 ‖ message`: a tag for one purpose is none for another.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::sealing::SealingKey;

/// A key that tags: 32 bytes. Wiped when dropped; it has no `Debug`.
#[derive(Clone)]
pub struct MacKey(Zeroizing<[u8; 32]>);

impl MacKey {
    /// The key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key for one purpose, derived from `root`.
    pub fn derived(root: &SealingKey, label: &str) -> Self {
        Self::from_bytes(*root.derive(label, b"mac").expose())
    }

    /// The tag of `message` for the purpose `domain`, 32 bytes.
    pub fn tag(&self, domain: &str, message: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(HMAC_SHA256, self.0.as_ref());
        let mut context = hmac::Context::with_key(&key);
        context.update(domain.as_bytes());
        context.update(&[0]);
        context.update(message);
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// Whether `tag` is the tag of `message`; takes the same time wherever they differ.
    pub fn verify(&self, domain: &str, message: &[u8], tag: &[u8]) -> bool {
        self.tag(domain, message).ct_eq(tag).into()
    }

    /// As [`MacKey::verify`], of a tag that was cut to its first 16 bytes.
    pub fn verify_half(&self, domain: &str, message: &[u8], tag: &[u8]) -> bool {
        self.tag(domain, message)[..16].ct_eq(tag).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_holds_for_its_key_purpose_and_message_only() {
        let key = MacKey::from_bytes([1; 32]);
        let tag = key.tag("a", b"message");
        assert!(key.verify("a", b"message", &tag));
        assert!(key.verify_half("a", b"message", &tag[..16]));
        assert!(!key.verify_half("a", b"message", &tag));
        assert!(!key.verify_half("a", b"message", &tag[..15]));
        assert!(!key.verify("a", b"message", &tag[..16]));
        assert!(!key.verify("b", b"message", &tag));
        assert!(!key.verify("a", b"massage", &tag));
        assert!(!MacKey::from_bytes([2; 32]).verify("a", b"message", &tag));
    }

    /// RFC 4231, test case 1, with its 20-byte key padded to 32 as HMAC does: the domain and its
    /// zero are the first bytes of the message.
    #[test]
    fn it_is_hmac_sha256() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let with_domain = MacKey::from_bytes(key).tag("Hi", b"There");
        let plain = hmac::sign(&hmac::Key::new(HMAC_SHA256, &[0x0b; 20]), b"Hi\0There");
        assert_eq!(with_domain, plain.as_ref());
        let known = hmac::sign(&hmac::Key::new(HMAC_SHA256, &[0x0b; 20]), b"Hi There");
        assert_eq!(
            hex::encode(known.as_ref()),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }
}
