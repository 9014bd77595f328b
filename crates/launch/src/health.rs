//! How far the service is, for probes.
//!
//! The launcher keeps the name of the phase in a file; `mse-launch healthz` reads it. It says
//! nothing about what the program itself answers.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use mse_workload::launch::Phase;

use crate::image::Image;

const FILE: &str = "phase";
const RUNNING: &str = "running";

/// Where the phase is kept.
pub(crate) struct Health(PathBuf);

impl Health {
    /// Of a service that is launched now: whatever an earlier one left is gone.
    pub(crate) fn begin(image: &Image) -> io::Result<Self> {
        let health = Self(image.run_folder().join(FILE));
        health.write("launched")?;
        Ok(health)
    }

    /// Tells what the enclave told.
    pub(crate) fn tell(&self, phase: &Phase) {
        let name = match phase {
            Phase::AwaitingProvisioning => "awaiting-provisioning",
            Phase::Starting => "starting",
            Phase::Running => RUNNING,
            Phase::Failed { .. } => "failed",
            Phase::Stopped { .. } => "stopped",
        };
        if let Err(error) = self.write(name) {
            eprintln!("warning: probes do not see the phase `{name}`: {error}");
        }
    }

    /// A reader sees the old name or the new one.
    fn write(&self, name: &str) -> io::Result<()> {
        let next = self.0.with_extension("next");
        fs::write(&next, name)?;
        fs::rename(next, &self.0)
    }
}

/// 0 if the service runs, 1 if not.
pub(crate) fn probe(image: &Image) -> ExitCode {
    let path = image.run_folder().join(FILE);
    match fs::read_to_string(&path) {
        Ok(phase) if phase == RUNNING => ExitCode::SUCCESS,
        Ok(phase) => {
            eprintln!("the service does not run: its phase is `{phase}`");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!(
                "the service was not launched: `{}`: {error}",
                path.display()
            );
            ExitCode::FAILURE
        }
    }
}
