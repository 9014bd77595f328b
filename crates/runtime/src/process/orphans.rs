//! Processes of enclaves that a launcher left behind when it was killed.
//!
//! They end by themselves when their socket closes; this makes sure of it before their folders
//! are taken away and their apps launched again.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills every process that runs a program below `programs` or works in a folder below
/// `instances`, and waits until it is gone.
pub(super) fn end(programs: &Path, instances: &Path) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let orphans = running_below(programs, instances);
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

fn running_below(programs: &Path, instances: &Path) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // Unreadable for processes of others and for zombies, neither of which is meant.
            let program = fs::read_link(entry.path().join("exe")).ok()?;
            let folder = fs::read_link(entry.path().join("cwd")).ok()?;
            let ours = program.starts_with(programs) || folder.starts_with(instances);
            ours.then(|| Pid::from_raw(pid))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_runs_below_the_folders_is_ended_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (programs, instances) = (
            folder.path().join("enclaves"),
            folder.path().join("instances"),
        );
        fs::create_dir(&programs).unwrap();
        fs::create_dir(&instances).unwrap();
        let start = |path: &Path, working_in: &Path| {
            fs::copy("/bin/sleep", path).unwrap();
            Command::new(path)
                .arg("60")
                .current_dir(working_in)
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut orphan = start(&programs.join("mse-enclave"), Path::new("/"));
        let mut interpreter = start(&folder.path().join("python"), &instances);
        let mut other = start(&folder.path().join("mse-enclave"), folder.path());
        let started = Instant::now();
        // Until this process waits for them they are zombies, which are nobody's business.
        end(&programs, &instances);
        assert!(!orphan.wait().unwrap().success());
        assert!(!interpreter.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(started.elapsed() < PATIENCE);
    }
}
