//! How far the service is, and whether it is well, for probes.
//!
//! The launcher keeps the name of the phase in a file, and what the enclave's check of the program
//! found in another; `mse-launch healthz` reads the first, `mse-launch healthz --well` both.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mse_workload::launch::Phase;

use crate::image::Image;

const PHASE: &str = "phase";
const RUNNING: &str = "running";
/// It is there if the session names a check.
const CHECK: &str = "check";
const WELL: &str = "well";

/// Where all that is kept.
pub(crate) struct Health(PathBuf);

impl Health {
    /// Of a service that is launched now: whatever an earlier one left is gone.
    pub(crate) fn begin(image: &Image) -> io::Result<Self> {
        let health = Self(image.run_folder());
        match fs::remove_file(health.0.join(CHECK)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        health.write(PHASE, "launched")?;
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
        if let Err(error) = self.write(PHASE, name) {
            eprintln!("warning: probes do not see the phase `{name}`: {error}");
        }
    }

    /// Tells what the enclave's check found.
    pub(crate) fn tell_check(&self, well: bool) {
        let found = if well { WELL } else { "not-well" };
        if let Err(error) = self.write(CHECK, found) {
            eprintln!("warning: probes do not see whether the service is well: {error}");
        }
    }

    /// A reader sees the old word or the new one.
    fn write(&self, file: &str, word: &str) -> io::Result<()> {
        let next = self.0.join(file).with_extension("next");
        fs::write(&next, word)?;
        fs::rename(next, self.0.join(file))
    }
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether the program runs.
    Runs,
    /// Whether it runs, and is well if its session says how that shows.
    IsWell,
}

/// 0 if it is so, 1 if not.
pub(crate) fn probe(image: &Image, question: Question) -> ExitCode {
    match ask(&image.run_folder(), question) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn ask(folder: &Path, question: Question) -> Result<(), String> {
    let file = folder.join(PHASE);
    match fs::read_to_string(&file) {
        Ok(phase) if phase == RUNNING => {}
        Ok(phase) => {
            return Err(format!("the service does not run: its phase is `{phase}`"));
        }
        Err(error) => {
            return Err(format!(
                "the service was not launched: `{}`: {error}",
                file.display()
            ));
        }
    }
    let file = folder.join(CHECK);
    if question == Question::Runs || !file.exists() {
        return Ok(());
    }
    match fs::read_to_string(&file) {
        Ok(found) if found == WELL => Ok(()),
        Ok(_) => Err("the service runs, and its health check fails".to_owned()),
        Err(error) => Err(format!("`{}`: {error}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_sees_the_phase_and_what_the_check_found() {
        let folder = tempfile::tempdir().unwrap();
        let ask = |question| ask(folder.path(), question);
        assert!(ask(Question::Runs).is_err());
        let health = Health(folder.path().to_owned());
        health.tell(&Phase::Starting);
        assert!(ask(Question::Runs).is_err());
        health.tell(&Phase::Running);
        assert_eq!(ask(Question::Runs), Ok(()));
        assert_eq!(ask(Question::IsWell), Ok(()), "without a check");
        health.tell_check(false);
        assert_eq!(ask(Question::Runs), Ok(()));
        assert!(ask(Question::IsWell).is_err());
        health.tell_check(true);
        assert_eq!(ask(Question::IsWell), Ok(()));
        health.tell(&Phase::Stopped {
            reason: String::new(),
        });
        assert!(ask(Question::IsWell).is_err());
    }
}
