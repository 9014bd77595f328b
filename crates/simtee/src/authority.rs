//! The platform's own PKI: root, platform CA, and the certificates they issue.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CustomExtension, DistinguishedName, DnType,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SerialNumber,
};

/// A CA: its certificate and the key that issues certificates and CRLs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    serial: SerialNumber,
    /// PEM.
    certificate: String,
}

impl Authority {
    /// A self-signed root.
    pub(crate) fn root(key: KeyPair, now: SystemTime) -> Result<Self, rcgen::Error> {
        let params = authority_params("Root CA", 1, &key, now);
        let certificate = params.self_signed(&key)?;
        Self::load(key, certificate.pem())
    }

    /// The CA below this one that issues PCK certificates. Verifiers read from its name, as from
    /// Intel's, that the *Platform* CRL is the one to ask for.
    pub(crate) fn platform_ca(&self, key: KeyPair, now: SystemTime) -> Result<Self, rcgen::Error> {
        let params = authority_params("PCK Platform CA", 0, &key, now);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Self::load(key, certificate.pem())
    }

    /// Issues the certificate of a key that signs documents or reports.
    pub(crate) fn issue(
        &self,
        name: &str,
        key: &KeyPair,
        extensions: Vec<CustomExtension>,
        now: SystemTime,
    ) -> Result<Certificate, rcgen::Error> {
        let mut params = params(name, key, now);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::ContentCommitment,
        ];
        params.custom_extensions = extensions;
        params.signed_by(key, &self.issuer)
    }

    pub(crate) fn load(key: KeyPair, certificate: String) -> Result<Self, rcgen::Error> {
        Ok(Self {
            serial: serial_of(key.der_bytes()),
            issuer: Issuer::from_ca_cert_pem(&certificate, key)?,
            certificate,
        })
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub(crate) fn pem(&self) -> &str {
        &self.certificate
    }

    pub(crate) fn serial(&self) -> SerialNumber {
        self.serial.clone()
    }
}

/// Serial number of the certificate of a key, from the key (an uncompressed point): so nothing
/// has to be remembered, or read out of the certificate, to revoke it.
pub(crate) fn serial_of(public_key: &[u8]) -> SerialNumber {
    let digest = digest(&SHA256, public_key);
    let mut serial = digest.as_ref()[..16].to_vec();
    // Positive, and no leading zero (RFC 5280 §4.1.2.2).
    serial[0] = serial[0] & 0x3f | 0x40;
    SerialNumber::from(serial)
}

fn authority_params(
    name: &str,
    path_length: u8,
    key: &KeyPair,
    now: SystemTime,
) -> CertificateParams {
    let mut params = params(name, key, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(name: &str, key: &KeyPair, now: SystemTime) -> CertificateParams {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, format!("MSE SIMULATED SGX {name}"));
    subject.push(DnType::OrganizationName, "MSE SIMULATED, NO HARDWARE");
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LIFE).into();
    params.serial_number = Some(serial_of(key.der_bytes()));
    params.distinguished_name = subject;
    params.use_authority_key_identifier_extension = true;
    params
}

/// Clocks of verifiers may be behind.
const BACKDATED: Duration = Duration::from_hours(24);

const LIFE: Duration = Duration::from_hours(20 * 365 * 24);
