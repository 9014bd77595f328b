//! Memory, CPU and process limits of an enclave, kept by the kernel's control
//! groups: version 2 where its controllers are, else version 1.
//!
//! A limit that the machine does not allow is not an error but an entry of the
//! result that says why: the operator sees it in the app's status.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The group below which every enclave has its own.
const PARENT: &str = "mse";
/// The scheduler's period, in microseconds: the kernel's own default.
const CPU_PERIOD: u64 = 100_000;
/// The kernel refuses a smaller CPU quota, in microseconds.
const MIN_CPU_QUOTA: u64 = 1_000;

/// How much of the machine an enclave may take.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes, private files included. Swap is not allowed beyond it.
    pub memory_bytes: u64,
    /// CPU cores; a fraction is a share of one.
    pub cores: f64,
    /// Processes and threads.
    pub pids: u64,
}

/// One limit with what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LimitEntry {
    /// `memory limit`, `cpu limit` or `processes limit`.
    pub name: String,
    /// Whether it holds.
    pub state: LimitState,
    /// Its value, or why it does not hold and what would help.
    pub detail: String,
}

/// Whether a limit holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitState {
    /// The kernel keeps it.
    Applied,
    /// It does not; the detail says why.
    NotApplied,
}

/// The control groups of a machine.
#[derive(Clone, Debug)]
pub struct ControlGroups {
    root: PathBuf,
}

impl ControlGroups {
    /// This machine's.
    pub fn system() -> Self {
        Self::at("/sys/fs/cgroup".into())
    }

    /// Those mounted at `root`: for tests.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Puts process `pid`, and all that it starts from now on, into a group of
    /// its own called `mse/<id>` and limits that group.
    ///
    /// Gives one entry per limit.
    pub fn apply(&self, id: Uuid, pid: u32, limits: &Limits) -> Vec<LimitEntry> {
        Controller::ALL
            .into_iter()
            .map(|controller| {
                let applied = self
                    .version_of(controller)
                    .and_then(|version| apply_one(&version, controller, id, pid, limits));
                match applied {
                    Ok(detail) => controller.entry(LimitState::Applied, detail),
                    Err(error) => controller.entry(LimitState::NotApplied, error.to_string()),
                }
            })
            .collect()
    }

    /// Removes the groups of an enclave whose processes have ended. Groups that
    /// do not exist are not an error.
    pub fn remove(&self, id: Uuid) -> Result<(), LimitError> {
        let mut result = Ok(());
        for group in self.groups_of(id) {
            if let Err(source) = remove_empty(&group) {
                result = Err(LimitError::Io {
                    action: "remove",
                    path: group,
                    source,
                });
            }
        }
        result
    }

    fn groups_of(&self, id: Uuid) -> Vec<PathBuf> {
        let version1 = Controller::ALL.map(|controller| self.root.join(controller.name()));
        let roots = [self.root.clone(), self.root.join("unified")];
        roots
            .into_iter()
            .chain(version1)
            .map(|root| root.join(PARENT).join(id.to_string()))
            .filter(|group| group.is_dir())
            .collect()
    }

    fn version_of(&self, controller: Controller) -> Result<Version, LimitError> {
        // `unified` is where systemd puts version 2 beside version 1.
        for root in [self.root.clone(), self.root.join("unified")] {
            let available = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            if available
                .split_whitespace()
                .any(|name| name == controller.name())
            {
                return Ok(Version::Two(root));
            }
        }
        let root = self.root.join(controller.name());
        if root.join("cgroup.procs").exists() {
            return Ok(Version::One(root));
        }
        Err(LimitError::NoController(controller.name()))
    }
}

