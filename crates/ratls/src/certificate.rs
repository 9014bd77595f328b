//! Reading a server's certificate: its key, its names, its evidence.
//!
//! [`EnclaveCertificate`] is a certificate of ours; [`crate::peer`] reads those of other stacks.

use std::time::{SystemTime, UNIX_EPOCH};

use mse_attest::dcap::{Body, Quote, TdReport};
use mse_attest::{Evidence, EvidenceKind};
use mse_crypto::hpke::PublicKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::binding::TlsPublicKey;
use crate::tagged::{TaggedEvidence, TaggedEvidenceError};

/// 1.2.840.113741.1337.6: a raw quote about an SGX enclave, real or simulated.
pub const SGX_EVIDENCE_OID: &[u64] = &[1, 2, 840, 113_741, 1337, 6];
/// 1.2.840.113741.1337.7: a raw attestation report of AMD SEV-SNP.
pub const SNP_EVIDENCE_OID: &[u64] = &[1, 2, 840, 113_741, 1337, 7];
/// 1.2.840.113741.1337.8: a raw quote about a TDX trust domain.
pub const TDX_EVIDENCE_OID: &[u64] = &[1, 2, 840, 113_741, 1337, 8];

const SGX_EVIDENCE: &str = "1.2.840.113741.1337.6";
const SNP_EVIDENCE: &str = "1.2.840.113741.1337.7";
const TDX_EVIDENCE: &str = "1.2.840.113741.1337.8";
const TAGGED_EVIDENCE: &str = "2.23.133.5.4.9";

/// The extension in which evidence of this kind stands; not every kind has one.
pub(crate) fn oid_of(kind: EvidenceKind) -> Option<&'static [u64]> {
    match kind {
        EvidenceKind::SgxDcap => Some(SGX_EVIDENCE_OID),
        EvidenceKind::Snp => Some(SNP_EVIDENCE_OID),
        EvidenceKind::TdxDcap => Some(TDX_EVIDENCE_OID),
        _ => None,
    }
}

/// What a client needs of an enclave's certificate. Parsed, not yet believed.
#[derive(Debug, Clone)]
pub struct EnclaveCertificate {
    /// The certificate's DER bytes.
    pub der: Vec<u8>,
    /// Its public key.
    pub tls_key: TlsPublicKey,
    /// DNS names and IP addresses of its SAN.
    pub names: Vec<String>,
    /// The evidence it carries, in the extension of its kind.
    pub evidence: Evidence,
    /// The evidence that it carries for clients of other stacks, about the same enclave and key.
    pub tagged: Option<TaggedEvidence>,
    /// From and to when it is valid: seconds since the Unix epoch.
    pub validity: (i64, i64),
}

impl EnclaveCertificate {
    /// Parses `der`. Exactly one extension with raw evidence must be there, and at most one with
    /// tagged evidence, which must be about the same code and key.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let certificate = parse_x509(der)?;
        let tls_key = certificate
            .public_key()
            .subject_public_key
            .data
            .as_ref()
            .try_into()
            .map(TlsPublicKey)
            .map_err(|_| CertificateError::Key)?;
        let carried = Carried::of(&certificate)?;
        let evidence = match (carried.raw, &carried.tagged) {
            (Some(raw), _) => raw,
            (None, Some(_)) => return Err(CertificateError::OtherStack),
            (None, None) => return Err(CertificateError::NoEvidence),
        };
        Ok(Self {
            der: der.to_vec(),
            tls_key,
            names: names(&certificate),
            evidence,
            tagged: carried.tagged,
            validity: validity(&certificate),
        })
    }

    /// Whether `time` is within its dates.
    pub fn is_valid_at(&self, time: SystemTime) -> bool {
        is_within(self.validity, time)
    }

    /// Whether the SAN covers `name`, to the letter.
    pub fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The certificate as PEM.
    pub fn to_pem(&self) -> String {
        to_pem(&self.der)
    }
}

/// The evidence in a certificate's extensions.
pub(crate) struct Carried {
    /// In the extension of its kind.
    pub(crate) raw: Option<Evidence>,
    /// In the extension that all stacks share; bound to the certificate's key.
    pub(crate) tagged: Option<TaggedEvidence>,
}

