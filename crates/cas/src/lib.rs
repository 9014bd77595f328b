//! The configuration and attestation service.
