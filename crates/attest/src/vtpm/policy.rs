//! Which attestation keys are trusted without hardware behind them.

use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject};
use thiserror::Error;

use super::key::{AttestationKey, KeyError};
use crate::{Policy, TrustAnchor, TrustAnchorError, anchor::Pki, x509::Certificate};

/// What a policy asks of vTPMs besides reference values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VtpmPolicy {
    /// Attestation keys that are trusted as such: SHA-256 of their SubjectPublicKeyInfo.
    pub pinned_aks: Vec<[u8; 32]>,
}

impl Policy {
    /// Also accepts quotes of the TPM whose attestation key has this fingerprint: SHA-256 of the
    /// SubjectPublicKeyInfo, as [`ak_fingerprint`] computes it.
    ///
    /// What such a quote proves is what that TPM was told, no more: see [`crate::Tee::Tpm`].
    #[must_use]
    pub fn trust_tpm_ak(mut self, fingerprint: [u8; 32]) -> Self {
        self.vtpm.pinned_aks.push(fingerprint);
        self
    }

    /// Also accepts quotes of TPMs whose attestation key has a certificate under this root, a
    /// self-signed CA certificate (DER) with an RSA key, in a chain signed with
    /// RSASSA-PKCS1-v1_5 and SHA-256.
    pub fn trust_tpm_root(mut self, root_der: &[u8]) -> Result<Self, TrustAnchorError> {
        self.anchors.push(TrustAnchor::tpm(root_der)?);
        Ok(self)
    }
}

/// The fingerprint of an attestation key that is given as a certificate or as a public key
/// (SubjectPublicKeyInfo), in PEM or DER. Of several PEM certificates the first one counts.
///
/// The certificate is a container here: who pins a key has looked at it by other means.
pub fn ak_fingerprint(key: &[u8]) -> Result<[u8; 32], AkFingerprintError> {
    let is_pem = key.trim_ascii_start().starts_with(b"-----BEGIN");
    let of_certificate = |der: &[u8]| {
        Certificate::parse(der)
            .ok()
            .map(|certificate| certificate.spki().to_vec())
    };
    let spki = if is_pem {
        CertificateDer::from_pem_slice(key)
            .ok()
            .and_then(|der| of_certificate(&der))
            .or_else(|| {
                let spki = SubjectPublicKeyInfoDer::from_pem_slice(key).ok()?;
                Some(spki.to_vec())
            })
    } else {
        of_certificate(key).or_else(|| Some(key.to_vec()))
    };
    let spki = spki.ok_or(AkFingerprintError::NotAKey)?;
    let key = AttestationKey::from_spki(&spki).map_err(AkFingerprintError::Key)?;
    Ok(key.fingerprint())
}

/// Why bytes give no fingerprint.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AkFingerprintError {
    /// Neither a certificate nor a public key.
    #[error(
        "this is neither a certificate nor a public key; give the TPM's attestation key in PEM or DER"
    )]
    NotAKey,
    /// A key that cannot be one of a TPM.
    #[error("this public key cannot be an attestation key: {0}")]
    Key(#[source] KeyError),
}

/// The roots of vTPMs that are compiled in: Google Cloud's.
pub(crate) fn hardware_anchors() -> Vec<TrustAnchor> {
    vec![TrustAnchor::hardware(Pki::Tpm, GOOGLE_EK_AK_ROOT)]
}

/// `roots/README.md` says where it comes from.
pub(super) static GOOGLE_EK_AK_ROOT: &[u8] = include_bytes!("../roots/google-ek-ak-root.der");
