//! Attested release: what a service must prove, and what it is told then.

pub mod asked;
pub mod attestation;
pub mod configuration;
pub mod desk;
pub mod endpoint;
pub mod mounting;
pub mod proven;
pub mod ticket;
pub mod volumes;
