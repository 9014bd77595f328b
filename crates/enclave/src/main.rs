//! `mse-enclave`: the program inside the TEE. See the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    mse_enclave::main()
}
