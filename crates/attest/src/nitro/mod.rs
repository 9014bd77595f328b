//! AWS Nitro: attestation documents of enclaves, and of EC2 instances with a NitroTPM.
//!
//! A document is a COSE_Sign1 message (RFC 9052) that carries its own certificate chain up to
//! AWS's root: nothing has to be fetched to verify it. Its form is specified in AWS's
//! [attestation process](https://github.com/aws/aws-nitro-enclaves-nsm-api/blob/main/docs/attestation_process.md).
//!
//! `docs/verification-nitro.md` lists every check and the bug that it stops.

mod appraise;
mod cbor;
mod chain;
mod claims;
mod document;
mod error;
mod explain;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::{TrustAnchor, anchor::Pki};

pub(crate) use appraise::appraise;
pub use cbor::CborError;
pub use claims::{NitroClaims, Pcr};
pub use document::{Attester, Document, MAX_DOCUMENT_BYTES, Optional, looks_like_document};
pub use error::DocumentError;
pub(crate) use explain::fields;

/// What a policy asks of Nitro documents besides reference values.
///
/// A document is never older than its signer's certificate, which AWS issues for three hours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NitroPolicy {
    /// How old a document may be; without it, as old as its certificates let it be.
    pub(crate) max_age: Option<Duration>,
    /// Which attesters are accepted.
    pub(crate) attesters: AcceptedAttesters,
}

/// Whose documents are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AcceptedAttesters {
    /// Enclaves ([`crate::Tee::Nitro`]) and EC2 instances with a NitroTPM ([`crate::Tee::Tpm`]).
    ///
    /// Anybody can have AWS sign either, with any user data, so what tells a peer from a stranger
    /// is in both cases the PCRs. Those of a NitroTPM have names of their own (`nitrotpm_pcr0`):
    /// no reference value of an enclave fits an instance.
    #[default]
    All,
    /// Enclaves only.
    EnclavesOnly,
}

/// The roots of AWS that are compiled in.
pub(crate) fn hardware_anchors() -> Vec<TrustAnchor> {
    vec![TrustAnchor::hardware(Pki::Nitro, ROOT_G1)]
}

/// `roots/README.md` says where it comes from.
static ROOT_G1: &[u8] = include_bytes!("../roots/aws-nitro-root-g1.der");
