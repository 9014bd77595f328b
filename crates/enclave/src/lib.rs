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
mod arguments;
mod front;
mod health;
mod lifecycle;
mod output;
mod provisioning;
pub mod sandbox;
mod service;

use std::path::Path;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::arguments::Command;
use mse_tee::attester::{self, Wish};

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
    let attester =
        std::env::var_os(arguments::ATTESTER).map(|name| name.to_string_lossy().into_owned());
    let command = match arguments::parse(given.into_iter(), attester) {
        Ok(Command::Version) => {
            println!("mse-enclave {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Ok(command) => command,
        Err(error) => {
            eprintln!(
                "error: {error}\nhint: mse-server launches `mse-enclave [--attester \
                 auto|simulated|tsm|gramine] [--vmpl LEVEL]` with a socket as standard input; by \
                 hand, `mse-enclave attest [--root DIR]` shows which attester works here"
            );
            return ExitCode::from(2);
        }
    };
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
    let code = match command {
        Command::Run(wish) => runtime.block_on(lifecycle::run(wish)),
        Command::Attest { root, wish } => runtime.block_on(attest(&root, wish)),
        Command::Version => ExitCode::SUCCESS,
    };
    // What may still hang, a stuck read of the bundle, must not keep the enclave alive.
    runtime.shutdown_background();
    code
}

/// Prints what the attester gives for a self-check.
async fn attest(root: &Path, wish: Wish) -> ExitCode {
    let printed = attester::self_check(root, wish)
        .await
        .map_err(|error| error.to_string())
        .and_then(|found| serde_json::to_string_pretty(&found).map_err(|error| error.to_string()));
    match printed {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
