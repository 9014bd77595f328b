//! Sealing to an enclave's attested key: HPKE (RFC 9180) in base mode, and in auth mode where it counts
//! who sealed, with
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305.
//!
//! What is sealed is bound to `info` (what the message is for) and `aad` (which exchange it
//! belongs to); it opens only with both equal.

use std::fmt;

use ::hpke::aead::ChaCha20Poly1305;
use ::hpke::kdf::HkdfSha256;
use ::hpke::kem::{Kem, X25519HkdfSha256};
use ::hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

type Suite = X25519HkdfSha256;

/// Bytes that sealing adds: the encapsulated key (32) and the tag (16).
pub const OVERHEAD: usize = 48;

/// An X25519 public key: 32 bytes, as in RFC 7748.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.0))
    }
}

/// An X25519 key pair, made where it is used; the private half never leaves this type.
pub struct KeyPair {
    private: <Suite as Kem>::PrivateKey,
    public: PublicKey,
}

impl KeyPair {
    /// A fresh pair.
    pub fn generate() -> Self {
        let (private, public) = Suite::gen_keypair();
        Self {
            private,
            public: PublicKey(public.to_bytes().into()),
        }
    }

    /// The pair of a secret seed: the same seed, the same pair (RFC 9180 §7.1.3,
    /// `DeriveKeyPair`).
    pub fn derive(seed: &[u8; 32]) -> Self {
        let (private, public) = Suite::derive_keypair(seed);
        Self {
            private,
            public: PublicKey(public.to_bytes().into()),
        }
    }

    /// The half to show.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Opens what [`seal`] made for this pair with the same `info` and `aad`.
    pub fn open(
        &self,
        info: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        self.open_in(&OpModeR::Base, info, aad, sealed)
    }

    /// Seals as [`seal`] does, and so that the recipient knows who did (auth mode).
    pub fn seal_as(
        &self,
        recipient: &PublicKey,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, HpkeError> {
        let own = <Suite as Kem>::PublicKey::from_bytes(&self.public.0)
            .map_err(|_| HpkeError::BadPublicKey)?;
        let mode = OpModeS::Auth((self.private.clone(), own));
        seal_in(&mode, recipient, info, aad, plaintext)
    }

    /// Opens what the holder of the key `sender` made with [`KeyPair::seal_as`], and nobody else.
    pub fn open_from(
        &self,
        sender: &PublicKey,
        info: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        let sender = <Suite as Kem>::PublicKey::from_bytes(&sender.0)
            .map_err(|_| HpkeError::BadPublicKey)?;
        self.open_in(&OpModeR::Auth(sender), info, aad, sealed)
    }

    fn open_in(
        &self,
        mode: &OpModeR<'_, Suite>,
        info: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        let (encapsulated, ciphertext) = sealed.split_at_checked(32).ok_or(HpkeError::TooShort)?;
        let encapsulated = <Suite as Kem>::EncappedKey::from_bytes(encapsulated)
            .map_err(|_| HpkeError::DoesNotOpen)?;
        ::hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Suite>(
            mode,
            &self.private,
            &encapsulated,
            info,
            ciphertext,
            aad,
        )
        .map(Zeroizing::new)
        .map_err(|_| HpkeError::DoesNotOpen)
    }
}

/// Seals `plaintext` to `recipient`: `encapsulated key (32) ‖ ciphertext ‖ tag (16)`.
pub fn seal(
    recipient: &PublicKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, HpkeError> {
    seal_in(&OpModeS::Base, recipient, info, aad, plaintext)
}

fn seal_in(
    mode: &OpModeS<'_, Suite>,
    recipient: &PublicKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, HpkeError> {
    let recipient =
        <Suite as Kem>::PublicKey::from_bytes(&recipient.0).map_err(|_| HpkeError::BadPublicKey)?;
    let (encapsulated, ciphertext) =
        ::hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Suite>(
            mode, &recipient, info, plaintext, aad,
        )
        .map_err(|_| HpkeError::BadPublicKey)?;
    let mut sealed = encapsulated.to_bytes().to_vec();
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HpkeError {
    /// Shorter than an encapsulated key.
    #[error("the sealed message is shorter than its 32-byte encapsulated key")]
    TooShort,
    /// The recipient's key is not a usable X25519 point.
    #[error("the recipient's X25519 key is not usable")]
    BadPublicKey,
    /// Another key, another purpose, another exchange, or changed bytes.
    #[error(
        "the sealed message does not open: it was sealed to another key, for another exchange, or changed"
    )]
    DoesNotOpen,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_key_info_and_aad() {
        let pair = KeyPair::generate();
        let sealed = seal(&pair.public(), b"info", b"aad", b"secret").unwrap();
        assert_eq!(sealed.len(), b"secret".len() + OVERHEAD);
        assert_eq!(&*pair.open(b"info", b"aad", &sealed).unwrap(), b"secret");
        for (info, aad) in [(&b"other"[..], &b"aad"[..]), (b"info", b"other")] {
            assert_eq!(
                pair.open(info, aad, &sealed).unwrap_err(),
                HpkeError::DoesNotOpen
            );
        }
        let other = KeyPair::generate();
        assert!(other.open(b"info", b"aad", &sealed).is_err());
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(
                pair.open(b"info", b"aad", &changed).is_err(),
                "byte {index}"
            );
        }
        assert_eq!(
            pair.open_from(&pair.public(), b"", b"", &[0; 31])
                .unwrap_err(),
            HpkeError::TooShort
        );
        assert_eq!(
            pair.open(b"", b"", &[0; 31]).unwrap_err(),
            HpkeError::TooShort
        );
    }

    #[test]
    fn what_somebody_sealed_opens_as_theirs_only() {
        let (alice, bob, eve) = (
            KeyPair::generate(),
            KeyPair::generate(),
            KeyPair::generate(),
        );
        let sealed = alice.seal_as(&bob.public(), b"i", b"a", b"secret").unwrap();
        let opened = bob.open_from(&alice.public(), b"i", b"a", &sealed);
        assert_eq!(&*opened.unwrap(), b"secret");
        for (who, info, aad) in [
            (&eve, &b"i"[..], &b"a"[..]),
            (&bob, b"i", b"a"),
            (&alice, b"j", b"a"),
            (&alice, b"i", b"b"),
        ] {
            let refused = bob.open_from(&who.public(), info, aad, &sealed);
            assert_eq!(refused.unwrap_err(), HpkeError::DoesNotOpen);
        }
        // Without a sender it is nothing, and who has no key can pretend nothing.
        assert!(bob.open(b"i", b"a", &sealed).is_err());
        let anonymous = seal(&bob.public(), b"i", b"a", b"secret").unwrap();
        assert!(
            bob.open_from(&alice.public(), b"i", b"a", &anonymous)
                .is_err()
        );
    }
}
