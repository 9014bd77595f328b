//! Signatures of people and services: Ed25519 (RFC 8032) and ECDSA on P-384 with SHA-384.
//!
//! Nothing is signed but `domain ‖ 0 ‖ message`: a signature for one purpose is none for another.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use crate::pem;

/// The algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Ed25519: keys of 32 bytes, signatures of 64.
    Ed25519,
    /// P-384: keys of 97 bytes (an uncompressed point), signatures of 96 (`r ‖ s`).
    P384,
}

/// A public key that verifies signatures.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

/// A private key that signs. Wiped when dropped; it has no `Debug`.
pub struct SigningKey {
    pair: Pair,
    /// DER, to be written where the caller says.
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P384(EcdsaKeyPair),
}

impl SigningKey {
    /// A fresh key.
    pub fn generate(algorithm: Algorithm) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = match algorithm {
            Algorithm::Ed25519 => {
                Ed25519KeyPair::generate_pkcs8v1(&random).map(|document| document.as_ref().to_vec())
            }
            Algorithm::P384 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random)
                    .map(|document| document.as_ref().to_vec())
            }
        }
        .expect("the operating system gives random bytes");
        Self::from_pkcs8_der(&pkcs8).expect("it was just made")
    }

    /// The Ed25519 key of a secret seed (RFC 8032 §5.1.5).
    pub fn ed25519_of_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed has 32 bytes");
        let pkcs8 = pair
            .to_pkcs8v1()
            .map(|document| document.as_ref().to_vec())
            .expect("a key pair can be written");
        Self {
            pair: Pair::Ed25519(pair),
            pkcs8: Zeroizing::new(pkcs8),
        }
    }

    /// Reads PKCS#8, PEM (`PRIVATE KEY`).
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        let der = pem_block(pem, "PRIVATE KEY")?;
        Self::from_pkcs8_der(&der)
    }

    /// Reads PKCS#8, DER.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, InvalidKey> {
        let pair = if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Pair::Ed25519(pair)
        } else {
            Pair::P384(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der)
                    .map_err(|_| InvalidKey::Private)?,
            )
        };
        Ok(Self {
            pair,
            pkcs8: Zeroizing::new(der.to_vec()),
        })
    }

    /// PKCS#8, PEM.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode(&self.pkcs8, "PRIVATE KEY")
    }

    /// The half to show.
    pub fn public(&self) -> VerifyingKey {
        match &self.pair {
            Pair::Ed25519(pair) => VerifyingKey {
                algorithm: Algorithm::Ed25519,
                bytes: pair.public_key().as_ref().to_vec(),
            },
            Pair::P384(pair) => VerifyingKey {
                algorithm: Algorithm::P384,
                bytes: pair.public_key().as_ref().to_vec(),
            },
        }
    }

    /// Signs `message` for the purpose `domain`.
    pub fn sign(&self, domain: &str, message: &[u8]) -> Vec<u8> {
        let message = with_domain(domain, message);
        match &self.pair {
            Pair::Ed25519(pair) => pair.sign(&message).as_ref().to_vec(),
            Pair::P384(pair) => pair
                .sign(&SystemRandom::new(), &message)
                .expect("the operating system gives random bytes")
                .as_ref()
                .to_vec(),
        }
    }
}

