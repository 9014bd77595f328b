//! Deploying: from an `mse.toml` to a running, verified app.
//!
//! 1. [`plan`]: everything that can be checked on this machine.
//! 2. [`reservation`]: what the platform must have; nothing is changed there yet.
//! 3. [`deployment`]: encrypt, replace, upload, verify, provision; each step with its undo.
//! 4. [`agreement`]: the workload, from our own inputs and what the platform may choose.

mod agreement;
mod deployment;
mod plan;
mod reservation;
mod stopping;

pub(crate) use deployment::{Deployment, Options, Outcome, Verify};
pub(crate) use plan::Plan;
pub(crate) use reservation::Reservation;
pub(crate) use stopping::stop_and_wait;
