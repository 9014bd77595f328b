//! `mse-enclave`: the program inside the TEE.
//!
//! It is started by a launcher over a socket, shows evidence of what it is, waits for its
//! secrets, decrypts the owner's code into memory that only the app's sandbox sees, starts the
//! app there and ends the app's TLS. The way of the data, file by file:
//!
//! ```text
//! host (launch socket) → lifecycle → attester, front (TLS, challenge) → provisioning
//!                                  → app (decrypt, sandbox, health)   → front (requests)
//! ```
//!
//! A service has no owner to wait for: [`service`] checks its program, gets everything else
//! released by a CAS, and runs it in the same sandbox.

mod app;
mod app_socket;
mod front;
mod health;
mod lifecycle;
mod output;
mod provisioning;
pub mod sandbox;
mod service;
mod unsealing;

use std::process::ExitCode;

use mse_tee::program::Program;

const PROGRAM: Program = Program {
    name: "mse-enclave",
    version: env!("CARGO_PKG_VERSION"),
    launchers: "mse-server",
};

/// Runs the program that the process's arguments ask for: the enclave, or a stage of its sandbox.
pub fn main() -> ExitCode {
    // The sandbox's stages are this same program and must be single-threaded.
    let given: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if let Some(code) = sandbox::dispatch(given.iter().cloned()) {
        return code;
    }
    mse_tee::program::run(&PROGRAM, given.into_iter(), lifecycle::run)
}
