//! One certificate, read strictly.

use std::collections::HashSet;

use rustls_pki_types::SignatureVerificationAlgorithm;
use x509_parser::{
    der_parser::asn1_rs::Any,
    oid_registry::{self, Oid},
    prelude::{AlgorithmIdentifier, FromDer, ParsedExtension, X509Certificate, X509Version},
    signature_algorithm::RsaSsaPssParams,
};

use super::{X509Error, der};

/// The largest certificate that is read. Genuine ones have less than 3 KiB.
const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// How every certificate of one chain is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// ECDSA on P-256 with SHA-256: Intel.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384: AWS.
    EcdsaP384Sha384,
    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt: AMD.
    RsaPssSha384,
    /// RSASSA-PKCS1-v1_5 with SHA-256: certificates of virtual TPMs.
    RsaPkcs1Sha256,
}

impl Algorithm {
    /// Verifies `signature` (DER for ECDSA) over `message` with `key`, the bits of a
    /// SubjectPublicKeyInfo.
    pub(crate) fn verify(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        self.verifier()
            .verify_signature(key, message, signature)
            .is_ok()
    }

    fn verifier(self) -> &'static dyn SignatureVerificationAlgorithm {
        match self {
            Self::EcdsaP256Sha256 => webpki::aws_lc_rs::ECDSA_P256_SHA256,
            Self::EcdsaP384Sha384 => webpki::aws_lc_rs::ECDSA_P384_SHA384,
            Self::RsaPssSha384 => webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
            Self::RsaPkcs1Sha256 => webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
        }
    }

    /// Whether `found`, the algorithm that a certificate or CRL names, is this one.
    pub(super) fn is_named_by(self, found: &AlgorithmIdentifier<'_>) -> bool {
        let oid = match self {
            Self::EcdsaP256Sha256 => oid_registry::OID_SIG_ECDSA_WITH_SHA256,
            Self::EcdsaP384Sha384 => oid_registry::OID_SIG_ECDSA_WITH_SHA384,
            Self::RsaPssSha384 => oid_registry::OID_PKCS1_RSASSAPSS,
            Self::RsaPkcs1Sha256 => oid_registry::OID_PKCS1_SHA256WITHRSA,
        };
        found.algorithm == oid
            && match self {
                Self::EcdsaP256Sha256 | Self::EcdsaP384Sha384 => found.parameters.is_none(),
                Self::RsaPkcs1Sha256 => found.parameters.as_ref().is_none_or(is_null),
                Self::RsaPssSha384 => found.parameters.as_ref().is_some_and(is_pss_sha384),
            }
    }

    /// Whether `key` is a key for this algorithm.
    fn takes(self, key: &AlgorithmIdentifier<'_>) -> bool {
        let curve = |wanted: Oid<'static>| {
            key.algorithm == oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY
                && key
                    .parameters
                    .as_ref()
                    .is_some_and(|parameters| parameters.as_oid().is_ok_and(|oid| oid == wanted))
        };
        match self {
            Self::EcdsaP256Sha256 => curve(oid_registry::OID_EC_P256),
            Self::EcdsaP384Sha384 => curve(oid_registry::OID_NIST_EC_P384),
            Self::RsaPssSha384 | Self::RsaPkcs1Sha256 => {
                key.algorithm == oid_registry::OID_PKCS1_RSAENCRYPTION
            }
        }
    }
}

fn is_null(parameters: &Any<'_>) -> bool {
    parameters.as_null().is_ok()
}

/// AMD spells out the default trailer field, which strict DER would leave away: both forms mean
/// the same.
fn is_pss_sha384(parameters: &Any<'_>) -> bool {
    RsaSsaPssParams::try_from(parameters).is_ok_and(|pss| {
        *pss.hash_algorithm_oid() == oid_registry::OID_NIST_HASH_SHA384
            && pss
                .mask_gen_algorithm()
                .is_ok_and(|mgf| mgf.hash == oid_registry::OID_NIST_HASH_SHA384)
            && pss.salt_length() == 48
            && pss.trailer_field() == 1
    })
}

