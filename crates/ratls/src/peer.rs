//! Certificates of any RA-TLS stack, and what binds their evidence to their key.
//!
//! Enclaves of MSE are met through [`crate::channel`], which trusts a certificate only as far as
//! first contact: evidence that is bound to nothing but a key can be relayed. Other stacks have
//! nothing else to offer, so this is what there is for them. Whoever connects to one must complete
//! the TLS handshake with the certificate's key; a certificate in a file shows that an enclave
//! made its key once, and no more.
//!
//! | layout | report data | who writes it |
//! | --- | --- | --- |
//! | [`Layout::Tagged`] | `SHA-256(claims) ‖ 0…`, claims name the hash of the key | Gramine ≥ 1.5, Intel's SGX SDK ≥ 2.22, MSE |
//! | [`Layout::Point`] | `SHA-256(point) ‖ 32 bytes of the enclave's` | MSE, and what `intel-sgx-ra` checks |
//! | [`Layout::KeyInfo`] | `SHA-256(SubjectPublicKeyInfo) ‖ 0…` | Gramine's extension 1.2.840.113741.1337.6 |

use std::time::SystemTime;

use mse_attest::{Appraisal, Collateral, Evidence, ReferenceValues, Refusal, Verifier};
use mse_crypto::Digest;
use x509_parser::prelude::X509Certificate;

use crate::certificate::{Carried, CertificateError, is_within, names, parse_x509, validity};

/// A certificate with evidence that is bound to its key. The evidence is not yet believed:
/// [`PeerCertificate::appraise`] finds out.
#[derive(Debug, Clone)]
pub struct PeerCertificate {
    /// The certificate's DER bytes.
    pub der: Vec<u8>,
    /// Its public key: the SubjectPublicKeyInfo in DER.
    pub key_info: Vec<u8>,
    /// DNS names and IP addresses of its SAN; other stacks often have none.
    pub names: Vec<String>,
    /// From and to when it is valid: seconds since the Unix epoch.
    pub validity: (i64, i64),
    first: BoundEvidence,
    second: Option<BoundEvidence>,
}

/// Evidence, and how it names a certificate's key.
#[derive(Debug, Clone)]
pub struct BoundEvidence {
    /// The evidence.
    pub evidence: Evidence,
    /// How its report data names the key.
    pub layout: Layout,
    /// What the report data must be, all bytes.
    pub report_data: [u8; 64],
    /// The nonce among the claims, if there is one.
    pub nonce: Option<Vec<u8>>,
}

/// How report data names a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// By the hash of claims that hold the hash of the key.
    Tagged,
    /// By the SHA-256 of the key as uncompressed point; the second half is the enclave's own.
    Point,
    /// By the SHA-256 of the SubjectPublicKeyInfo; the second half is zero.
    KeyInfo,
}

impl PeerCertificate {
    /// Parses `der` and checks that all evidence in it is bound to its key.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = parse_x509(der)?;
        let carried = Carried::of(&certificate)?;
        let tagged = carried.tagged.map(|tagged| BoundEvidence {
            report_data: tagged.report_data(),
            layout: Layout::Tagged,
            nonce: tagged.nonce,
            evidence: tagged.evidence,
        });
        let raw = carried
            .raw
            .map(|evidence| bind_raw(evidence, &certificate))
            .transpose()?;
        let (first, second) = match (tagged, raw) {
            (Some(tagged), raw) => (tagged, raw),
            (None, Some(raw)) => (raw, None),
            (None, None) => return Err(CertificateError::NoEvidence),
        };
        Ok(Self {
            der: der.to_vec(),
            key_info: certificate.public_key().raw.to_vec(),
            names: names(&certificate),
            validity: validity(&certificate),
            first,
            second,
        })
    }

    /// All evidence in it, the tagged one first; there is at least one.
    pub fn evidence(&self) -> impl Iterator<Item = &BoundEvidence> {
        std::iter::once(&self.first).chain(&self.second)
    }

    /// Whether `time` is within its dates.
    pub fn is_valid_at(&self, time: SystemTime) -> bool {
        is_within(self.validity, time)
    }

    /// Appraises all evidence in it against `expected`, of which the report data is set here: the
    /// answer is that for the first, if nothing refuses a second one.
    pub fn appraise(
        &self,
        verifier: &Verifier,
        collateral: &Collateral,
        expected: &ReferenceValues,
        now: SystemTime,
    ) -> Result<Appraisal, Box<Refusal>> {
        let appraise = |bound: &BoundEvidence| {
            let expected = ReferenceValues {
                report_data: Some(bound.report_data),
                ..expected.clone()
            };
            verifier
                .appraise(&bound.evidence, collateral, &expected, now)
                .map_err(Box::new)
        };
        if let Some(second) = &self.second {
            appraise(second)?;
        }
        appraise(&self.first)
    }
}

/// Finds out how raw evidence names the key.
fn bind_raw(
    evidence: Evidence,
    certificate: &X509Certificate<'_>,
) -> Result<BoundEvidence, CertificateError> {
    let stated = evidence
        .stated_report_data()
        .ok_or(CertificateError::OtherKey)?;
    let (first, second) = stated.split_at(32);
    let key = certificate.public_key();
    let point = key.subject_public_key.data.as_ref();
    let layout = if is_point(point) && first == Digest::of(point).0 {
        Layout::Point
    } else if first == Digest::of(key.raw).0 && second == [0; 32] {
        Layout::KeyInfo
    } else {
        return Err(CertificateError::OtherKey);
    };
    Ok(BoundEvidence {
        evidence,
        layout,
        report_data: stated,
        nonce: None,
    })
}

/// An uncompressed point of P-256, P-384 or P-521.
fn is_point(key: &[u8]) -> bool {
    key.first() == Some(&4) && [65, 97, 133].contains(&key.len())
}
