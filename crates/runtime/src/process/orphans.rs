//! Processes of enclaves that a launcher left behind when it was killed.
//!
//! They end by themselves when their socket closes; this makes sure of it before their folders
//! are taken away and their apps launched again.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills every process that runs a program below `programs`, and waits until it is gone.
pub(super) fn end(programs: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let orphans = running_below(programs);
        if orphans.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in orphans {
            tracing::warn!(%pid, "ending an enclave that an earlier run left behind");
            // It may have ended just now.
            let _ = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A process in an uninterruptible call may take its time; the start of the server may not.
const PATIENCE: Duration = Duration::from_secs(5);

fn running_below(programs: &Path) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // Unreadable for processes of others and for zombies, neither of which is meant.
            let program = fs::read_link(entry.path().join("exe")).ok()?;
            program.starts_with(programs).then(|| Pid::from_raw(pid))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_runs_below_the_folder_is_ended_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("enclaves");
        fs::create_dir(&below).unwrap();
        let start = |path: &Path| {
            fs::copy("/bin/sleep", path).unwrap();
            Command::new(path)
                .arg("60")
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut orphan = start(&below.join("mse-enclave"));
        let mut other = start(&folder.path().join("mse-enclave"));
        let started = Instant::now();
        end(&below);
        assert!(!orphan.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(started.elapsed() < PATIENCE);
    }
}