/// A certificate whose form was checked. Nothing vouches for it yet.
#[derive(Debug)]
pub(crate) struct Certificate<'a> {
    der: &'a [u8],
    parsed: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads one certificate: version 3, nothing after it, both places that name its signature
    /// algorithm the same, no extension twice (RFC 5280 §4.2).
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, X509Error> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(X509Error::Malformed(format!(
                "a certificate has `{}` bytes, more than {MAX_CERTIFICATE_BYTES}",
                der.len()
            )));
        }
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| {
            X509Error::Malformed(format!("a certificate is not DER of RFC 5280: {error}"))
        })?;
        let malformed = |why: &str| {
            Err(X509Error::Malformed(format!(
                "the certificate of `{}` {why}",
                parsed.subject()
            )))
        };
        if !rest.is_empty() {
            return malformed("is followed by other bytes");
        }
        if der::check_envelope(der).is_err() {
            return malformed("is not DER, or names two signature algorithms");
        }
        if parsed.version() != X509Version::V3 {
            return malformed("is not of version 3");
        }
        let mut seen = HashSet::new();
        for extension in parsed.extensions() {
            if !seen.insert(&extension.oid) {
                return malformed(&format!("has extension `{}` twice", extension.oid));
            }
        }
        Ok(Self { der, parsed })
    }

    pub(crate) fn der(&self) -> &'a [u8] {
        self.der
    }

    pub(crate) fn subject(&self) -> String {
        self.parsed.subject().to_string()
    }

    /// The first common name of the subject.
    pub(crate) fn common_name(&self) -> Option<&str> {
        self.parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
    }

    /// The first common name of the issuer.
    pub(crate) fn issuer_common_name(&self) -> Option<&str> {
        self.parsed
            .issuer()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
    }

    pub(crate) fn raw_subject(&self) -> &[u8] {
        self.parsed.subject().as_raw()
    }

    pub(crate) fn raw_issuer(&self) -> &[u8] {
        self.parsed.issuer().as_raw()
    }

    /// Serial number, big-endian as in the certificate.
    pub(crate) fn serial(&self) -> &[u8] {
        self.parsed.raw_serial()
    }

    /// The bits of the public key: for EC an uncompressed point.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.parsed.public_key().subject_public_key.data
    }

    /// DER of the whole SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> &[u8] {
        self.parsed.public_key().raw
    }

    pub(crate) fn has_key_for(&self, algorithm: Algorithm) -> bool {
        algorithm.takes(&self.parsed.public_key().algorithm)
    }

    pub(crate) fn not_before(&self) -> u64 {
        unix_seconds(self.parsed.validity().not_before.timestamp())
    }

    pub(crate) fn not_after(&self) -> u64 {
        unix_seconds(self.parsed.validity().not_after.timestamp())
    }

    pub(crate) fn is_ca(&self) -> bool {
        self.parsed.is_ca()
    }

    /// Whether its key usage, if it has one, lets it sign CRLs.
    pub(super) fn may_sign_crls(&self) -> bool {
        match self.parsed.key_usage() {
            Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
            Err(_) => false,
        }
    }

    /// The value of the extension `oid`, DER.
    pub(crate) fn extension(&self, oid: &Oid<'_>) -> Option<&'a [u8]> {
        self.parsed
            .extensions()
            .iter()
            .find(|extension| extension.oid == *oid)
            .map(|extension| extension.value)
    }

    pub(super) fn subject_key_id(&self) -> Option<&[u8]> {
        self.parsed
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
                _ => None,
            })
    }

    /// The critical extension that no rule here looks at, if there is one.
    pub(super) fn unknown_critical_extension(&self) -> Option<String> {
        self.parsed
            .extensions()
            .iter()
            .find(|extension| {
                extension.critical
                    && !matches!(
                        extension.parsed_extension(),
                        ParsedExtension::BasicConstraints(_)
                            | ParsedExtension::KeyUsage(_)
                            | ParsedExtension::ExtendedKeyUsage(_)
                    )
            })
            .map(|extension| extension.oid.to_string())
    }

    /// Checks that this certificate may issue others, `below` CA certificates away from the leaf.
    pub(super) fn check_issuing(&self, below: usize) -> Result<(), X509Error> {
        let forged = |why: &str| {
            Err(X509Error::Forged(format!(
                "`{}` issued a certificate, but {why}",
                self.subject()
            )))
        };
        let constraints = match self.parsed.basic_constraints() {
            Ok(Some(constraints)) => constraints.value,
            _ => return forged("has no basic constraints"),
        };
        if !constraints.ca {
            return forged("is not a CA");
        }
        if constraints
            .path_len_constraint
            .is_some_and(|limit| (limit as usize) < below)
        {
            return forged("not so deep a chain");
        }
        match self.parsed.key_usage() {
            Ok(Some(usage)) if usage.value.key_cert_sign() => Ok(()),
            Ok(None) => Ok(()),
            _ => forged("its key is not for signing certificates"),
        }
    }

    /// Checks that this certificate is no CA: one that may issue certificates must not stand
    /// where a signer of evidence is expected.
    pub(super) fn check_leaf(&self) -> Result<(), X509Error> {
        if self.is_ca() {
            return Err(X509Error::Forged(format!(
                "`{}` is a CA and stands where a signer is expected",
                self.subject()
            )));
        }
        match self.parsed.key_usage() {
            Ok(None) => Ok(()),
            Ok(Some(usage)) if usage.value.digital_signature() || usage.value.non_repudiation() => {
                Ok(())
            }
            _ => Err(X509Error::Forged(format!(
                "the key of `{}` is not for signatures",
                self.subject()
            ))),
        }
    }

    /// Checks that `issuer` signed this certificate, by name and by signature.
    pub(crate) fn check_signed_by(
        &self,
        issuer: &Certificate<'_>,
        algorithm: Algorithm,
    ) -> Result<(), X509Error> {
        let forged = |why: &str| {
            Err(X509Error::Forged(format!(
                "the certificate of `{}` {why}",
                self.subject()
            )))
        };
        if self.parsed.issuer().as_raw() != issuer.raw_subject() {
            return forged(&format!(
                "was issued by `{}`, not by `{}`",
                self.parsed.issuer(),
                issuer.subject()
            ));
        }
        if !algorithm.is_named_by(&self.parsed.signature_algorithm) {
            return forged("is signed with an algorithm that this chain does not use");
        }
        if !issuer.has_key_for(algorithm) {
            return forged("was issued with a key of another algorithm than this chain uses");
        }
        if !algorithm.verify(
            issuer.public_key(),
            self.parsed.tbs_certificate.as_ref(),
            &self.parsed.signature_value.data,
        ) {
            return forged(&format!("is not signed by `{}`", issuer.subject()));
        }
        Ok(())
    }
}

/// What lies before 1970 is so long ago that 1970 says the same.
pub(super) fn unix_seconds(timestamp: i64) -> u64 {
    u64::try_from(timestamp).unwrap_or(0)
}
