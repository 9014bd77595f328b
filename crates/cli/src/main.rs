//! `mse`: for owners and users of attested services.
//!
//! | module | what |
//! | --- | --- |
//! | [`cli`] | the command line: global options, the list of commands |
//! | [`commands`] | one file per command |
//! | [`deploy`] | the stages of a deploy, each with its undo |
//! | [`verification`] | what an enclave must be, and whether it is |
//! | [`proxy`] | a local port that verifies before it forwards |
//! | [`context`] | what an owner keeps of a deployment |
//! | [`api`] | the platform's REST API |
//! | [`ui`], [`failure`], [`exit`] | what people and programs get to see |
//!
//! Results go to standard output, progress and errors to standard error; see [`exit`] for the
//! exit codes.

mod api;
mod app_name;
mod cas;
mod cli;
mod commands;
mod conf_dir;
mod context;
mod deploy;
mod exit;
mod failure;
mod findings;
mod following;
mod interrupt;
mod localapp;
mod mesh;
mod moment;
mod policy_file;
mod private_file;
mod project_tests;
mod proxy;
mod reference;
mod server_url;
mod session;
mod text_input;
mod trust;
mod ui;
mod verification;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    // `mse service run` and `mse cas run` start enclaves through this very program.
    if let Some(code) = mse_runtime::process::guard::intercept() {
        return code;
    }
    // Several crates speak TLS here, all with this provider. An error means that it is installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    start_tracing();
    let (ui, invocation) = match cli::parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failure::Failure::other(format!("no runtime can be started: {error}")))
        .and_then(|runtime| {
            let outcome = runtime.block_on(invocation.run(&ui));
            // An interrupted command may have left a thread that still encrypts.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.failure(&failure);
            failure.exit().into()
        }
    }
}

/// `MSE_LOG=debug` shows what the libraries do, on standard error.
fn start_tracing() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("MSE_LOG") {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
}
