//! Keys of several algorithms.

use std::{fmt, sync::Arc};

use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use crate::{
    der::{bits, element, oid, sequence},
    platform::PlatformError,
};

/// The algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256 with SHA-256: the one that is expected.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// RSA-2048, PKCS#1 v1.5 with SHA-256.
    Rsa,
}

/// A private key.
#[derive(Clone)]
pub struct Key {
    kind: KeyKind,
    pair: Arc<KeyPair>,
}

impl Key {
    /// A new key.
    pub fn generate(kind: KeyKind) -> Result<Self, PlatformError> {
        let algorithm = match kind {
            KeyKind::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyKind::Rsa => &rcgen::PKCS_RSA_SHA256,
        };
        Ok(Self {
            kind,
            pair: Arc::new(KeyPair::generate_for(algorithm)?),
        })
    }

    /// The public key's bits: for EC an uncompressed point.
    pub fn public(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    /// Signs as certificates have it: DER for ECDSA.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PlatformError> {
        Ok(self.pair.sign(message)?)
    }

    /// Signs as quotes and documents have it: `r ‖ s` for ECDSA, 32 or 48 bytes each.
    pub fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>, PlatformError> {
        let der = self.sign(message)?;
        let half = match self.kind {
            KeyKind::EcdsaP256 => 32,
            KeyKind::EcdsaP384 => 48,
            KeyKind::Rsa => return Ok(der),
        };
        // `30 len 02 len r 02 len s`, and all lengths are below 128.
        let mut fixed = Vec::with_capacity(2 * half);
        let mut rest = der.get(2..).unwrap_or_default();
        while let [0x02, length, tail @ ..] = rest {
            let (number, tail) = tail
                .split_at_checked(usize::from(*length))
                .ok_or(PlatformError::Crypto)?;
            let number = number.strip_prefix(&[0]).unwrap_or(number);
            fixed.resize(fixed.len() + half.saturating_sub(number.len()), 0);
            fixed.extend(number);
            rest = tail;
        }
        if fixed.len() == 2 * half {
            Ok(fixed)
        } else {
            Err(PlatformError::Crypto)
        }
    }

    /// DER of the SubjectPublicKeyInfo.
    pub(super) fn spki(&self) -> Vec<u8> {
        let algorithm = match self.kind {
            KeyKind::EcdsaP256 => sequence([oid(EC_PUBLIC_KEY), oid(P256)]),
            KeyKind::EcdsaP384 => sequence([oid(EC_PUBLIC_KEY), oid(P384)]),
            KeyKind::Rsa => sequence([oid(RSA), element(0x05, &[])]),
        };
        sequence([algorithm, bits(self.public())])
    }

    /// DER of the AlgorithmIdentifier of what [`Key::sign`] makes.
    pub fn signature_algorithm(&self) -> Vec<u8> {
        match self.kind {
            KeyKind::EcdsaP256 => sequence([oid(ECDSA_SHA256)]),
            KeyKind::EcdsaP384 => sequence([oid(ECDSA_SHA384)]),
            KeyKind::Rsa => sequence([oid(RSA_SHA256), element(0x05, &[])]),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
