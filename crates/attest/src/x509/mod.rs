//! X.509 as the vendors of TEEs use it: short chains of known length under a pinned root.
//!
//! A general path builder answers another question ("is there some way to a root?"). Here every
//! certificate has its place, so each is held to it: RFC 5280 for names, validity, basic
//! constraints, key usage and critical extensions, and one algorithm for a whole chain, so that
//! no certificate chooses how it is verified.

mod certificate;
mod chain;
mod crl;
pub(crate) mod der;

pub(crate) use certificate::{Algorithm, Certificate};
pub(crate) use chain::{Leaf, PemChain, Validity, check_chain, verify_chain};
pub(crate) use crl::Crl;

/// What is wrong with a certificate, a chain or a CRL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum X509Error {
    /// Not the DER or PEM that it should be.
    #[error("{0}")]
    Malformed(String),
    /// A signature, a name or a constraint does not hold.
    #[error("{0}")]
    Forged(String),
    /// Outside of the time in which it is valid.
    #[error("{0}")]
    Stale(String),
}
