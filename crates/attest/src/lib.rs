//! Appraisal of TEE evidence.
//!
//! In the words of [RFC 9334](https://www.rfc-editor.org/rfc/rfc9334): *evidence* (a quote) is
//! appraised with *endorsements* (here: [`Collateral`]) against *reference values*
//! ([`ReferenceValues`]) under a [`Policy`]. The answer is an [`Appraisal`] or a [`Refusal`], and
//! both list every check: what was compared, with what, and how it came out.
//!
//! The crate does no I/O and reads no clock: the same evidence, collateral, policy and time give
//! the same answer, online or offline. `dcap-qvl` verifies the signature chain on `aws-lc-rs`;
//! what it leaves open is checked here ([`appraise`] has the list).
//!
//! # What is trusted
//!
//! [`Policy::strict`] trusts hardware vendors' roots only, which are compiled in. A simulated
//! platform signs evidence of exactly the same form under a root of its own; it passes only with
//! [`Policy::with_simulated`] and the [`TrustAnchor`] of that very platform, and what comes of it
//! says [`Tee::Simulated`]. There is no flag, environment variable or feature that does the same.
//!
//! # Example
//!
//! ```
//! use std::time::SystemTime;
//!
//! use mse_attest::{appraise, Evidence, Policy, Reason, ReferenceValues, Tee, TrustAnchor};
//! use mse_simtee::Platform;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let now = SystemTime::now();
//! // A simulated platform stands in for the hardware.
//! let platform = Platform::create(&dir.path().join("platform"), now)?;
//! let evidence = Evidence::parse(&platform.quote([7; 32], &[9; 64])?)?;
//! let collateral = platform.collateral(now)?;
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
//! assert_eq!(appraisal.claims.mrenclave, [7; 32]);
//! # Ok(())
//! # }
//! ```
//!
//! # Bounds
//!
//! A quote larger than [`MAX_QUOTE_BYTES`] and collateral larger than [`MAX_COLLATERAL_BYTES`]
//! are refused before they are parsed; no input makes this crate panic.

mod anchor;
mod appraisal;
mod appraise;
mod claims;
mod collateral;
pub mod dcap;
mod digest;
mod evidence;
mod explain;
pub mod forecast;
mod hex_form;
mod judge;
mod ledger;
mod memory;
pub mod nitro;
mod policy;
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
pub use verifier::Verifier;