impl VerifyingKey {
    /// Reads a SubjectPublicKeyInfo, PEM (`PUBLIC KEY`).
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        Self::from_spki(&pem_block(pem, "PUBLIC KEY")?)
    }

    /// Reads a SubjectPublicKeyInfo, DER.
    pub fn from_spki(der: &[u8]) -> Result<Self, InvalidKey> {
        for (algorithm, prefix, length) in [
            (Algorithm::Ed25519, ED25519_SPKI, 32),
            (Algorithm::P384, P384_SPKI, 97),
        ] {
            if let Some(bytes) = der.strip_prefix(prefix)
                && bytes.len() == length
                && (algorithm == Algorithm::Ed25519 || bytes[0] == 4)
            {
                return Ok(Self {
                    algorithm,
                    bytes: bytes.to_vec(),
                });
            }
        }
        Err(InvalidKey::Public)
    }

    /// Reads the key's own bytes: 32 (Ed25519), or an uncompressed point of 97 (P-384).
    pub fn from_raw(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, InvalidKey> {
        let prefix = match algorithm {
            Algorithm::Ed25519 => ED25519_SPKI,
            Algorithm::P384 => P384_SPKI,
        };
        Self::from_spki(&[prefix, bytes].concat())
    }

    /// The SubjectPublicKeyInfo, DER.
    pub fn to_spki(&self) -> Vec<u8> {
        let prefix = match self.algorithm {
            Algorithm::Ed25519 => ED25519_SPKI,
            Algorithm::P384 => P384_SPKI,
        };
        [prefix, &self.bytes].concat()
    }

    /// The SubjectPublicKeyInfo, PEM.
    pub fn to_pem(&self) -> String {
        String::clone(&pem::encode(&self.to_spki(), "PUBLIC KEY"))
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Checks a signature that [`SigningKey::sign`] made for the same purpose.
    pub fn verify(
        &self,
        domain: &str,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let message = with_domain(domain, message);
        match self.algorithm {
            Algorithm::Ed25519 => {
                UnparsedPublicKey::new(&ED25519, &self.bytes).verify(&message, signature)
            }
            Algorithm::P384 => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &self.bytes)
                .verify(&message, signature),
        }
        .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.algorithm, hex::encode(&self.bytes))
    }
}

/// RFC 8410: `id-Ed25519`.
const ED25519_SPKI: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// RFC 5480: `id-ecPublicKey` with `secp384r1`.
const P384_SPKI: &[u8] = &[
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00,
];

fn with_domain(domain: &str, message: &[u8]) -> Vec<u8> {
    [domain.as_bytes(), &[0], message].concat()
}

fn pem_block(pem: &str, label: &str) -> Result<Zeroizing<Vec<u8>>, InvalidKey> {
    pem::decode(pem, label).map_err(|_| InvalidKey::Pem(label.to_owned()))
}

/// Why something is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not PEM with the label that it needs.
    #[error("this is not PEM with the label `{0}`")]
    Pem(String),
    /// Not PKCS#8 of an Ed25519 or P-384 key.
    #[error("this is not PKCS#8 of an Ed25519 or P-384 private key")]
    Private,
    /// Not a SubjectPublicKeyInfo of an Ed25519 or P-384 key.
    #[error("this is not the public key (SPKI) of an Ed25519 or P-384 key")]
    Public,
}

/// Another key, another purpose, or another message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not one of this key over this message")]
pub struct BadSignature;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_purpose_and_message_only() {
        for algorithm in [Algorithm::Ed25519, Algorithm::P384] {
            let key = SigningKey::generate(algorithm);
            let other = SigningKey::generate(algorithm);
            let signature = key.sign("mse-test-v1", b"message");
            let public = key.public();
            assert_eq!(public.verify("mse-test-v1", b"message", &signature), Ok(()));
            for (who, domain, message) in [
                (&public, "mse-test-v2", &b"message"[..]),
                (&public, "mse-test-v1", b"massage"),
                (&other.public(), "mse-test-v1", b"message"),
            ] {
                assert_eq!(who.verify(domain, message, &signature), Err(BadSignature));
            }
        }
    }

    #[test]
    fn keys_are_read_back_from_pem() {
        for algorithm in [Algorithm::Ed25519, Algorithm::P384] {
            let key = SigningKey::generate(algorithm);
            let again = SigningKey::from_pem(&key.to_pem()).unwrap();
            assert_eq!(again.public(), key.public());
            let public = VerifyingKey::from_pem(&key.public().to_pem()).unwrap();
            assert_eq!(public, key.public());
            assert_eq!(public.algorithm(), algorithm);
            assert!(SigningKey::from_pem(&public.to_pem()).is_err());
            assert!(VerifyingKey::from_pem(&key.to_pem()).is_err());
        }
    }
}