/// Why a limit could not be set or a group not removed.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// The kernel or the container engine does not offer the controller.
    #[error(
        "this machine offers no control group for `{0}`; mount /sys/fs/cgroup with that controller, or start with `cgroup_enable={0}`"
    )]
    NoController(&'static str),
    /// It is offered, but not to us.
    #[error(
        "not allowed to {action} `{path}`; run mse-server as root, or delegate a control group to its user"
    )]
    Forbidden {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LimitError {
    fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Forbidden { action, path }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}

/// Where a controller is.
enum Version {
    /// A hierarchy of its own.
    One(PathBuf),
    /// The hierarchy of all.
    Two(PathBuf),
}

#[derive(Clone, Copy)]
enum Controller {
    Memory,
    Cpu,
    Pids,
}

/// A file of a group and what to write into it.
struct Setting {
    file: &'static str,
    value: String,
    need: Need,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Always,
    /// Files that kernels without swap accounting do not have.
    IfPresent,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }

    fn settings(self, version: &Version, limits: &Limits) -> Vec<Setting> {
        let setting = |file, value, need| Setting { file, value, need };
        match (self, version) {
            (Self::Memory, Version::Two(_)) => vec![
                setting("memory.max", limits.memory_bytes.to_string(), Need::Always),
                setting("memory.swap.max", "0".into(), Need::IfPresent),
            ],
            // In this order: memory and swap together are never below memory.
            (Self::Memory, Version::One(_)) => vec![
                setting(
                    "memory.limit_in_bytes",
                    limits.memory_bytes.to_string(),
                    Need::Always,
                ),
                setting(
                    "memory.memsw.limit_in_bytes",
                    limits.memory_bytes.to_string(),
                    Need::IfPresent,
                ),
            ],
            (Self::Cpu, Version::Two(_)) => {
                vec![setting(
                    "cpu.max",
                    format!("{} {CPU_PERIOD}", quota(limits.cores)),
                    Need::Always,
                )]
            }
            (Self::Cpu, Version::One(_)) => vec![
                setting("cpu.cfs_period_us", CPU_PERIOD.to_string(), Need::Always),
                setting(
                    "cpu.cfs_quota_us",
                    quota(limits.cores).to_string(),
                    Need::Always,
                ),
            ],
            (Self::Pids, _) => vec![setting("pids.max", limits.pids.to_string(), Need::Always)],
        }
    }

    fn describe(self, limits: &Limits) -> String {
        match self {
            Self::Memory => format!("{} bytes", limits.memory_bytes),
            Self::Cpu => format!("{} cores", limits.cores),
            Self::Pids => format!("{} processes and threads", limits.pids),
        }
    }

    fn entry(self, state: LimitState, detail: String) -> LimitEntry {
        let name = match self {
            Self::Memory => "memory limit",
            Self::Cpu => "cpu limit",
            Self::Pids => "processes limit",
        };
        LimitEntry {
            name: name.into(),
            state,
            detail,
        }
    }
}

fn apply_one(
    version: &Version,
    controller: Controller,
    id: Uuid,
    pid: u32,
    limits: &Limits,
) -> Result<String, LimitError> {
    let group = match version {
        Version::One(root) => make_group(&root.join(PARENT), id)?,
        Version::Two(root) => {
            let parent = root.join(PARENT);
            let enable = format!("+{}", controller.name());
            write(&root.join("cgroup.subtree_control"), &enable)?;
            make_dir(&parent)?;
            write(&parent.join("cgroup.subtree_control"), &enable)?;
            make_group(&parent, id)?
        }
    };
    for setting in controller.settings(version, limits) {
        let file = group.join(setting.file);
        if setting.need == Need::IfPresent && !file.exists() {
            continue;
        }
        write(&file, &setting.value)?;
    }
    write(&group.join("cgroup.procs"), &pid.to_string())?;
    Ok(controller.describe(limits))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a float cast saturates, and the smallest quota is the kernel's"
)]
fn quota(cores: f64) -> u64 {
    ((cores * CPU_PERIOD as f64).round() as u64).max(MIN_CPU_QUOTA)
}

fn make_group(parent: &Path, id: Uuid) -> Result<PathBuf, LimitError> {
    make_dir(parent)?;
    let group = parent.join(id.to_string());
    make_dir(&group)?;
    Ok(group)
}

fn make_dir(path: &Path) -> Result<(), LimitError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(LimitError::new("make", path, error))
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, value: &str) -> Result<(), LimitError> {
    // Not created: a file that is missing is a limit that the kernel lacks.
    fs::File::options()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(|error| LimitError::new("write", path, error))
}

