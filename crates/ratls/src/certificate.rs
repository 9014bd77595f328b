//! Reading a server's certificate: its key, its names, its evidence.

use std::time::{SystemTime, UNIX_EPOCH};

use mse_attest::Evidence;
use mse_crypto::hpke::PublicKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::binding::TlsPublicKey;

/// 1.2.840.113741.1337.6: a raw SGX-form quote (SGX and simulated).
pub const SGX_EVIDENCE_OID: &[u64] = &[1, 2, 840, 113_741, 1337, 6];
const SGX_EVIDENCE: &str = "1.2.840.113741.1337.6";

/// What a client needs of an enclave's certificate. Parsed, not yet believed.
#[derive(Debug, Clone)]
pub struct EnclaveCertificate {
    /// The certificate's DER bytes.
    pub der: Vec<u8>,
    /// Its public key.
    pub tls_key: TlsPublicKey,
    /// DNS names and IP addresses of its SAN.
    pub names: Vec<String>,
    /// The evidence it carries.
    pub evidence: Evidence,
    /// From and to when it is valid: seconds since the Unix epoch.
    pub validity: (i64, i64),
}

impl EnclaveCertificate {
    /// Parses `der`. Exactly one evidence extension must be there.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let tls_key = certificate
            .public_key()
            .subject_public_key
            .data
            .as_ref()
            .try_into()
            .map(TlsPublicKey)
            .map_err(|_| CertificateError::Key)?;
        let mut extensions = certificate
            .extensions()
            .iter()
            .filter(|extension| extension.oid.to_id_string() == SGX_EVIDENCE);
        let evidence = match (extensions.next(), extensions.next()) {
            (Some(one), None) => Evidence::parse(one.value).map_err(CertificateError::Evidence)?,
            (None, _) => return Err(CertificateError::NoEvidence),
            (Some(_), Some(_)) => return Err(CertificateError::TwoEvidences),
        };
        Ok(Self {
            der: der.to_vec(),
            tls_key,
            names: names(&certificate),
            evidence,
            validity: (
                certificate.validity().not_before.timestamp(),
                certificate.validity().not_after.timestamp(),
            ),
        })
    }

    /// Whether `time` is within its dates.
    pub fn is_valid_at(&self, time: SystemTime) -> bool {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
        (self.validity.0..=self.validity.1).contains(&seconds)
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

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
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
pub enum CertificateError {
    /// Not X.509, or with bytes behind it.
    #[error("the server's certificate is malformed")]
    Malformed,
    /// Not a P-256 key.
    #[error("the server's key is not a P-256 key, so it is not an enclave's")]
    Key,
    /// No extension 1.2.840.113741.1337.6.
    #[error("the server's certificate carries no evidence: it is not served by an enclave of MSE")]
    NoEvidence,
    /// More than one.
    #[error("the server's certificate carries evidence twice")]
    TwoEvidences,
    /// The extension holds no quote.
    #[error("the evidence in the server's certificate cannot be read: {0}")]
    Evidence(#[source] mse_attest::EvidenceError),
}
