//! Who a CAS is: whoever has a certificate of the root whose key is known, because a service's own
//! measurement names it or because the CAS was attested.
//!
//! The name of the server does not count: whoever says where to connect is believed in nothing
//! else.

use std::sync::Arc;

use mse_workload::CasKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The key of the root that ends `chain`, as it was sent; nothing vouches for it.
pub(crate) fn root_key(chain: &[CertificateDer<'_>]) -> Option<CasKey> {
    let (_, root) = X509Certificate::from_der(chain.last()?).ok()?;
    Some(CasKey::of(root.public_key().raw))
}

/// A chain has at most this many certificates behind the server's own.
const MAX_CHAIN: usize = 6;
/// A certificate is at most this long.
const MAX_CERTIFICATE: usize = 16 * 1024;
/// What stands before the 65 bytes of the point in every `SubjectPublicKeyInfo` of a P-256 key.
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Takes servers whose chain ends in a self-signed root on P-256 with the key that is known.
#[derive(Debug)]
pub struct PinnedRoot {
    /// `None`: any key passes, and whoever connects finds out whose it is.
    key: Option<CasKey>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedRoot {
    /// The root must have this key.
    pub fn new(key: CasKey, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            key: Some(key),
            algorithms,
        }
    }

    /// The root may have any key: for the first contact, which trusts nothing before it is
    /// attested.
    pub(crate) fn of_anybody(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            key: None,
            algorithms,
        }
    }

    /// Checks the chain `server`, `behind`… at `now`.
    fn check(
        &self,
        server: &CertificateDer<'_>,
        behind: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), IdentityError> {
        let lengths_fit = behind
            .iter()
            .chain([server])
            .all(|one| one.len() <= MAX_CERTIFICATE);
        if behind.len() > MAX_CHAIN || !lengths_fit {
            return Err(IdentityError::TooLarge);
        }
        let (root, intermediates) = behind.split_last().ok_or(IdentityError::NoRoot)?;
        self.check_root(root)?;
        check_purpose(server)?;
        let anchor = anchor_from_trusted_cert(root).map_err(IdentityError::Root)?;
        EndEntityCert::try_from(server)
            .and_then(|server| {
                server
                    .verify_for_usage(
                        self.algorithms.all,
                        &[anchor],
                        intermediates,
                        now,
                        KeyUsage::server_auth(),
                        None,
                        None,
                    )
                    .map(drop)
            })
            .map_err(IdentityError::Chain)
    }

    /// The key first: of another root nothing matters.
    fn check_root(&self, der: &CertificateDer<'_>) -> Result<(), IdentityError> {
        let (rest, root) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::NotACertificate)?;
        let key = root.public_key().raw;
        let found = CasKey::of(key);
        if !rest.is_empty() {
            return Err(IdentityError::NotACertificate);
        }
        if let Some(expected) = self.key
            && found != expected
        {
            return Err(IdentityError::OtherKey { found, expected });
        }
        if key.len() != P256.len() + 65 || !key.starts_with(P256) {
            return Err(IdentityError::NotP256);
        }
        let is_ca = matches!(root.basic_constraints(), Ok(Some(found)) if found.value.ca);
        if !is_ca || root.subject().as_raw() != root.issuer().as_raw() {
            return Err(IdentityError::NotARoot);
        }
        // What else the root says (its name, its constraints) is the key's own word.
        EndEntityCert::try_from(der)
            .and_then(|own| {
                own.verify_signature(
                    webpki::aws_lc_rs::ECDSA_P256_SHA256,
                    root.tbs_certificate.as_ref(),
                    &root.signature_value.data,
                )
            })
            .map_err(IdentityError::Root)
    }
}

