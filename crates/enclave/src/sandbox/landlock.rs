//! A second layer over the mounts: a Landlock domain (landlock(7)).
//!
//! It says again what may be written, should a mount not hold, and adds what
//! mounts cannot: no connection to abstract sockets of the host, and no signals
//! to processes outside.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, Scope,
};

use super::report::SandboxEntry;

/// The newest kernel interface of which everything is used (Linux 6.12).
const NEWEST: ABI = ABI::V6;

/// Puts this thread, and all that it starts, into a domain in which only
/// `writable` can be written, and sockets be made in `sockets`.
pub(super) fn apply(writable: &[PathBuf], sockets: Option<&Path>) -> SandboxEntry {
    const NAME: &str = "landlock";
    match restrict(writable, sockets) {
        Ok(RulesetStatus::FullyEnforced) => SandboxEntry::applied(
            NAME,
            "writes to the app's own directories only; no abstract sockets of the host",
        ),
        Ok(RulesetStatus::PartiallyEnforced) => SandboxEntry::applied(
            NAME,
            "the part that this kernel has; Linux 6.12 or later also keeps the host's abstract sockets away",
        ),
        Ok(RulesetStatus::NotEnforced) => SandboxEntry::not_applied(
            NAME,
            "this kernel has no Landlock; Linux 5.13 or later with `landlock` in `lsm=` has",
        ),
        Err(error) => SandboxEntry::not_applied(NAME, error.to_string()),
    }
}

fn restrict(
    writable: &[PathBuf],
    sockets: Option<&Path>,
) -> Result<RulesetStatus, Box<dyn std::error::Error>> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(PathBeneath::new(
            PathFd::new("/")?,
            AccessFs::from_read(NEWEST),
        ))?;
    // Devices, and the settings of its own that a process may write in /proc:
    // existing files only.
    for path in ["/dev", "/proc"] {
        let access = AccessFs::from_file(NEWEST) & !AccessFs::Execute;
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
    }
    for path in writable {
        let access = AccessFs::from_all(NEWEST);
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
    }
    // On the host's disk: a socket and no file, so that the app cannot fill it.
    if let Some(path) = sockets {
        let access = AccessFs::from_read(NEWEST) | AccessFs::MakeSock | AccessFs::RemoveFile;
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, access))?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}
