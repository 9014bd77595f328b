//! Process trees: how much memory they take, and that none is left behind.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::{Child, Command};

use anyhow::Context;
use nix::unistd::{SysconfVar, sysconf};

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
    let mut sum = 0;
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/smaps_rollup");
        let rollup = match fs::read_to_string(&path) {
            // A descendant that has ended meanwhile has no memory.
            Err(error) if pid != root && is_gone(&error) => continue,
            rollup => rollup
                .with_context(|| format!("`{path}` cannot be read: run the benchmark as root"))?,
        };
        sum += kibibytes(&rollup, "Pss:").with_context(|| format!("`{path}` has no `Pss`"))? * 1024;
    }
    Ok(sum)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32)
}

/// The seconds that the process `root` and all its descendants have spent on all cores. What has
/// ended meanwhile is not counted, so use it on servers whose processes stay.
#[allow(clippy::cast_precision_loss)] // ticks of a hundredth of a second are few
pub(super) fn cpu_seconds(root: u32) -> anyhow::Result<f64> {
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the system has no clock tick")?;
    let mut ticks = 0;
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("`{path}` cannot be read"))?;
        // The name in brackets may hold anything; user and system time are 12 and 13 fields after.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' '));
        let times: Vec<u64> = fields
            .into_iter()
            .flatten()
            .skip(11)
            .take(2)
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("`{path}` has no processor time"))?;
        ticks += times.iter().sum::<u64>();
    }
    Ok(ticks as f64 / per_second as f64)
}

/// The resident set size, in bytes, of the process `root` and all its descendants.
pub(super) fn resident(root: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for pid in tree(root)? {
        let path = format!("/proc/{pid}/status");
        let status = match fs::read_to_string(&path) {
            Err(error) if pid != root && is_gone(&error) => continue,
            status => status.with_context(|| format!("`{path}` cannot be read"))?,
        };
        sum += kibibytes(&status, "VmRSS:").unwrap_or(0) * 1024;
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

/// The process `root` and all its descendants.
fn tree(root: u32) -> io::Result<Vec<u32>> {
    let children = children()?;
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children.get(&pid).into_iter().flatten());
        next += 1;
    }
    Ok(found)
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

    #[test]
    fn a_busy_child_spends_time() {
        let busy = Running::start(Command::new("sh").args(["-c", "while :; do :; done"])).unwrap();
        crate::platform::until("it has spent a tenth of a second", || {
            (cpu_seconds(busy.pid()).unwrap() > 0.1).then_some(())
        });
    }
}
