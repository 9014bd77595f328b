//! Private and public keys of services: their types, PKCS#8 (RFC 5958) and
//! SubjectPublicKeyInfo (RFC 5280).

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, VerificationAlgorithm,
};
use mse_crypto::{Zeroizing, pem};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as ParsedKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::KeyType;

/// A private key. Wiped when dropped; it has no `Debug`.
#[derive(Clone)]
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    spki: Vec<u8>,
}

/// What a key is for and how strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA or ECDH on NIST P-256.
    P256,
    /// ECDSA or ECDH on NIST P-384.
    P384,
    /// Ed25519.
    Ed25519,
    /// RSA, with a modulus of 2048 to 8192 bits.
    Rsa,
}

impl PrivateKey {
    /// A fresh key.
    pub fn generate(key_type: KeyType) -> Self {
        let pair = match key_type {
            KeyType::P256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Pair::P256)
            }
            KeyType::P384 => {
                EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Pair::P384)
            }
            KeyType::Ed25519 => Ed25519KeyPair::generate().map(Pair::Ed25519),
            KeyType::Rsa2048 => RsaKeyPair::generate(KeySize::Rsa2048).map(Pair::Rsa),
            KeyType::Rsa3072 => RsaKeyPair::generate(KeySize::Rsa3072).map(Pair::Rsa),
        }
        .expect("the operating system gives random bytes");
        Self::of(&pair)
    }

    /// Reads PKCS#8, PEM (`PRIVATE KEY`), of any [`Algorithm`].
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        Self::from_pkcs8(&pem::decode(text, "PRIVATE KEY").map_err(|_| InvalidKey::Private)?)
    }

    /// Reads PKCS#8, DER.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, InvalidKey> {
        // Written anew: one encoding for each key, whatever program made it.
        Pair::from_pkcs8(der)
            .map(|pair| Self::of(&pair))
            .ok_or(InvalidKey::Private)
    }

    /// PKCS#8, DER.
    pub fn to_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// PKCS#8, PEM.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode(&self.pkcs8, "PRIVATE KEY")
    }

    /// The half to show.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// What certificates are signed with.
    pub(crate) fn certificate_signer(&self) -> CertificateSigner {
        let pair = Pair::from_pkcs8(&self.pkcs8).expect("it was read or made as such");
        CertificateSigner {
            public: pair.public_bytes(),
            pair,
        }
    }

    /// A signature of ES384 (RFC 7518 §3.4): `r ‖ s` over the message as it is.
    pub(crate) fn sign_es384(&self, message: &[u8]) -> Result<Vec<u8>, NotP384> {
        Ok(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &self.pkcs8)
                .map_err(|_| NotP384)?
                .sign(&SystemRandom::new(), message)
                .expect("the operating system gives random bytes")
                .as_ref()
                .to_vec(),
        )
    }

    fn of(pair: &Pair) -> Self {
        const FITS: &str = "a key that was read or made can be written";
        let pkcs8 = match pair {
            Pair::P256(pair) | Pair::P384(pair) => {
                Zeroizing::new(pair.to_pkcs8v1().expect(FITS).as_ref().to_vec())
            }
            // Version 1: OpenSSL before 3.5 does not read version 2.
            Pair::Ed25519(pair) => Zeroizing::new(pair.to_pkcs8v1().expect(FITS).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().expect(FITS);
                Zeroizing::new(der.as_ref().to_vec())
            }
        };
        let spki: PublicKeyX509Der<'_> = match pair {
            Pair::P256(pair) | Pair::P384(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
            Pair::Rsa(pair) => pair.public_key().as_der(),
        }
        .expect(FITS);
        Self {
            pkcs8,
            public: PublicKey {
                algorithm: pair.algorithm(),
                spki: spki.as_ref().to_vec(),
            },
        }
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo, PEM (`PUBLIC KEY`), of any [`Algorithm`].
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        Self::from_spki(&pem::decode(text, "PUBLIC KEY").map_err(|_| InvalidKey::Public)?)
    }

    /// Reads a SubjectPublicKeyInfo, DER.
    pub fn from_spki(der: &[u8]) -> Result<Self, InvalidKey> {
        let (rest, info) = SubjectPublicKeyInfo::from_der(der).map_err(|_| InvalidKey::Public)?;
        if !rest.is_empty() {
            return Err(InvalidKey::Public);
        }
        let oid = info.algorithm.algorithm.to_id_string();
        let algorithm = match (oid.as_str(), info.parsed()) {
            ("1.2.840.10045.2.1", Ok(ParsedKey::EC(point))) if point.key_size() == 256 => {
                Algorithm::P256
            }
            ("1.2.840.10045.2.1", Ok(ParsedKey::EC(point))) if point.key_size() == 384 => {
                Algorithm::P384
            }
            ("1.3.101.112", _) => Algorithm::Ed25519,
            ("1.2.840.113549.1.1.1", Ok(ParsedKey::RSA(key)))
                if (2048..=8192).contains(&key.key_size()) =>
            {
                Algorithm::Rsa
            }
            _ => return Err(InvalidKey::Public),
        };
        // Points that are on no curve, other curves of the same size.
        ParsedPublicKey::new(algorithm.verification(), der).map_err(|_| InvalidKey::Public)?;
        Ok(Self {
            algorithm,
            spki: der.to_vec(),
        })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn to_spki(&self) -> &[u8] {
        &self.spki
    }

    /// SubjectPublicKeyInfo, PEM.
    pub fn to_pem(&self) -> String {
        String::clone(&pem::encode(&self.spki, "PUBLIC KEY"))
    }
}