/// A process that was just reaped may still be counted for a moment.
fn remove_empty(group: &Path) -> io::Result<()> {
    const ATTEMPTS: u32 = 50;
    let mut attempt = 0;
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && attempt < ATTEMPTS => {
                attempt += 1;
                sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const LIMITS: Limits = Limits {
        memory_bytes: 64 << 20,
        cores: 1.5,
        pids: 32,
    };

    #[test]
    fn version_2_is_taken_where_its_controllers_are() {
        let root = tempfile::tempdir().unwrap();
        let id = Uuid::nil();
        let group = root.path().join("mse").join(id.to_string());
        // What the kernel would make by itself.
        file(
            root.path(),
            "cgroup.controllers",
            "cpuset cpu io memory hugetlb pids\n",
        );
        file(root.path(), "cgroup.subtree_control", "");
        file(&root.path().join("mse"), "cgroup.subtree_control", "");
        for name in [
            "memory.max",
            "memory.swap.max",
            "cpu.max",
            "pids.max",
            "cgroup.procs",
        ] {
            file(&group, name, "");
        }
        let entries = ControlGroups::at(root.path().into()).apply(id, 4321, &LIMITS);
        assert!(
            entries
                .iter()
                .all(|entry| entry.state == LimitState::Applied),
            "{entries:?}"
        );
        let read = |name: &str| fs::read_to_string(group.join(name)).unwrap();
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("pids.max"), "32");
        assert_eq!(read("cgroup.procs"), "4321");
    }

    #[test]
    fn version_1_is_taken_per_controller() {
        let root = tempfile::tempdir().unwrap();
        let id = Uuid::nil();
        file(
            &root.path().join("unified"),
            "cgroup.controllers",
            "hugetlb\n",
        );
        let group = |controller: &str| {
            root.path()
                .join(controller)
                .join("mse")
                .join(id.to_string())
        };
        for (controller, names) in [
            ("memory", &["memory.limit_in_bytes", "cgroup.procs"][..]),
            (
                "cpu",
                &["cpu.cfs_period_us", "cpu.cfs_quota_us", "cgroup.procs"],
            ),
        ] {
            file(&root.path().join(controller), "cgroup.procs", "");
            for name in names {
                file(&group(controller), name, "");
            }
        }
        let entries = ControlGroups::at(root.path().into()).apply(id, 4321, &LIMITS);
        let states: Vec<_> = entries.iter().map(|entry| entry.state).collect();
        assert_eq!(
            states,
            [
                LimitState::Applied,
                LimitState::Applied,
                LimitState::NotApplied
            ]
        );
        assert!(
            entries[2].detail.contains("`pids`"),
            "{}",
            entries[2].detail
        );
        let quota = fs::read_to_string(group("cpu").join("cpu.cfs_quota_us")).unwrap();
        assert_eq!(quota, "150000");
    }

    #[test]
    fn what_is_missing_is_reported_with_the_reason() {
        let root = tempfile::tempdir().unwrap();
        let entries = ControlGroups::at(root.path().into()).apply(Uuid::nil(), 1, &LIMITS);
        assert_eq!(entries.len(), 3);
        for entry in entries {
            assert_eq!(entry.state, LimitState::NotApplied);
            assert!(
                entry.detail.contains("offers no control group"),
                "{}",
                entry.detail
            );
        }
    }

    #[test]
    fn removing_what_was_never_made_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        ControlGroups::at(root.path().into())
            .remove(Uuid::nil())
            .unwrap();
    }

    #[test]
    fn the_kernel_s_smallest_quota_is_kept() {
        assert_eq!(quota(0.0), 1_000);
        assert_eq!(quota(0.5), 50_000);
        assert_eq!(quota(f64::NAN), 1_000);
    }

    /// On a machine that allows it, the kernel itself stops what exceeds a limit.
    /// Elsewhere the entries must say why, which is what is asserted there.
    #[test]
    fn the_kernel_keeps_the_limits() {
        let groups = ControlGroups::system();
        let id = Uuid::new_v4();
        // Waits on its input until it is in the group.
        let mut shell = Command::new("sh")
            .args([
                "-c",
                "read go; head -c 200000000 /dev/zero | tail -c 200000000 | wc -c",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let entries = groups.apply(id, shell.id(), &LIMITS);
        drop(shell.stdin.take());
        let output = shell.wait_with_output().unwrap();
        let counted = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        groups.remove(id).unwrap();
        match entries[0].state {
            LimitState::Applied => assert_ne!(counted, "200000000", "{entries:?}"),
            LimitState::NotApplied => assert!(!entries[0].detail.is_empty()),
        }
        assert!(groups.groups_of(id).is_empty());
    }

    fn file(dir: &Path, name: &str, content: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join(name), content).unwrap();
    }
}
