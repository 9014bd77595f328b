//! Who may do something with a session: holders of keys.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::Digest;
use mse_crypto::signing::VerifyingKey;

use crate::base58;

/// The hash of a TLS client's public key: SHA-256 over its SubjectPublicKeyInfo, DER.
///
/// Not of the certificate: whoever renews it with the same key stays who they are. Written as 64
/// hex digits, or in the 50 characters (Base58Check, version 1) that SCONE's tools show; over
/// which encoding of the key *they* hash is not published, so such a hash from there is accepted
/// but need not be the one of the same key here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    const VERSION: u8 = 0x01;

    /// Of a SubjectPublicKeyInfo, DER.
    pub fn of_spki(spki: &[u8]) -> Self {
        Self(Digest::of(spki).0)
    }

    /// Of the key in a certificate, DER.
    pub fn of_certificate(der: &[u8]) -> Result<Self, InvalidIdentity> {
        match x509_parser::parse_x509_certificate(der) {
            Ok(([], certificate)) => Ok(Self::of_spki(certificate.public_key().raw)),
            _ => Err(InvalidIdentity::Certificate),
        }
    }

    /// Of the key in a certificate, PEM.
    pub fn of_certificate_pem(pem: &str) -> Result<Self, InvalidIdentity> {
        let body = pem
            .trim()
            .strip_prefix("-----BEGIN CERTIFICATE-----")
            .and_then(|rest| rest.strip_suffix("-----END CERTIFICATE-----"))
            .ok_or(InvalidIdentity::Certificate)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64
            .decode(body)
            .map_err(|_| InvalidIdentity::Certificate)?;
        Self::of_certificate(&der)
    }

    /// The 50 characters of Base58Check.
    pub fn to_base58(self) -> String {
        base58::encode(Self::VERSION, &self.0)
    }
}

impl FromStr for KeyHash {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(digest) = text.parse::<Digest>() {
            return Ok(Self(digest.0));
        }
        base58::decode(Self::VERSION, text)
            .map(Self)
            .ok_or(InvalidIdentity::KeyHash)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Digest(self.0).fmt(f)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// A person or program, by its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// Whoever connects with this key.
    Tls(KeyHash),
    /// Whoever signs sessions with this key.
    Signer(VerifyingKey),
}

impl Identity {
    /// Reads a signer: a SubjectPublicKeyInfo in PEM, or the 50 characters (Base58Check, version
    /// 10) of an Ed25519 key.
    pub fn parse_signer(text: &str) -> Result<VerifyingKey, InvalidIdentity> {
        if let Some(key) = base58::decode(0x0a, text.trim()) {
            let spki = [ED25519_SPKI, &key].concat();
            return VerifyingKey::from_spki(&spki).map_err(|_| InvalidIdentity::Signer);
        }
        VerifyingKey::from_pem(text).map_err(|_| InvalidIdentity::Signer)
    }
}

/// RFC 8410: what stands before the 32 bytes of an Ed25519 key.
const ED25519_SPKI: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a text names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// Not the hash of a key.
    #[error("this is no hash of a key: 64 hex digits or 50 characters of Base58Check")]
    KeyHash,
    /// Not a certificate.
    #[error("this is not one X.509 certificate in PEM")]
    Certificate,
    /// Not a signer.
    #[error(
        "this is no signer: an Ed25519 or P-384 public key in PEM (`PUBLIC KEY`), or the 50 characters of an Ed25519 key"
    )]
    Signer,
}

#[cfg(test)]
mod tests {
    use mse_crypto::signing::{Algorithm, SigningKey};

    use super::*;

    #[test]
    fn a_certificate_stands_for_its_key() {
        let key = rcgen::KeyPair::generate().unwrap();
        let hash = |name: &str| {
            let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            KeyHash::of_certificate_pem(&certificate.pem()).unwrap()
        };
        assert_eq!(hash("a"), hash("b"));
        let hash = hash("a");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash.to_base58().parse(), Ok(hash));
        assert!("x".parse::<KeyHash>().is_err());
        assert!(
            KeyHash::of_certificate_pem(
                "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"
            )
            .is_err()
        );
    }

    #[test]
    fn short_ids_are_keys() {
        let key = SigningKey::generate(Algorithm::Ed25519).public();
        let bytes: [u8; 32] = key.to_spki()[12..].try_into().unwrap();
        let short = base58::encode(0x0a, &bytes);
        assert_eq!(Identity::parse_signer(&short), Ok(key.clone()));
        assert_eq!(Identity::parse_signer(&key.to_pem()), Ok(key));
        assert!(Identity::parse_signer("N").is_err());
    }
}
