//! The simulated platform: what stands in for SGX hardware on a machine that has none.
//!
//! A [`Platform`] is run by whoever launches enclaves. It measures what it launches
//! ([`Platform::measure`]), signs quotes of the DCAP form ([`Platform::quote`]) under a PKI of its
//! own, and issues the collateral to appraise them with ([`Platform::collateral`]), also in the
//! form of a PCCS ([`pccs`]). `mse-attest` appraises all of it by the very code that appraises
//! real SGX evidence, with another root.
//!
//! **It protects nothing.** Whoever holds the platform's directory can sign any claim. Every
//! certificate says `MSE SIMULATED`, and a verifier accepts the evidence only if it was given
//! this platform's [trust anchor](Platform::trust_anchor) on purpose.
//!
//! What differs from real SGX, by necessity:
//!
//! - MRENCLAVE is a digest of the enclave program and the workload, not of memory pages.
//! - MRSIGNER is the digest of a genuine RSA-3072 modulus, but the key has exponent 65537 instead
//!   of 3 (aws-lc-rs generates no other), and nothing is signed with it: there is no SIGSTRUCT.
//! - The QE vendor id in the header is Intel's, because the form of a version 3 quote demands it.

mod authority;
mod collateral;
mod der;
mod forge;
mod pck;
mod platform;
mod quote;
mod state;

pub mod pccs;

pub use platform::{FMSPC, Platform, PlatformError};
pub use state::StateError;

/// What no honest platform signs: for tests of verifiers.
///
/// The options make a [`Platform`] sign a lie in one place; a [`Forge`](testing::Forge) is a PKI
/// all of whose certificates, lists, documents and quotes are written byte by byte.
pub mod testing {
    pub use crate::{
        collateral::{CollateralOptions, Revoked},
        forge::{
            CertificateForm, CrlEntry, CrlForm, EnclaveBody, Extension, Forge, Key, KeyKind, Party,
            QuoteForm, SgxExtension, TdBody, TdForm, documents, pem,
        },
        quote::{QuoteOptions, QuotingEnclave},
    };
}
