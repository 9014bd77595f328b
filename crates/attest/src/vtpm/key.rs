//! Attestation keys: what a TPM signs its quotes with.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, EcdsaVerificationAlgorithm,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use thiserror::Error;
use x509_parser::{
    prelude::{FromDer, SubjectPublicKeyInfo},
    public_key::PublicKey,
};

use super::tpm::{Hash, Signature, SignatureValue};
use crate::digest::sha256;

/// The public half of an attestation key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AttestationKey {
    /// RSA of 2048 to 8192 bits: modulus and exponent, big-endian without leading zeros.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// An uncompressed point on P-256 (65 bytes) or P-384 (97 bytes).
    Ec(Vec<u8>),
}

impl AttestationKey {
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let bits = n.first().map_or(0, |first| {
            8 * n.len() - usize::try_from(first.leading_zeros()).unwrap_or(0)
        });
        if !(2048..=8192).contains(&bits) {
            return Err(KeyError::RsaSize { bits });
        }
        if e.len() > 5 || e.last().is_none_or(|last| last % 2 == 0) || e == [1] {
            return Err(KeyError::RsaExponent);
        }
        Ok(Self::Rsa {
            n: n.to_vec(),
            e: e.to_vec(),
        })
    }

    pub(super) fn p256(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        Self::point::<32>(x, y)
    }

    pub(super) fn p384(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        Self::point::<48>(x, y)
    }

    fn point<const N: usize>(x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let mut point = vec![4];
        for number in [x, y] {
            point.extend(padded::<N>(number).ok_or(KeyError::Point)?);
        }
        Ok(Self::Ec(point))
    }

    /// Reads a SubjectPublicKeyInfo (RFC 5280) in DER.
    pub(super) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::NotSpki)?;
        if !rest.is_empty() {
            return Err(KeyError::NotSpki);
        }
        let key = match spki.parsed().map_err(|_| KeyError::NotSpki)? {
            PublicKey::RSA(key) => Self::rsa(key.modulus, key.exponent)?,
            PublicKey::EC(point) => Self::Ec(point.data().to_vec()),
            _ => return Err(KeyError::NotSpki),
        };
        // One encoding for one key: the fingerprint is taken over it.
        if key.to_spki() != der {
            return Err(KeyError::NotSpki);
        }
        Ok(key)
    }

    /// The key as a SubjectPublicKeyInfo, DER.
    pub(super) fn to_spki(&self) -> Vec<u8> {
        match self {
            Self::Rsa { n, e } => {
                let numbers = element(SEQUENCE, &[integer(n), integer(e)].concat());
                let bits = element(BIT_STRING, &[vec![0], numbers].concat());
                element(SEQUENCE, &[RSA_ENCRYPTION.to_vec(), bits].concat())
            }
            Self::Ec(point) => {
                let algorithm = if point.len() == P384_POINT {
                    EC_P384
                } else {
                    EC_P256
                };
                let bits = element(BIT_STRING, &[&[0], point.as_slice()].concat());
                element(SEQUENCE, &[algorithm.to_vec(), bits].concat())
            }
        }
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        sha256(&[&self.to_spki()])
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Rsa { n, .. } => format!("RSA-{} key", 8 * n.len()),
            Self::Ec(point) if point.len() == P384_POINT => "P-384 key".to_owned(),
            Self::Ec(_) => "P-256 key".to_owned(),
        }
    }

    /// Whether `signature` is one of this key over `message`, in a scheme that fits the key.
    pub(super) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        match (self, &signature.value) {
            (Self::Rsa { n, e }, SignatureValue::RsaSsa(bytes)) => {
                let parameters = match signature.hash {
                    Hash::Sha1 => return false,
                    Hash::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                    Hash::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
                    Hash::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                };
                verifies_rsa(n, e, parameters, message, bytes)
            }
            // The salt must be as long as the hash, as FIPS 186 has it.
            (Self::Rsa { n, e }, SignatureValue::RsaPss(bytes)) => {
                let parameters = match signature.hash {
                    Hash::Sha1 => return false,
                    Hash::Sha256 => &RSA_PSS_2048_8192_SHA256,
                    Hash::Sha384 => &RSA_PSS_2048_8192_SHA384,
                    Hash::Sha512 => &RSA_PSS_2048_8192_SHA512,
                };
                verifies_rsa(n, e, parameters, message, bytes)
            }
            (Self::Ec(point), SignatureValue::Ecdsa { r, s }) => {
                match (point.len(), signature.hash) {
                    (P256_POINT, Hash::Sha256) => {
                        verifies_ecdsa::<32>(point, &ECDSA_P256_SHA256_FIXED, message, r, s)
                    }
                    (P384_POINT, Hash::Sha384) => {
                        verifies_ecdsa::<48>(point, &ECDSA_P384_SHA384_FIXED, message, r, s)
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

/// Why a public key cannot be an attestation key.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Too short to be safe, or longer than anything in use.
    #[error("the RSA modulus has `{bits}` bits, not 2048 to 8192")]
    RsaSize {
        /// The size found, in bits.
        bits: usize,
    },
    /// Even, one, or longer than five bytes.
    #[error("the RSA exponent is not an odd number from 3 up to 40 bits")]
    RsaExponent,
    /// Coordinates longer than the curve's.
    #[error("the coordinates are not those of a point on the curve")]
    Point,
    /// Not the DER of a public key.
    #[error("it is not the DER of an RSA, P-256 or P-384 SubjectPublicKeyInfo")]
    NotSpki,
}

fn verifies_rsa(
    n: &[u8],
    e: &[u8],
    parameters: &'static RsaParameters,
    message: &[u8],
    signature: &[u8],
) -> bool {
    RsaPublicKeyComponents { n, e }
        .verify(parameters, message, signature)
        .is_ok()
}

fn verifies_ecdsa<const N: usize>(
    point: &[u8],
    algorithm: &'static EcdsaVerificationAlgorithm,
    message: &[u8],
    r: &[u8],
    s: &[u8],
) -> bool {
    let (Some(r), Some(s)) = (padded::<N>(r), padded::<N>(s)) else {
        return false;
    };
    UnparsedPublicKey::new(algorithm, point)
        .verify(message, &[r, s].concat())
        .is_ok()
}

/// A number as exactly `N` bytes, big-endian.
fn padded<const N: usize>(number: &[u8]) -> Option<[u8; N]> {
    let number = without_leading_zeros(number);
    let mut padded = [0; N];
    let at = N.checked_sub(number.len())?;
    padded[at..].copy_from_slice(number);
    Some(padded)
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

fn integer(number: &[u8]) -> Vec<u8> {
    // DER integers are signed: a set first bit would make the number negative.
    let sign: &[u8] = if number.first().is_some_and(|first| first & 0x80 != 0) {
        &[0]
    } else {
        &[]
    };
    element(INTEGER, &[sign, number].concat())
}

/// Keys of up to 8192 bits: no content is longer than 65535 bytes.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [_, _, high, low] = u32::try_from(content.len()).unwrap_or(0).to_be_bytes();
    let mut element = vec![tag];
    match (high, low) {
        (0, 0..=0x7f) => element.push(low),
        (0, _) => element.extend([0x81, low]),
        _ => element.extend([0x82, high, low]),
    }
    element.extend(content);
    element
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
const P256_POINT: usize = 65;
const P384_POINT: usize = 97;

/// AlgorithmIdentifier of rsaEncryption (1.2.840.113549.1.1.1) with NULL.
const RSA_ENCRYPTION: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// AlgorithmIdentifier of id-ecPublicKey on secp256r1.
const EC_P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// AlgorithmIdentifier of id-ecPublicKey on secp384r1.
const EC_P384: &[u8] = &[
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
    0x00, 0x22,
];
