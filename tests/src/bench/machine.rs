//! The machine that a run happened on.

use std::fmt;
use std::fs;

use anyhow::Context;
use serde::Serialize;

/// What numbers depend on.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    system: String,
    /// Mean length of the run queue over a minute before the run: what else the machine did.
    load_before: f64,
}

impl Machine {
    /// This machine, now.
    pub(super) fn describe() -> anyhow::Result<Self> {
        let memory = value(&read("/proc/meminfo")?, "MemTotal", ':');
        let kib: u64 = memory
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .context("`/proc/meminfo` has no `MemTotal`")?;
        let load = read("/proc/loadavg")?;
        Ok(Self {
            cpu: value(&read("/proc/cpuinfo")?, "model name", ':'),
            cores: std::thread::available_parallelism()?.get(),
            memory_mib: kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            system: value(&read("/etc/os-release")?, "PRETTY_NAME", '=')
                .trim_matches('"')
                .to_owned(),
            load_before: load
                .split(' ')
                .next()
                .and_then(|number| number.parse().ok())
                .context("`/proc/loadavg` does not begin with a number")?,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Machine: {} cores of {}, {} MiB, Linux {}, {}; load before {}",
            self.cores, self.cpu, self.memory_mib, self.kernel, self.system, self.load_before
        )
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("`{path}` cannot be read"))
}

/// The value of the first line `name <separator> value`; empty if there is none.
fn value(text: &str, name: &str, separator: char) -> String {
    text.lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}
