//! Attested release: what a service must prove, and what it is told then.

pub mod proven;
pub mod ticket;
