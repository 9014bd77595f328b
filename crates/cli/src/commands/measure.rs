//! `mse measure`

mod event_log;
mod snp;
mod tdx;
mod workload;

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use clap::{Args, Subcommand};
use mse_measure::firmware::MAX_FIRMWARE;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;

/// Compute reference values yourself
///
/// Evidence says what was measured. Here you compute what must have been measured, from the same
/// files that a guest boots and from the code that an app runs: no published value, nobody's
/// word.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse measure snp --ovmf OVMF.fd --vcpus 4 --cpu EPYC-Milan --kernel vmlinuz --initrd initrd.img --append 'console=ttyS0'
  mse measure tdx --firmware OVMF.fd
  mse measure event-log CCEL --events
  mse measure workload --context context.mse --code mse_src")]
pub(crate) struct Measure {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Snp(snp::Snp),
    Tdx(tdx::Tdx),
    EventLog(event_log::Log),
    Workload(workload::WorkloadDigest),
}

impl Measure {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.what {
            What::Snp(command) => command.run(scene),
            What::Tdx(command) => command.run(scene),
            What::EventLog(command) => command.run(scene),
            What::Workload(command) => command.run(scene),
        }
    }
}

/// Opens a file that `option` names.
fn open(option: &str, path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| unreadable(option, path, &error))
}

/// Reads the file that `option` names; of a file of more than `limit` bytes one more, which the
/// library then refuses.
fn read(option: &str, path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    open(option, path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(option, path, &error))?;
    Ok(bytes)
}

fn read_firmware(option: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    read(option, path, MAX_FIRMWARE)
}

fn unreadable(option: &str, path: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Other,
    };
    Failure::new(
        exit,
        format!("`{option} {}` cannot be read: {error}", path.display()),
    )
    .with_hint("name a file that is on this machine")
}

/// A file that cannot be measured. The library's message ends with what to do about it.
fn unmeasurable(error: &dyn Error) -> Failure {
    let message = error.to_string();
    match message.split_once(": ") {
        Some((what, remedy)) if !remedy.contains(": ") => {
            Failure::new(Exit::InvalidConfiguration, what).with_hint(remedy)
        }
        _ => Failure::new(Exit::InvalidConfiguration, message),
    }
}
