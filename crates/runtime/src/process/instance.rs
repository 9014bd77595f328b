//! The folder and the user of one enclave.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mse_workload::AppId;

use super::RuntimeError;
use crate::limits::ControlGroups;

/// One enclave's folder, its app's user, and its control groups. All go when it is dropped.
pub(super) struct Instance {
    app_id: AppId,
    path: PathBuf,
    slot: Slot,
}

impl Instance {
    /// Makes `<instances>/<app id>/run`, 0700.
    pub(super) fn create(instances: &Path, app_id: AppId, slots: &Slots) -> io::Result<Self> {
        let instance = Self {
            app_id,
            path: instances.join(app_id.to_string()),
            slot: slots
                .take()
                .ok_or_else(|| io::Error::other(format!("all {USERS} app users are in use")))?,
        };
        let mut private = DirBuilder::new();
        private.mode(0o700);
        private.create(&instance.path)?;
        private.create(instance.run_dir())?;
        Ok(instance)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn run_dir(&self) -> PathBuf {
        self.path.join("run")
    }

    /// A user of its own for the app, which only root can give.
    pub(super) fn app_uid(&self) -> Option<u32> {
        nix::unistd::geteuid()
            .is_root()
            .then_some(FIRST_UID + self.slot.number)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        remove(self.app_id, &self.path);
    }
}

/// Removes every folder below `instances` that an earlier run left, and makes the folder itself.
pub(super) fn sweep(instances: &Path) -> Result<(), RuntimeError> {
    let failed = |source| RuntimeError::Instances {
        path: instances.to_owned(),
        source,
    };
    DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(instances)
        .map_err(failed)?;
    for entry in fs::read_dir(instances).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some(app_id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            remove(app_id, &entry.path());
        }
    }
    Ok(())
}

/// Which user numbers are in use. Cloning it is cheap.
#[derive(Clone, Default)]
pub(super) struct Slots(Arc<Mutex<BTreeSet<u32>>>);

impl Slots {
    fn take(&self) -> Option<Slot> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (0..USERS).find(|number| !taken.contains(number))?;
        taken.insert(number);
        Some(Slot {
            slots: self.clone(),
            number,
        })
    }
}

struct Slot {
    slots: Slots,
    number: u32,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.number);
    }
}

/// The range that systemd gives to services that bring no user of their own.
const FIRST_UID: u32 = 61184;
const USERS: u32 = 4096;

fn remove(app_id: AppId, path: &Path) {
    if let Err(error) = ControlGroups::system().remove(app_id.0) {
        tracing::warn!(%app_id, %error, "the control groups of an enclave stay behind");
    }
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the folder of an enclave stays behind");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn folders_are_private_and_go_with_the_instance() {
        let instances = tempfile::tempdir().unwrap();
        let slots = Slots::default();
        let first = Instance::create(instances.path(), AppId::generate(), &slots).unwrap();
        let second = Instance::create(instances.path(), AppId::generate(), &slots).unwrap();
        for folder in [first.path(), &first.run_dir()] {
            let mode = fs::metadata(folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
        assert_ne!(first.slot.number, second.slot.number);

        let (path, number) = (first.path().to_owned(), first.slot.number);
        drop(first);
        assert!(!path.exists());
        let third = Instance::create(instances.path(), AppId::generate(), &slots).unwrap();
        assert_eq!(third.slot.number, number);
    }

    #[test]
    fn sweeping_takes_what_earlier_runs_left_and_only_that() {
        let folder = tempfile::tempdir().unwrap();
        let instances = folder.path().join("instances");
        sweep(&instances).unwrap();
        let left = instances.join(AppId::generate().to_string());
        fs::create_dir_all(left.join("run")).unwrap();
        fs::write(instances.join("notes.txt"), "not ours").unwrap();
        sweep(&instances).unwrap();
        assert!(!left.exists());
        assert!(instances.join("notes.txt").exists());
    }
}
