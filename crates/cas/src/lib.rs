//! The configuration and attestation service (CAS).
//!
//! It is being built: `docs/cas.md` says what stands.
//!
//! | module | what |
//! | --- | --- |
//! | [`keys`] | the root key, what is derived from it, and how it is wrapped and recovered |
//! | [`store`] | sealed, crash-safe, rollback-evident storage on SQLite or PostgreSQL |
//! | [`api`] | what clients ask over HTTP |
//! | [`audit_log`] | what happened, as a Merkle log that is kept by the store |
//! | [`identity`] | the key that services and clients pin, and TLS certificates under it |
//! | [`sources`] | values that a session keeps outside: key-value stores, PKCS#11 |
//! | [`values`] | the values of a session's secrets |
//! | [`sessions`] | who may store which session, what its secrets are, and who agreed |
//! | [`listen`] | connections, bounded in number and time |
//! | [`challenge`] | nonces that the CAS keeps nothing of |
//! | [`program`] | the program `mse-cas`: launched, created or opened, attested, listening |
//! | [`release`] | what a service must prove, and what it is told then |

pub mod api;
pub mod audit_log;
pub mod challenge;
pub mod identity;
pub mod keys;
pub mod listen;
pub mod program;
pub mod release;
pub mod sessions;
pub mod sources;
pub mod store;
pub mod values;
