//! `mse-launch`: the entry point of a service's container.
//!
//! ```text
//! engine ─ environment ─▶ mse-launch ─ workload, launch socket ─▶ mse-enclave ─▶ program (sandbox)
//!                           │  /mse/image.json                       the image's root file system
//!                           └─ phase, health ─▶ /mse/run ─▶ mse-launch healthz
//! ```
//!
//! It does in a container what `mse service run` does on a machine, with the same runtime. It is
//! the host's and not trusted: whatever it says wrongly gives another measurement, to which no CAS
//! releases. `docs/services.md` is the operator's page.
//!
//! | module | what |
//! | --- | --- |
//! | [`app`] | not a service but an app that its owner provisions, in a pod |
//! | [`environment`] | the variables that a container is given, read strictly |
//! | [`image`] | what the image says about itself, and where things lie in it |
//! | [`tee`] | which TEE there is |
//! | [`run`] | the service from its start to its end |
//! | [`health`] | how far it is, for probes |
//! | [`init`] | the first process of the container |

mod app;
mod environment;
mod health;
mod image;
mod init;
mod run;
mod tee;

use std::process::ExitCode;

use mse_runtime::process::guard;

use self::environment::Environment;
use self::health::Question;
use self::image::Image;

/// Variables or files that are wrong, as for the checks of the enclave.
const UNUSABLE: u8 = 64;
/// Arguments that are wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    if let Some(code) = guard::intercept() {
        return code;
    }
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let image = Image::of_container();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] if init::is_first() => init::accompany(init::SERVICE),
        [app::APP] if init::is_first() => init::accompany(app::APP),
        [app::APP] => {
            init::unblock_signals();
            app::run(&image, std::env::vars_os()).unwrap_or_else(|error| unusable(&error))
        }
        [] => launch(&image),
        [init::SERVICE] => {
            init::unblock_signals();
            launch(&image)
        }
        ["healthz"] => health::probe(&image, Question::Runs),
        ["healthz", "--well"] => health::probe(&image, Question::IsWell),
        ["--version"] => {
            println!("mse-launch {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!(
                "error: unexpected arguments `{}`\nhint: without any, it launches the service that its environment names, and as `mse-launch app` an app of mse-server's Kubernetes runtime; `mse-launch healthz` says by its exit code whether the service runs, `mse-launch healthz --well` whether it is well",
                arguments.join(" ")
            );
            ExitCode::from(USAGE)
        }
    }
}

fn launch(image: &Image) -> ExitCode {
    let environment = match Environment::read(std::env::vars_os()) {
        Ok(environment) => environment,
        Err(error) => return unusable(&error),
    };
    match run::service(image, environment) {
        Ok(code) => code,
        Err(error) => unusable(&error),
    }
}

fn unusable(error: &impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(UNUSABLE)
}