impl Algorithm {
    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_ASN1,
            Self::P384 => &ECDSA_P384_SHA384_ASN1,
            Self::Ed25519 => &ED25519,
            Self::Rsa => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

/// A key as rcgen wants it.
pub(crate) struct CertificateSigner {
    pair: Pair,
    public: Vec<u8>,
}

impl rcgen::PublicKeyData for CertificateSigner {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.pair {
            Pair::P256(_) => &rcgen::PKCS_ECDSA_P256_SHA256,
            Pair::P384(_) => &rcgen::PKCS_ECDSA_P384_SHA384,
            Pair::Ed25519(_) => &rcgen::PKCS_ED25519,
            Pair::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl rcgen::SigningKey for CertificateSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::P256(pair) | Pair::P384(pair) => pair
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .map(|()| signature)
            }
        }
        .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Pair {
    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::from_pkcs8(algorithm, der).ok()
        };
        None.or_else(|| ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self::P256))
            .or_else(|| ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Self::P384))
            .or_else(|| Ed25519KeyPair::from_pkcs8(der).ok().map(Self::Ed25519))
            .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Self::Rsa))
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::P256(_) => Algorithm::P256,
            Self::P384(_) => Algorithm::P384,
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::Rsa(_) => Algorithm::Rsa,
        }
    }

    /// The content of the BIT STRING in the SubjectPublicKeyInfo.
    fn public_bytes(&self) -> Vec<u8> {
        match self {
            Self::P256(pair) | Self::P384(pair) => pair.public_key().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Self::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }
}

/// Why something is no key. Says nothing of what was given: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// No private key.
    #[error(
        "this is not one private key in PKCS#8 (PEM label `PRIVATE KEY`, not encrypted) of the type P-256, P-384, Ed25519 or RSA of 2048 to 8192 bits; `openssl pkcs8 -topk8 -nocrypt` converts"
    )]
    Private,
    /// No public key.
    #[error(
        "this is not one public key (SubjectPublicKeyInfo, PEM label `PUBLIC KEY`) of the type P-256, P-384, Ed25519 or RSA of 2048 to 8192 bits; `openssl pkey -pubout` writes one"
    )]
    Public,
}

/// A key of another type where ES384 needs P-384.
pub(crate) struct NotP384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_back_with_its_public_half() {
        for key_type in KeyType::ALL {
            let key = PrivateKey::generate(key_type);
            let again = PrivateKey::from_pem(&key.to_pem()).unwrap();
            assert_eq!(again.to_pkcs8(), key.to_pkcs8(), "{key_type:?}");
            let public = PublicKey::from_pem(&key.public().to_pem()).unwrap();
            assert_eq!(&public, key.public(), "{key_type:?}");
            assert!(PrivateKey::from_pem(&public.to_pem()).is_err());
            assert!(PublicKey::from_pem(&key.to_pem()).is_err());
            let mut longer = public.to_spki().to_vec();
            longer.push(0);
            assert_eq!(PublicKey::from_spki(&longer), Err(InvalidKey::Public));
        }
    }

    #[test]
    fn a_point_off_the_curve_is_no_key() {
        let mut spki = PrivateKey::generate(KeyType::P256)
            .public()
            .to_spki()
            .to_vec();
        *spki.last_mut().unwrap() ^= 1;
        assert_eq!(PublicKey::from_spki(&spki), Err(InvalidKey::Public));
    }

    #[test]
    fn only_p384_signs_es384() {
        assert!(
            PrivateKey::generate(KeyType::P256)
                .sign_es384(b"m")
                .is_err()
        );
        let signature = PrivateKey::generate(KeyType::P384).sign_es384(b"m");
        assert_eq!(signature.ok().map(|signature| signature.len()), Some(96));
    }
}
