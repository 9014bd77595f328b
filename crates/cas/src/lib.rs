//! The configuration and attestation service.

pub mod challenge;
pub mod identity;
pub mod listen;
pub mod release;
pub mod values;
