//! The session language: what a service may be told, and what it must prove first.
//!
//! A *session* is a policy of the CAS, written in YAML. This crate reads it, says everything that
//! is wrong with it, and gives it a canonical form, a hash, signatures and an envelope. It does no
//! I/O, looks at no clock, and knows no other session: what needs those is the CAS's.
//!
//! ```
//! use mse_session::{Code, Compatibility, Variables, check_text};
//!
//! let text = "
//! name: shop/api
//! version: 0.3.12
//! salt: 000102030405060708090a0b0c0d0e0f
//! services:
//! - name: api
//!   command: serve --user $API_USER --password $$SCONE::password$$
//!   pwd: /
//!   attestation:
//!     workload: 0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0
//! secrets:
//! - {name: password, kind: ascii, size: 32}
//! ";
//! let variables = Variables::new().with("API_USER", "me");
//! let outcome = check_text(text, &variables, Compatibility::Strict);
//! let session = outcome.session.expect("it has no fault");
//! assert_eq!(session.services[0].name.as_str(), "api");
//!
//! let outcome = check_text(&text.replace("pwd", "pdw"), &variables, Compatibility::Strict);
//! let fault = outcome.errors().next().expect("it has one");
//! assert_eq!((fault.code, fault.line), (Code::UnknownKey, Some(8)));
//! assert_eq!(fault.help.as_deref(), Some("did you mean `pwd`?"));
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | [`check`] | the way in: [`check_text`], and the sections that config-fragments hold |
//! | [`read`] | from nodes to the model, one file for each section |
//! | [`model`] | what a session says: values that cannot be ill-formed |
//! | [`mod@reference`], [`template`] | `$$SCONE::name:format$$` in texts |
//! | [`canonical`] | canonical form and hash |
//! | [`signed`], [`encrypted`] | what travels through git and Kubernetes |
//!
//! What is not special about sessions is in `mse_yaml`: the part of YAML that is read, places,
//! variables, diagnostics.
//!
//! The language is described in `docs/session.md`, and what of SCONE's it has in
//! `docs/compatibility.md`.

mod base58;
mod canonical;
mod check;
mod encrypted;
mod model;
mod read;
mod reference;
mod signed;
mod template;

pub use mse_yaml::{Code, Diagnostic, Faults, MAX_BYTES, Severity, Variables};

pub use crate::check::{Compatibility, Outcome, check_text};
pub use crate::encrypted::{EncryptedSession, EncryptedSessionError};
pub use crate::model::*;
pub use crate::reference::{Edition, Escape, Reference, Target, help_with_formats};
pub use crate::signed::{SignedSession, SignedSessionError, VerifiedSession};
pub use crate::template::{HostArguments, InvalidReference, Parsed, Piece, RenderError, Template};
