//! ECDSA on P-256 with SHA-256, signatures in ASN.1: for signatures whose format others fixed.
//!
//! Nothing is put in front of what is signed. Signatures of our own formats are those of
//! [`crate::signing`].

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use zeroize::Zeroizing;

use crate::pem;
use crate::signing::BadSignature;

/// RFC 5480: `id-ecPublicKey` with `prime256v1`.
const SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point.
const POINT: usize = 65;

/// A private key. Wiped when dropped; it has no `Debug`.
pub struct P256SigningKey {
    pair: EcdsaKeyPair,
    /// DER, to be written where the caller says.
    pkcs8: Zeroizing<Vec<u8>>,
}

/// A public key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct P256VerifyingKey([u8; POINT]);

impl P256SigningKey {
    /// A fresh key.
    pub fn generate() -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
                .expect("the operating system gives random bytes");
        Self::from_der(document.as_ref()).expect("it was just made")
    }

    /// Reads PKCS#8, PEM (`PRIVATE KEY`).
    pub fn from_pem(text: &str) -> Result<Self, InvalidP256Key> {
        let der = pem::decode(text, "PRIVATE KEY").map_err(|_| InvalidP256Key)?;
        Self::from_der(&der)
    }

    /// PKCS#8, PEM.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode(&self.pkcs8, "PRIVATE KEY")
    }

    /// The half to show.
    pub fn public(&self) -> P256VerifyingKey {
        let point = self.pair.public_key().as_ref();
        P256VerifyingKey(point.try_into().expect("points of P-256 have 65 bytes"))
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .expect("the operating system gives random bytes")
            .as_ref()
            .to_vec()
    }

    fn from_der(der: &[u8]) -> Result<Self, InvalidP256Key> {
        Ok(Self {
            pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
                .map_err(|_| InvalidP256Key)?,
            pkcs8: Zeroizing::new(der.to_vec()),
        })
    }
}

impl P256VerifyingKey {
    /// Reads a SubjectPublicKeyInfo, PEM (`PUBLIC KEY`).
    pub fn from_pem(text: &str) -> Result<Self, InvalidP256Key> {
        let der = pem::decode(text, "PUBLIC KEY").map_err(|_| InvalidP256Key)?;
        der.strip_prefix(SPKI)
            .and_then(|point| point.try_into().ok())
            .filter(|point: &[u8; POINT]| point[0] == 4)
            .map(Self)
            .ok_or(InvalidP256Key)
    }

    /// The SubjectPublicKeyInfo, PEM.
    pub fn to_pem(&self) -> String {
        let spki = [SPKI, &self.0].concat();
        String::clone(&pem::encode(&spki, "PUBLIC KEY"))
    }

    /// Checks a signature of [`P256SigningKey::sign`], or of anybody else's in the same form.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0)
            .verify(message, signature)
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for P256VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P256({})", hex::encode(self.0))
    }
}

/// Not PEM of a key on P-256. Nothing of it is repeated: it may be a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the PEM of an ECDSA key on P-256 (`PRIVATE KEY` or `PUBLIC KEY`)")]
pub struct InvalidP256Key;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_and_message_only() {
        let (key, other) = (P256SigningKey::generate(), P256SigningKey::generate());
        let signature = key.sign(b"message");
        assert_eq!(key.public().verify(b"message", &signature), Ok(()));
        assert!(key.public().verify(b"massage", &signature).is_err());
        assert!(other.public().verify(b"message", &signature).is_err());
        assert!(key.public().verify(b"message", b"").is_err());
    }

    #[test]
    fn keys_are_read_back_from_pem() {
        let key = P256SigningKey::generate();
        let again = P256SigningKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(again.public(), key.public());
        let public = P256VerifyingKey::from_pem(&key.public().to_pem()).unwrap();
        assert_eq!(public, key.public());
        assert!(P256SigningKey::from_pem(&public.to_pem()).is_err());
        assert!(P256VerifyingKey::from_pem(&key.to_pem()).is_err());
    }
}
