//! The enclave's own TLS identity: a key made inside, and a certificate that carries evidence.

use std::net::IpAddr;
use std::time::SystemTime;

use mse_attest::{Evidence, EvidenceKind};
use mse_crypto::hpke::PublicKey;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::binding::{TlsPublicKey, certificate_report_data};
use crate::certificate::oid_of;
use crate::tagged::{self, TAGGED_EVIDENCE_OID};

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

    /// The report data that [tagged evidence](crate::tagged) for a certificate of this key must
    /// have.
    pub fn tagged_report_data(&self) -> [u8; 64] {
        tagged::report_data(&self.tagged_claims())
    }

    /// A self-signed certificate for `names` (DNS names and IP addresses) until `not_after`,
    /// with `evidence` as raw bytes in the extension of its kind
    /// ([`crate::certificate`] has the list).
    ///
    /// It is a CA certificate, because browsers and tools take only such a one as a root; name
    /// constraints keep it from vouching for anything but `names`.
    pub fn certificate(
        &self,
        names: &[String],
        not_after: SystemTime,
        evidence: &Evidence,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let extension = evidence_extension(evidence)?;
        self.self_signed(names, not_after, vec![extension])
    }

    /// As [`TlsIdentity::certificate`], for clients of other stacks too: with `tagged`, a quote
    /// that states [`TlsIdentity::tagged_report_data`], in the extension that all stacks share.
    pub fn interoperable_certificate(
        &self,
        names: &[String],
        not_after: SystemTime,
        evidence: &Evidence,
        tagged: &Evidence,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        if !tagged::has_form(tagged) {
            return Err(IdentityError::Kind(tagged.kind()));
        }
        let value = tagged::encode(tagged.as_bytes(), &self.tagged_claims());
        let extensions = vec![
            evidence_extension(evidence)?,
            CustomExtension::from_oid_content(TAGGED_EVIDENCE_OID, value),
        ];
        self.self_signed(names, not_after, extensions)
    }

    fn tagged_claims(&self) -> Vec<u8> {
        tagged::claims_for(&self.key.subject_public_key_info())
    }

    fn self_signed(
        &self,
        names: &[String],
        not_after: SystemTime,
        extensions: Vec<CustomExtension>,
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
        params.custom_extensions = extensions;
        Ok(params.self_signed(&self.key)?.der().clone())
    }

    /// The private key for the TLS server of this process.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// Not critical: clients that know nothing of evidence must not stumble over it.
fn evidence_extension(evidence: &Evidence) -> Result<CustomExtension, IdentityError> {
    let oid = oid_of(evidence.kind()).ok_or(IdentityError::Kind(evidence.kind()))?;
    Ok(CustomExtension::from_oid_content(
        oid,
        evidence.as_bytes().to_vec(),
    ))
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
    /// Evidence of a kind that certificates do not carry.
    #[error("no certificate extension is defined for evidence of kind `{0}`")]
    Kind(EvidenceKind),
    /// The key has another form than P-256's.
    #[error("the TLS key is no P-256 point")]
    Point,
    /// A name that no certificate can carry.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
}
