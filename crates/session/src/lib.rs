//! The session language: what a service may be told, and what it must prove first.

mod base58;
mod canonical;
mod check;
mod diagnostic;
mod encrypted;
mod model;
mod read;
mod reference;
mod signed;
mod template;
mod variables;
mod yaml;

pub use crate::check::{Compatibility, Faults, Outcome, check_text};
pub use crate::diagnostic::{Code, Diagnostic, Severity};
pub use crate::encrypted::{EncryptedSession, EncryptedSessionError};
pub use crate::model::*;
pub use crate::reference::{Escape, Reference, Target};
pub use crate::signed::{SignedSession, SignedSessionError, VerifiedSession};
pub use crate::template::{HostArguments, InvalidReference, Parsed, Piece, RenderError, Template};
pub use crate::variables::Variables;
pub use crate::yaml::MAX_BYTES;
