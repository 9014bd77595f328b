//! What programs inside a TEE have in common before they do anything: their arguments, no core
//! dumps, a log without secrets on standard error, threads, and the self-check of the attester.

mod arguments;

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

use self::arguments::Command;
use crate::attester::{self, Wish};

/// A program that a launcher starts inside a TEE.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Who launches it, for people who start it by hand.
    pub launchers: &'static str,
}

/// Lets the process have as many files and connections open as it may; gives how many that are.
/// Shells commonly start with 1,024, of which a server of many connections would run out.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}

/// Does what the arguments `given` (without the program's name) ask for: by default, and then with
/// a launcher at the other end of standard input, `live`, which is told which attester to take.
pub fn run<Life: Future<Output = ExitCode>>(
    program: &Program,
    given: impl Iterator<Item = String>,
    live: impl FnOnce(Wish) -> Life,
) -> ExitCode {
    let Program {
        name,
        version,
        launchers,
    } = program;
    let chosen =
        std::env::var_os(arguments::ATTESTER).map(|name| name.to_string_lossy().into_owned());
    let command = match arguments::parse(given, chosen) {
        Ok(Command::Version) => {
            println!("{name} {version}");
            return ExitCode::SUCCESS;
        }
        Ok(command) => command,
        Err(error) => {
            eprintln!(
                "error: {error}\nhint: {launchers} launches `{name} [--attester \
                 auto|simulated|tsm|gramine] [--vmpl LEVEL]` with a socket as standard input; by \
                 hand, `{name} attest [--root DIR]` shows which attester works here"
            );
            return ExitCode::from(2);
        }
    };
    // A crash must not write the enclave's memory, keys and all, to the host's disk.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
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
        Command::Run(wish) => runtime.block_on(live(wish)),
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
