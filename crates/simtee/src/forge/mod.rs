//! A PKI of the DCAP form whose every part can be made wrong.
//!
//! Unlike the [`Platform`](crate::Platform) it keeps nothing on disk and is honest by default
//! only: certificates, CRLs, documents and quotes are plain structures that are signed as they
//! are, by whichever key the caller names.

mod certificate;
mod crl;
pub mod documents;
mod key;
mod quote;
mod sgx_extension;

use std::time::SystemTime;

use mse_attest::DcapCollateral;

pub use certificate::{CertificateForm, Extension, pem};
pub use crl::{CrlEntry, CrlForm};
pub use key::{Key, KeyKind};
pub use quote::{EnclaveBody, QuoteForm, TdBody, TdForm};
pub use sgx_extension::SgxExtension;

use crate::platform::PlatformError;

/// A key and the certificate that names it.
#[derive(Clone, Debug)]
pub struct Party {
    /// The key.
    pub key: Key,
    /// The subject's common name.
    pub name: String,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

impl Party {
    /// A new key of `kind`, certified by `issuer` as `form` says.
    pub fn new(
        kind: KeyKind,
        form: &CertificateForm,
        issuer: &Party,
    ) -> Result<Self, PlatformError> {
        let key = Key::generate(kind)?;
        let certificate = form.issue(&key, issuer)?;
        Ok(Self {
            name: form.subject.clone(),
            key,
            certificate,
        })
    }

    /// A new key that certifies itself.
    pub fn self_signed(kind: KeyKind, form: &CertificateForm) -> Result<Self, PlatformError> {
        let key = Key::generate(kind)?;
        let mut party = Self {
            name: form.subject.clone(),
            key,
            certificate: Vec::new(),
        };
        party.certificate = form.issue(&party.key, &party)?;
        Ok(party)
    }

    /// The same key and name under another certificate.
    pub fn with_certificate(
        &self,
        form: &CertificateForm,
        issuer: &Party,
    ) -> Result<Self, PlatformError> {
        Ok(Self {
            key: self.key.clone(),
            name: form.subject.clone(),
            certificate: form.issue(&self.key, issuer)?,
        })
    }
}

/// Root, CA, signers and attestation key. Every key is P-256 until the caller puts another there.
#[derive(Clone, Debug)]
pub struct Forge {
    /// The root.
    pub root: Party,
    /// The CA that certifies platforms.
    pub pck_ca: Party,
    /// Signer of TCB info and QE identity.
    pub tcb_signer: Party,
    /// The platform's key.
    pub pck: Party,
    /// What signs quotes.
    pub attestation_key: Key,
}

impl Forge {
    /// An honest PKI whose certificates are valid around `now`.
    pub fn new(now: SystemTime) -> Result<Self, PlatformError> {
        let p256 = KeyKind::EcdsaP256;
        let root = Party::self_signed(p256, &CertificateForm::authority("Root CA", 1, now))?;
        let pck_ca = Party::new(
            p256,
            &CertificateForm::authority("PCK Platform CA", 0, now),
            &root,
        )?;
        let tcb_signer = Party::new(p256, &CertificateForm::signer("TCB Signing", now), &root)?;
        let pck = Party::new(
            p256,
            &CertificateForm::pck(&SgxExtension::default(), now),
            &pck_ca,
        )?;
        Ok(Self {
            root,
            pck_ca,
            tcb_signer,
            pck,
            attestation_key: Key::generate(p256)?,
        })
    }

    /// PEM chain of PCK, CA and root.
    pub fn pck_chain(&self) -> String {
        pem([
            &self.pck.certificate,
            &self.pck_ca.certificate,
            &self.root.certificate,
        ])
    }

    /// PEM chain of the documents' signer and root.
    pub fn signer_chain(&self) -> String {
        pem([&self.tcb_signer.certificate, &self.root.certificate])
    }

    /// Collateral with these two documents, signed, and CRLs that revoke nothing.
    pub fn collateral(
        &self,
        tcb_info: &str,
        qe_identity: &str,
        now: SystemTime,
    ) -> Result<DcapCollateral, PlatformError> {
        let crl = CrlForm::empty(now);
        Ok(DcapCollateral {
            pck_crl_issuer_chain: pem([&self.pck_ca.certificate, &self.root.certificate]),
            root_ca_crl: crl.issue(&self.root)?,
            pck_crl: crl.issue(&self.pck_ca)?,
            tcb_info_issuer_chain: self.signer_chain(),
            tcb_info: tcb_info.to_owned(),
            tcb_info_signature: self.tcb_signer.key.sign_fixed(tcb_info.as_bytes())?,
            qe_identity_issuer_chain: self.signer_chain(),
            qe_identity: qe_identity.to_owned(),
            qe_identity_signature: self.tcb_signer.key.sign_fixed(qe_identity.as_bytes())?,
            pck_certificate_chain: None,
        })
    }
}
