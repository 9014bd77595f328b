//! The configuration and attestation service (CAS).
//!
//! | module | what |
//! | --- | --- |
//! | [`keys`] | the root key, what is derived from it, and how it is wrapped and recovered |
//! | [`store`] | sealed, crash-safe, rollback-evident storage on SQLite or PostgreSQL |

pub mod keys;
pub mod store;
