//! `mse-cas`: the configuration and attestation service. See the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    mse_cas::program::main()
}