impl Carried {
    /// Reads them. None may stand there twice, and two must be about the same code.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Result<Self, CertificateError> {
        let (mut raw, mut tagged) = (None, None);
        for extension in certificate.extensions() {
            let kind = match extension.oid.to_id_string().as_str() {
                SGX_EVIDENCE => EvidenceKind::SgxDcap,
                SNP_EVIDENCE => EvidenceKind::Snp,
                TDX_EVIDENCE => EvidenceKind::TdxDcap,
                TAGGED_EVIDENCE => {
                    let evidence = TaggedEvidence::parse(extension.value)?;
                    if !evidence.names_key(certificate.public_key().raw) {
                        return Err(CertificateError::OtherKey);
                    }
                    if tagged.replace(evidence).is_some() {
                        return Err(CertificateError::TwoEvidences);
                    }
                    continue;
                }
                _ => continue,
            };
            let evidence = Evidence::parse(extension.value).map_err(CertificateError::Evidence)?;
            if evidence.kind() != kind {
                return Err(CertificateError::Kind {
                    extension: kind,
                    found: evidence.kind(),
                });
            }
            if raw.replace(evidence).is_some() {
                return Err(CertificateError::TwoEvidences);
            }
        }
        let carried = Self { raw, tagged };
        if carried.conflicts() {
            return Err(CertificateError::Conflict);
        }
        Ok(carried)
    }

    fn conflicts(&self) -> bool {
        match (&self.raw, &self.tagged) {
            (Some(raw), Some(tagged)) => !same_code(raw, &tagged.evidence),
            _ => false,
        }
    }
}

/// Whether two quotes state the same code: enclave and signer, or all that was measured of a machine
/// before its program ran, configuration and owner.
fn same_code(one: &Evidence, other: &Evidence) -> bool {
    let (Ok(one), Ok(other)) = (Quote::parse(one.as_bytes()), Quote::parse(other.as_bytes()))
    else {
        return false;
    };
    match (&one.body, &other.body) {
        (Body::Sgx(one), Body::Sgx(other)) => {
            (one.mrenclave(), one.mrsigner()) == (other.mrenclave(), other.mrsigner())
        }
        (Body::Tdx(one), Body::Tdx(other)) => fixed(one) == fixed(other),
        _ => false,
    }
}

/// What does not change while a trust domain runs.
fn fixed<'a>(report: &TdReport<'a>) -> [&'a [u8; 48]; 6] {
    let [rtmr0, rtmr1, rtmr2, _] = report.rtmrs();
    let (configuration, owner) = (report.mr_config_id(), report.mr_owner());
    [report.mr_td(), rtmr0, rtmr1, rtmr2, configuration, owner]
}

pub(crate) fn parse_x509(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(CertificateError::Malformed),
    }
}

pub(crate) fn validity(certificate: &X509Certificate<'_>) -> (i64, i64) {
    let validity = certificate.validity();
    (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    )
}

pub(crate) fn is_within((from, to): (i64, i64), time: SystemTime) -> bool {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    });
    (from..=to).contains(&seconds)
}

/// The X25519 key that a certificate's evidence names: the second half of its report data.
pub fn x25519_of(report_data: &[u8; 64]) -> PublicKey {
    let mut key = [0; 32];
    key.copy_from_slice(&report_data[32..]);
    PublicKey(key)
}

/// A certificate in PEM (RFC 7468).
pub fn to_pem(der: &[u8]) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

pub(crate) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(san)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    san.value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(std::net::Ipv6Addr::from(v6).to_string())
}

/// Why a certificate is not an enclave's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not X.509, or with bytes behind it.
    #[error("the server's certificate is malformed")]
    Malformed,
    /// Not a P-256 key.
    #[error("the server's key is not a P-256 key, so it is not an enclave's of MSE")]
    Key,
    /// No extension with evidence.
    #[error("the server's certificate carries no evidence: it is not served by an enclave of MSE")]
    NoEvidence,
    /// Tagged evidence only: an enclave, but none of MSE.
    #[error(
        "the server's certificate carries evidence of another RA-TLS stack only: it is no enclave of MSE, and knows no channel challenge"
    )]
    OtherStack,
    /// More than one of a kind.
    #[error("the server's certificate carries evidence twice")]
    TwoEvidences,
    /// Two that state different code.
    #[error("the server's certificate carries evidence of two different enclaves")]
    Conflict,
    /// The extension holds no evidence.
    #[error("the evidence in the server's certificate cannot be read: {0}")]
    Evidence(#[source] mse_attest::EvidenceError),
    /// Evidence in the extension of another kind.
    #[error("the server's certificate carries `{found}` in the extension for `{extension}`")]
    Kind {
        /// What the extension is for.
        extension: EvidenceKind,
        /// What it holds.
        found: EvidenceKind,
    },
    /// The tagged evidence is not of its form.
    #[error("the tagged evidence in the server's certificate is not as it must be: {0}")]
    Tagged(#[from] TaggedEvidenceError),
    /// The evidence was made for another key than the certificate's.
    #[error(
        "the evidence in the server's certificate was made for another key: somebody uses it who is not that enclave"
    )]
    OtherKey,
}
