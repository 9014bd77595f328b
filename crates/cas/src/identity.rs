//! Who a CAS is: one root key that its services and clients pin, and what is derived from it.
//!
//! All replicas of a CAS have the same identity, and it outlives every one of them. It is made once
//! in an enclave and stored sealed.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use mse_crypto::sealing::{DoesNotOpen, SealingKey};
use mse_crypto::signing::SigningKey;
use mse_crypto::{Zeroizing, hpke};
use mse_workload::CasKey;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// How long a TLS certificate lives; a process makes a new one at half of that.
pub const TLS_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long the root lives: it is pinned by its key, and never renewed.
const ROOT_LIFETIME: Duration = Duration::from_secs(50 * 365 * 24 * 60 * 60);
/// Clocks that are a little behind must not refuse what was just made.
const BACKDATED: Duration = Duration::from_secs(10 * 60);

/// The identity of a CAS. Holds private keys; it has no `Debug`.
pub struct Identity {
    root: KeyPair,
    root_certificate: CertificateDer<'static>,
}

impl Identity {
    /// A new CAS.
    pub fn generate(now: SystemTime) -> Result<Self, IdentityError> {
        let root = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "MSE CAS root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + ROOT_LIFETIME).into();
        let root_certificate = params.self_signed(&root)?.der().clone();
        Ok(Self {
            root,
            root_certificate,
        })
    }

    /// For the store, under a key that only an attested CAS has.
    pub fn seal(&self, key: &SealingKey) -> Vec<u8> {
        let pkcs8 = Zeroizing::new(self.root.serialize_der());
        let length = u32::try_from(pkcs8.len()).unwrap_or(u32::MAX);
        let plain = Zeroizing::new(
            [
                &length.to_be_bytes(),
                pkcs8.as_slice(),
                &self.root_certificate,
            ]
            .concat(),
        );
        key.seal(SEALED_AS, &plain)
    }

    /// What [`Identity::seal`] made.
    pub fn open(key: &SealingKey, sealed: &[u8]) -> Result<Self, IdentityError> {
        let plain = key.open(SEALED_AS, sealed)?;
        let (length, rest) = plain.split_first_chunk().ok_or(IdentityError::Form)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (pkcs8, certificate) = rest.split_at_checked(length).ok_or(IdentityError::Form)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(pkcs8);
        Ok(Self {
            root: KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)?,
            root_certificate: CertificateDer::from(certificate.to_vec()),
        })
    }

    /// What is pinned.
    pub fn key(&self) -> CasKey {
        CasKey::of(&self.root.subject_public_key_info())
    }

    /// The self-signed certificate of the root key.
    pub fn root_certificate(&self) -> &CertificateDer<'static> {
        &self.root_certificate
    }

    /// A fresh TLS key with a certificate under the root, for servers with these names (DNS names
    /// and IP addresses). The chain has the root at its end.
    pub fn tls(&self, names: &[String], now: SystemTime) -> Result<TlsCredentials, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "MSE CAS");
        params.subject_alt_names = names
            .iter()
            .map(|name| san(name))
            .collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + TLS_LIFETIME).into();
        let issuer = Issuer::from_ca_cert_der(&self.root_certificate, &self.root)?;
        let certificate = params.signed_by(&key, &issuer)?.der().clone();
        Ok(TlsCredentials {
            chain: vec![certificate, self.root_certificate.clone()],
            private_key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }
}

/// Whether a certificate can carry all of these names.
pub fn check_names(names: &[String]) -> Result<(), IdentityError> {
    names.iter().try_for_each(|name| san(name).map(drop))
}

/// The key that encrypted sessions are sealed to: derived, so that it is the same in all replicas.
pub fn session_encryption_key(root: &SealingKey) -> hpke::KeyPair {
    hpke::KeyPair::derive(root.derive("mse-cas-session-encryption-v1", b"").expose())
}

/// The key that signs the audit log's heads.
pub fn audit_key(root: &SealingKey) -> SigningKey {
    SigningKey::ed25519_of_seed(root.derive("mse-cas-audit-v1", b"").expose())
}

/// What a TLS server needs.
pub struct TlsCredentials {
    /// The server's certificate, then the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8.
    pub private_key: PrivateKeyDer<'static>,
}

const SEALED_AS: &[u8] = b"mse-cas-identity-v1";

fn san(name: &str) -> Result<SanType, IdentityError> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(
            name.try_into()
                .map_err(|_| IdentityError::Name(name.to_owned()))?,
        )),
    }
}

/// Why an identity cannot be made or had again.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another key, or changed bytes.
    #[error("the identity of the CAS does not open: {0}")]
    Sealed(#[from] DoesNotOpen),
    /// Not the form that was written.
    #[error("the identity of the CAS opens and is malformed: it was written by another version")]
    Form,
    /// A certificate could not be made or read.
    #[error("a certificate of the CAS cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A name that no certificate can carry.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls_pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn an_identity_is_the_same_after_it_was_stored() {
        let key = SealingKey::generate();
        let identity = Identity::generate(SystemTime::now()).unwrap();
        let sealed = identity.seal(&key);
        let again = Identity::open(&key, &sealed).unwrap();
        assert_eq!(again.key(), identity.key());
        assert_eq!(again.root_certificate(), identity.root_certificate());
        let other = Identity::open(&SealingKey::generate(), &sealed);
        assert!(matches!(other, Err(IdentityError::Sealed(_))));
        let mut changed = sealed;
        changed[20] ^= 1;
        assert!(Identity::open(&key, &changed).is_err());
    }

    #[test]
    fn tls_certificates_hold_under_the_root_and_for_their_names() {
        let identity = Identity::generate(SystemTime::now()).unwrap();
        let names = ["cas.example.com".to_owned(), "127.0.0.1".to_owned()];
        let tls = identity.tls(&names, SystemTime::now()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(identity.root_certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let verified = |name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier
                .verify_server_cert(&tls.chain[0], &[], &name, &[], UnixTime::now())
                .is_ok()
        };
        assert!(verified("cas.example.com"));
        assert!(verified("127.0.0.1"));
        assert!(!verified("example.com"));
    }

    #[test]
    fn derived_keys_are_those_of_the_root() {
        let root = SealingKey::from_bytes([3; 32]);
        let again = SealingKey::from_bytes([3; 32]);
        let other = SealingKey::from_bytes([4; 32]);
        assert_eq!(audit_key(&root).public(), audit_key(&again).public());
        assert_ne!(audit_key(&root).public(), audit_key(&other).public());
        let public = |root| session_encryption_key(root).public();
        assert_eq!(public(&root), public(&again));
        assert_ne!(public(&root), public(&other));
    }
}
