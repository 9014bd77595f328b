//! The enclave's own TLS identity: a key made inside, and a certificate that carries evidence.

use std::net::IpAddr;
use std::time::SystemTime;

use mse_attest::Evidence;
use mse_crypto::hpke::PublicKey;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::binding::{TlsPublicKey, certificate_report_data};
use crate::certificate::SGX_EVIDENCE_OID;

/// A P-256 key that never leaves this process, and the certificates made with it.
pub struct TlsIdentity {
    key: KeyPair,
    public: TlsPublicKey,
}

impl TlsIdentity {
    /// A fresh key.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let public = key
            .public_key_raw()
            .try_into()
            .map_err(|_| IdentityError::Point)?;
        Ok(Self {
            key,
            public: TlsPublicKey(public),
        })
    }

    /// The public key.
    pub fn public(&self) -> TlsPublicKey {
        self.public
    }

    /// The report data that evidence for a certificate of this key must have.
    pub fn report_data(&self, x25519: &PublicKey) -> [u8; 64] {
        certificate_report_data(&self.public, x25519)
    }

    /// A self-signed certificate for `names` (DNS names and IP addresses) until `not_after`,
    /// with `evidence` in the extension 1.2.840.113741.1337.6 as raw bytes.
    ///
    /// It is a CA certificate, because browsers and tools take only such a one as a root; name
    /// constraints keep it from vouching for anything but `names`.
    pub fn certificate(
        &self,
        names: &[String],
        not_after: SystemTime,
        evidence: &Evidence,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| san(name))
            .collect::<Result<_, _>>()?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(
            DnType::CommonName,
            names.first().map_or("enclave", |name| common_name(name)),
        );
        params
            .distinguished_name
            .push(DnType::OrganizationName, "MSE enclave");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: names.iter().map(|name| subtree(name)).collect(),
            excluded_subtrees: Vec::new(),
        });
        params.use_authority_key_identifier_extension = true;
        // A clock that is a little behind must not refuse a new enclave.
        params.not_before = (SystemTime::now() - std::time::Duration::from_secs(300)).into();
        params.not_after = not_after.into();
        let mut extension =
            CustomExtension::from_oid_content(SGX_EVIDENCE_OID, evidence.as_bytes().to_vec());
        extension.set_criticality(false);
        params.custom_extensions.push(extension);
        Ok(params.self_signed(&self.key)?.der().clone())
    }

    /// The private key for the TLS server of this process.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

fn san(name: &str) -> Result<SanType, IdentityError> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(
            name.try_into()
                .map_err(|_| IdentityError::Name(name.to_owned()))?,
        )),
    }
}

fn subtree(name: &str) -> GeneralSubtree {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            GeneralSubtree::IpAddress(rcgen::CidrSubnet::V4(address.octets(), [0xff; 4]))
        }
        Ok(IpAddr::V6(address)) => {
            GeneralSubtree::IpAddress(rcgen::CidrSubnet::V6(address.octets(), [0xff; 16]))
        }
        Err(_) => GeneralSubtree::DnsName(name.to_owned()),
    }
}

/// X.520 allows 64 characters in a common name; the full name stands in the SAN.
fn common_name(name: &str) -> &str {
    name.get(..64).unwrap_or(name)
}

/// Why an identity could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate could not be made.
    #[error("the enclave's certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The key has another form than P-256's.
    #[error("the TLS key is no P-256 point")]
    Point,
    /// A name that no certificate can carry.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
}
