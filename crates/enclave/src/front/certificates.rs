//! Which certificate a connection gets: by the name it asks for.

use std::sync::{Arc, OnceLock};

use mse_crypto::Zeroizing;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The enclave's own certificate with evidence, and the owner's once it was provisioned.
#[derive(Debug)]
pub(crate) struct Certificates {
    own: Arc<CertifiedKey>,
    own_names: Vec<String>,
    owner: OnceLock<Arc<CertifiedKey>>,
}

impl Certificates {
    /// With the enclave's own certificate, which covers `own_names`.
    pub(crate) fn new(own: CertifiedKey, own_names: Vec<String>) -> Self {
        Self {
            own: Arc::new(own),
            own_names,
            owner: OnceLock::new(),
        }
    }

    /// Puts the owner's certificate into use for every name that is not the enclave's own.
    pub(crate) fn install_owner(&self, certificate: CertifiedKey) {
        // Provisioning happens once, so the cell is empty.
        let _ = self.owner.set(Arc::new(certificate));
    }

    /// Whether a connection that asked for `name` got the enclave's own certificate.
    pub(crate) fn is_own(&self, name: Option<&str>) -> bool {
        self.owner.get().is_none() || self.is_own_name(name)
    }

    fn is_own_name(&self, name: Option<&str>) -> bool {
        // Without SNI a client connects by address, which only the own certificate covers.
        name.is_none_or(|name| {
            self.own_names
                .iter()
                .any(|own| own.eq_ignore_ascii_case(name))
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.owner.get() {
            Some(owner) if !self.is_own_name(hello.server_name()) => Some(Arc::clone(owner)),
            _ => Some(Arc::clone(&self.own)),
        }
    }
}

/// The owner's certificate with its key; the key must be the certificate's.
pub(crate) fn owner_certificate(
    chain_pem: &str,
    key_pem: &Zeroizing<String>,
) -> Result<CertifiedKey, OwnerCertificateError> {
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or(OwnerCertificateError::Chain)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| OwnerCertificateError::Key)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider)
        .map_err(|_| OwnerCertificateError::Mismatch)?;
    // from_der lets a key pass whose public half it cannot read; we do not.
    certified
        .keys_match()
        .map_err(|_| OwnerCertificateError::Mismatch)?;
    Ok(certified)
}

/// Why the owner's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnerCertificateError {
    /// No certificate in the PEM.
    #[error("the owner's certificate chain is not PEM")]
    Chain,
    /// No key in the PEM.
    #[error("the owner's private key is not PEM")]
    Key,
    /// They do not belong together.
    #[error("the owner's private key does not belong to the measured certificate")]
    Mismatch,
}
