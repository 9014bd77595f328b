//! The network shield: a program speaks plain TCP to its own loopback, and on the network there is
//! only TLS, mutual where the policy says so.
//!
//! ```text
//!             network of the host            │ network of the program: loopback only
//!                                            │
//!  peer ──TLS──▶ [server rule] port 6379 ────┼──▶ 127.0.0.1:6379   program
//!  peer ◀──TLS── [client rule] ◀─────────────┼─── 127.77.0.1:5432  program (`db` in /etc/hosts)
//! ```
//!
//! - [`policy`]: what a session says, as variables, read into a [`Policy`]; one error per fault.
//! - [`material`]: keys and certificates, from the variables or from released files.
//! - [`Shield`]: the running shield. [`Shield::renew`] takes new keys for new connections.
//! - [`Inside`]: how it reaches the program, which this crate does not decide.
//!
//! A policy without TLS is none: what a rule leaves unprotected is said in the log, by its name.

mod buffers;
mod client;
mod complaints;
mod counters;
mod engine;
mod layout;
pub mod material;
mod names;
pub mod policy;
mod relay;
mod server;
mod sessions;

pub use engine::{Inside, Listeners, RenewError, Renewed, Shield, StartError};
pub use layout::Layout;
pub use policy::{Policy, PolicyError};
