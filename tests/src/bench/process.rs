//! Process trees: how much memory they take, and that none is left behind.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::{Child, Command};

use anyhow::Context;

/// A process that is killed when it is no longer needed.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("`{}` does not start", command.get_program().display()))?;
        Ok(Self(child))
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<std::process::ExitStatus>> {
        self.0.try_wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The proportional set size, in bytes, of the process `root` and all its descendants: shared
/// pages count for each process in the part it has of them, so nothing counts twice.
pub(super) fn proportional_set_size(root: u32) -> anyhow::Result<u64> {
    let children = children()?;
    let mut sum = 0;
    let mut left = vec![root];
    while let Some(pid) = left.pop() {
        left.extend(children.get(&pid).into_iter().flatten());
        let path = format!("/proc/{pid}/smaps_rollup");
        let rollup = fs::read_to_string(&path)
            .with_context(|| format!("`{path}` cannot be read: run the benchmark as root"))?;
        sum += kibibytes(&rollup, "Pss:").with_context(|| format!("`{path}` has no `Pss`"))? * 1024;
    }
    Ok(sum)
}

/// The most memory that this process ever had resident, in bytes. (`getrusage` would count
/// whoever started it as well.)
pub(super) fn own_peak_rss() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = kibibytes(&status, "VmHWM:").context("`/proc/self/status` has no `VmHWM`")?;
    Ok(peak * 1024)
}

fn kibibytes(text: &str, field: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(field))?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()
}

/// All processes by their parent.
fn children() -> io::Result<BTreeMap<u32, Vec<u32>>> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // It may be gone by now.
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
            continue;
        };
        let parent = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:"))
            .and_then(|parent| parent.trim().parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_counts_for_its_parent() {
        let own = std::process::id();
        let mut sleeper = Running::start(Command::new("sleep").arg("60")).unwrap();
        assert!(children().unwrap()[&own].contains(&sleeper.pid()));
        assert!(
            proportional_set_size(own).unwrap() > proportional_set_size(sleeper.pid()).unwrap()
        );
        assert!(sleeper.ended().unwrap().is_none());
        assert!(own_peak_rss().unwrap() > 1024 * 1024);
    }
}
