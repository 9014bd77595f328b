//! Appraisal of TEE evidence: Intel SGX and TDX, AMD SEV-SNP, AWS Nitro, virtual TPMs on Azure and
//! elsewhere, and simulated platforms.
//!
//! In the words of [RFC 9334](https://www.rfc-editor.org/rfc/rfc9334): *evidence* (a quote, a
//! report, a document) is appraised with *endorsements* ([`Collateral`]) against *reference
//! values* ([`ReferenceValues`]) under a [`Policy`]. The answer is an [`Appraisal`] or a
//! [`Refusal`], and both list every check: what was compared, with what, and how it came out.
//!
//! The crate does no I/O and reads no clock: the same evidence, collateral, policy and time give
//! the same answer, online or offline. Signatures are verified by `aws-lc-rs`; everything else
//! that decides is here, one folder for each kind of evidence:
//!
//! | evidence | module | endorsed by |
//! | --- | --- | --- |
//! | SGX and TDX quotes, versions 3 to 5 | [`dcap`] | PCK certificate, TCB info, QE identity, CRLs |
//! | SEV-SNP reports, versions 2 to 5 | [`snp`] | VCEK or VLEK, ASK or ASVK, ARK |
//! | AWS Nitro and NitroTPM documents | [`nitro`] | the certificates that they carry |
//! | TPM quotes, Azure's paravisor | [`vtpm`] | the hardware report that binds the TPM's key |
//!
//! # What is trusted
//!
//! [`Policy::strict`] trusts hardware vendors' roots only, which are compiled in. A simulated
//! platform signs evidence of exactly the same form under a root of its own; it passes only with
//! [`Policy::with_simulated`] and the [`TrustAnchor`] of that very platform, and what comes of it
//! says [`Tee::Simulated`]. There is no flag, environment variable or feature that does the same.
//!
//! # Examples
//!
//! ```
//! use std::time::SystemTime;
//!
//! use mse_attest::{appraise, Collateral, Evidence, Policy, Reason, ReferenceValues, Tee, TrustAnchor};
//! use mse_simtee::Platform;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let now = SystemTime::now();
//! // A simulated platform stands in for the hardware.
//! let platform = Platform::create(&dir.path().join("platform"), now)?;
//! let evidence = Evidence::parse(&platform.quote([7; 32], &[9; 64])?)?;
//! let collateral = Collateral::from(platform.collateral(now)?);
//! let expected = ReferenceValues {
//!     mrenclave: Some([7; 32]),
//!     report_data: Some([9; 64]),
//!     ..ReferenceValues::default()
//! };
//!
//! // Nobody accepts it unasked,
//! let refusal = appraise(&evidence, &collateral, &Policy::strict(), &expected, now).unwrap_err();
//! assert_eq!(refusal.reason, Reason::SimulatedEvidence);
//!
//! // only who was given that platform's trust anchor.
//! let anchor = TrustAnchor::from_toml(&platform.trust_anchor().to_toml())?;
//! let policy = Policy::strict().with_simulated(anchor);
//! let appraisal = appraise(&evidence, &collateral, &policy, &expected, now)?;
//! assert_eq!(appraisal.tee, Tee::Simulated);
//! assert_eq!(appraisal.claims.sgx().unwrap().mrenclave, [7; 32]);
//! # Ok(())
//! # }
//! ```
//!
//! An SEV-SNP report needs the certificate of the key that signed it, and nothing else:
//!
//! ```no_run
//! use std::{fs, time::SystemTime};
//!
//! use mse_attest::{appraise, Collateral, Evidence, Policy, ReferenceValues};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let evidence = Evidence::parse(&fs::read("report.bin")?)?;
//! let collateral = Collateral {
//!     certificates: vec![fs::read("vcek.der")?],
//!     ..Collateral::none()
//! };
//! let policy = Policy::strict().require_reference("snp.measurement", fs::read("measurement")?);
//! match appraise(&evidence, &collateral, &policy, &ReferenceValues::default(), SystemTime::now()) {
//!     Ok(appraisal) => println!("{}: {:?}", appraisal.tee, appraisal.claims),
//!     Err(refusal) => println!("refused by {}: {refusal}", refusal.failed),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Bounds
//!
//! Quotes larger than [`dcap::MAX_QUOTE_BYTES`], documents larger than
//! [`nitro::MAX_DOCUMENT_BYTES`] and collateral larger than [`MAX_COLLATERAL_BYTES`] are refused
//! before they are parsed; no input makes this crate panic.

mod anchor;
mod appraisal;
mod appraise;
mod claims;
mod collateral;
pub mod dcap;
mod digest;
pub mod ear;
mod evidence;
mod explain;
pub mod forecast;
mod hex_form;
mod judge;
mod ledger;
mod memory;
pub mod nitro;
mod policy;
mod program;
pub mod snp;
mod verifier;
pub mod vtpm;
mod x509;
mod yaml;

pub use anchor::{Tee, TrustAnchor, TrustAnchorError};
pub use appraisal::{Appraisal, Check, CheckName, Outcome, Reason, Refusal, Tcb};
pub use appraise::appraise;
pub use claims::Claims;
pub use collateral::{Collateral, CollateralError, DcapCollateral, MAX_COLLATERAL_BYTES};
pub use evidence::{Evidence, EvidenceError, EvidenceKind};
pub use explain::{Field, fields};
pub use policy::{
    MAX_POLICY_BYTES, POLICY_EXAMPLE, Policy, PolicyError, ReferenceValues, Statement,
    StatementKind, TcbStatus, UnknownTcbStatus,
};
pub use program::MeasuredProgram;
pub use verifier::Verifier;