/// The server's own certificate must say that it is for servers; of those above it, none that says
/// for what it is may say otherwise.
fn check_purpose(server: &CertificateDer<'_>) -> Result<(), IdentityError> {
    let (_, server) =
        X509Certificate::from_der(server).map_err(|_| IdentityError::NotACertificate)?;
    match server.extended_key_usage() {
        Ok(Some(usage)) if usage.value.server_auth => Ok(()),
        _ => Err(IdentityError::Purpose),
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        behind: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.check(server, behind, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(CertificateError::Other(OtherError(Arc::new(error))).into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why a server is not the CAS.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Over the bounds.
    #[error(
        "it sent more than {MAX_CHAIN} certificates behind its own, or one of more than {MAX_CERTIFICATE} bytes"
    )]
    TooLarge,
    /// Only its own certificate.
    #[error("it sent no root certificate behind its own")]
    NoRoot,
    /// Not DER, or more than that.
    #[error("something that it sent as a certificate is none")]
    NotACertificate,
    /// Another CAS, or somebody in between.
    #[error("its root has the key `{found}`, and the one to expect is `{expected}`")]
    OtherKey {
        /// The root's key.
        found: CasKey,
        /// The one to expect.
        expected: CasKey,
    },
    /// A key of another kind.
    #[error("its root's key is not on P-256")]
    NotP256,
    /// It does not vouch for itself.
    #[error("its root is not a self-signed certificate of a CA")]
    NotARoot,
    /// Its signature or its form.
    #[error("its root cannot be used: {0}")]
    Root(webpki::Error),
    /// Not for TLS servers.
    #[error("its certificate is not for servers")]
    Purpose,
    /// Not vouched for, or not now.
    #[error("its certificate is not one of the root's, or not valid now: {0}")]
    Chain(webpki::Error),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
        ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
        PKCS_ECDSA_P384_SHA384, PublicKeyData, SignatureAlgorithm,
    };

    use super::*;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn ca_params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
    }

    fn root(algorithm: &'static SignatureAlgorithm) -> Issuer {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertifiedIssuer::self_signed(ca_params("root"), key).unwrap()
    }

    fn leaf(issuer: &Issuer, purpose: Option<ExtendedKeyUsagePurpose>) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["cas".to_owned()]).unwrap();
        params.extended_key_usages = purpose.into_iter().collect();
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, issuer).unwrap().der().clone()
    }

    fn pin(issuer: &Issuer) -> PinnedRoot {
        PinnedRoot::new(
            CasKey::of(&issuer.key().subject_public_key_info()),
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms,
        )
    }

    fn now() -> UnixTime {
        UnixTime::now()
    }

    const SERVER: Option<ExtendedKeyUsagePurpose> = Some(ExtendedKeyUsagePurpose::ServerAuth);

    #[test]
    fn a_server_of_the_root_passes_with_and_without_an_intermediate() {
        let root = root(&PKCS_ECDSA_P256_SHA256);
        let pin = pin(&root);
        pin.check(&leaf(&root, SERVER), &[root.der().clone()], now())
            .unwrap();
        let key = KeyPair::generate().unwrap();
        let middle = CertifiedIssuer::signed_by(ca_params("middle"), key, &root).unwrap();
        let chain = [middle.der().clone(), root.der().clone()];
        pin.check(&leaf(&middle, SERVER), &chain, now()).unwrap();

        let mut clients_only = ca_params("clients");
        clients_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let middle = CertifiedIssuer::signed_by(clients_only, key, &root).unwrap();
        let chain = [middle.der().clone(), root.der().clone()];
        let refused = pin.check(&leaf(&middle, SERVER), &chain, now());
        assert!(matches!(refused, Err(IdentityError::Chain(_))));
    }

    #[test]
    fn another_key_no_root_and_another_order_are_refused() {
        let (root, other) = (root(&PKCS_ECDSA_P256_SHA256), root(&PKCS_ECDSA_P256_SHA256));
        let pin = pin(&root);
        let check = |server: &Issuer, behind: &[CertificateDer<'static>]| {
            pin.check(&leaf(server, SERVER), behind, now()).unwrap_err()
        };
        assert!(matches!(
            check(&other, &[other.der().clone()]),
            IdentityError::OtherKey { .. }
        ));
        // The measured root is shown, and did not sign.
        assert!(matches!(
            check(&other, &[root.der().clone()]),
            IdentityError::Chain(_)
        ));
        assert!(matches!(check(&root, &[]), IdentityError::NoRoot));
        assert!(matches!(
            check(&root, &[root.der().clone(), other.der().clone()]),
            IdentityError::OtherKey { .. }
        ));
        let many = vec![root.der().clone(); MAX_CHAIN + 1];
        assert!(matches!(check(&root, &many), IdentityError::TooLarge));
    }

    #[test]
    fn a_certificate_for_another_purpose_or_time_is_refused() {
        let root = root(&PKCS_ECDSA_P256_SHA256);
        let pin = pin(&root);
        let chain = [root.der().clone()];
        for purpose in [None, Some(ExtendedKeyUsagePurpose::ClientAuth)] {
            let refused = pin.check(&leaf(&root, purpose), &chain, now());
            assert!(matches!(refused, Err(IdentityError::Purpose)));
        }
        let mut params = CertificateParams::new(vec!["cas".to_owned()]).unwrap();
        params.extended_key_usages = SERVER.into_iter().collect();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        let old = params
            .signed_by(&KeyPair::generate().unwrap(), &root)
            .unwrap();
        assert!(pin.check(old.der(), &chain, now()).is_err());
        let later = UnixTime::since_unix_epoch(Duration::from_secs(1 << 40));
        assert!(pin.check(&leaf(&root, SERVER), &chain, later).is_err());
    }

    #[test]
    fn a_root_that_is_none_is_refused_though_its_key_is_the_measured_one() {
        let p384 = root(&PKCS_ECDSA_P384_SHA384);
        let refused = pin(&p384).check(&leaf(&p384, SERVER), &[p384.der().clone()], now());
        assert!(matches!(refused, Err(IdentityError::NotP256)));

        // The same key, under a certificate that somebody else signed.
        let (mine, other) = (root(&PKCS_ECDSA_P256_SHA256), root(&PKCS_ECDSA_P256_SHA256));
        let cross = ca_params("root").signed_by(mine.key(), &other).unwrap();
        let refused = pin(&mine).check(&leaf(&mine, SERVER), &[cross.der().clone()], now());
        assert!(
            matches!(
                refused,
                Err(IdentityError::NotARoot | IdentityError::Root(_))
            ),
            "{refused:?}"
        );

        let changed = {
            let mut der = mine.der().to_vec();
            let last = der.len() - 1;
            der[last] ^= 1;
            CertificateDer::from(der)
        };
        let refused = pin(&mine).check(&leaf(&mine, SERVER), &[changed], now());
        assert!(
            matches!(refused, Err(IdentityError::Root(_))),
            "{refused:?}"
        );

        let server = leaf(&mine, SERVER);
        let refused = pin(&mine).check(&server, std::slice::from_ref(&server), now());
        assert!(matches!(refused, Err(IdentityError::OtherKey { .. })));
    }
}
