//! The configuration and attestation service.

pub mod challenge;
