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

mod app;
mod app_socket;
mod attester;
mod front;
mod health;
mod host;
mod lifecycle;
mod provisioning;
pub mod sandbox;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

/// Runs the program that the process's arguments ask for: the enclave, or a stage of its sandbox.
pub fn main() -> ExitCode {
    // The sandbox's stages are this same program and must be single-threaded.
    if let Some(code) = sandbox::dispatch(std::env::args().skip(1)) {
        return code;
    }
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--version") => {
            println!("mse-enclave {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(argument) => {
            eprintln!(
                "error: unexpected argument `{argument}`\nhint: mse-enclave takes no arguments; \
                 mse-server launches it with a socket as standard input"
            );
            return ExitCode::from(2);
        }
    }
    // A crash must not write the enclave's memory, keys and all, to the host's disk.
    if let Err(error) =
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)
    {
        eprintln!("error: core dumps cannot be turned off: {error}");
        return ExitCode::FAILURE;
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the enclave cannot start its threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(lifecycle::run());
    // What may still hang, a stuck read of the bundle, must not keep the enclave alive.
    runtime.shutdown_background();
    code
}
