//! What the init gives up before the first program of the app runs.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use caps::CapSet;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::sethostname;

use super::failure::{Doing, StageError};
use super::plan::ProcessLimits;
use super::report::SandboxEntry;
use super::{landlock, namespaces, seccomp};

/// Gives up, in this order, whatever an app could misuse, and checks with the
/// kernel that it is gone.
pub(super) fn confine(
    limits: ProcessLimits,
    writable: &[PathBuf],
    sockets: Option<&Path>,
) -> Result<Vec<SandboxEntry>, StageError> {
    let mut entries = vec![mount_proc()?];
    sethostname("enclave").doing(|| "name the sandbox's host".into())?;
    entries.extend(limit(limits));
    entries.push(landlock::apply(writable, sockets));
    entries.push(drop_capabilities()?);
    prctl::set_no_new_privs().doing(|| "forbid new privileges".into())?;
    seccomp::apply()
        .doing(|| "install the seccomp filter (the kernel needs CONFIG_SECCOMP_FILTER)".into())?;
    entries.extend(verify()?);
    Ok(entries)
}

/// Mounts the `/proc` of this pid namespace over the host's.
fn mount_proc() -> Result<SandboxEntry, StageError> {
    const NAME: &str = "other users' processes hidden";
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let try_mount = |options| mount(Some("proc"), "/proc", Some("proc"), flags, options);
    match try_mount(Some("hidepid=invisible")) {
        Ok(()) => {
            return Ok(SandboxEntry::applied(
                NAME,
                "/proc with `hidepid=invisible`",
            ));
        }
        Err(Errno::EINVAL) => {}
        Err(error) => {
            return Err(error).doing(|| "mount the sandbox's own `/proc`".into()).map_err(|error| {
                error.with_fix(Some(
                    "parts of `/proc` are hidden from mse-enclave, as container engines do: start the container with `--security-opt systempaths=unconfined`, or run mse-enclave outside"
                        .into(),
                ))
            });
        }
    }
    try_mount(None::<&str>).doing(|| "mount the sandbox's own `/proc`".into())?;
    Ok(SandboxEntry::not_applied(NAME, "needs Linux 5.8 or later"))
}

fn limit(limits: ProcessLimits) -> Vec<SandboxEntry> {
    [
        ("core dumps off", Resource::RLIMIT_CORE, 0),
        (
            "open files limit",
            Resource::RLIMIT_NOFILE,
            limits.open_files,
        ),
        ("processes limit", Resource::RLIMIT_NPROC, limits.processes),
    ]
    .map(|(name, resource, wanted)| {
        // Without rights a limit can be lowered, not raised.
        let value = getrlimit(resource).map_or(wanted, |(_, hard)| wanted.min(hard));
        match setrlimit(resource, value, value) {
            Ok(()) => SandboxEntry::applied(name, format!("{value}")),
            Err(error) => SandboxEntry::not_applied(name, error.desc()),
        }
    })
    .into()
}

fn drop_capabilities() -> Result<SandboxEntry, StageError> {
    let clear = |set, name| {
        caps::clear(None, set)
            .map_err(namespaces::caps_error)
            .doing(|| format!("give up the {name} capabilities"))
    };
    // The bounding set first: emptying it needs a capability.
    clear(CapSet::Bounding, "bounding")?;
    clear(CapSet::Ambient, "ambient")?;
    clear(CapSet::Effective, "effective")?;
    clear(CapSet::Permitted, "permitted")?;
    clear(CapSet::Inheritable, "inheritable")?;
    Ok(SandboxEntry::applied(
        "no capabilities",
        "none held, and none can be gained",
    ))
}

/// Asks the kernel what holds. A call that returned without error is not
/// trusted to have done its work.
fn verify() -> Result<Vec<SandboxEntry>, StageError> {
    let status =
        fs::read_to_string("/proc/self/status").doing(|| "read `/proc/self/status`".into())?;
    check_status(&status)?;
    let tied = prctl::get_pdeathsig().doing(|| "check the tie to mse-enclave".into())?;
    if tied.is_none() {
        return Err(StageError::Unconfined {
            measure: "the tie to mse-enclave",
            detail: "the kernel has no death signal set".into(),
        });
    }
    Ok(vec![
        SandboxEntry::applied("no new privileges", "set, for good"),
        SandboxEntry::applied("seccomp", "allow list; a call not on it fails with EPERM"),
    ])
}

fn check_status(status: &str) -> Result<(), StageError> {
    let fields: HashMap<_, _> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let expected = [
        ("NoNewPrivs", 1),
        ("Seccomp", 2),
        ("CapInh", 0),
        ("CapPrm", 0),
        ("CapEff", 0),
        ("CapBnd", 0),
        ("CapAmb", 0),
    ];
    for (measure, wanted) in expected {
        let found = fields.get(measure).map(|value| value.trim());
        if found.and_then(|value| u64::from_str_radix(value, 16).ok()) != Some(wanted) {
            return Err(StageError::Unconfined {
                measure,
                detail: format!(
                    "expected `{wanted}`, the kernel says `{}`",
                    found.unwrap_or("nothing")
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFINED: &str = "Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\n";

    #[test]
    fn only_a_fully_confined_status_passes() {
        check_status(CONFINED).unwrap();
        for (was, is) in [
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("Seccomp:\t2", "Seccomp:\t0"),
            ("CapBnd:\t0000000000000000", "CapBnd:\t0000020000000000"),
            ("CapEff:\t0000000000000000\n", ""),
        ] {
            let weaker = CONFINED.replace(was, is);
            assert!(check_status(&weaker).is_err(), "{is}");
        }
    }
}
