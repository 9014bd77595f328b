//! The folder of a mesh that runs here: `run` in its target folder.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::state::MeshState;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// A state is much shorter.
const MAX_STATE: u64 = 4 * 1024 * 1024;

/// State, logs and the lock, for the user only: programs may write anything to their logs.
#[derive(Clone)]
pub(crate) struct RunFolder(PathBuf);

impl RunFolder {
    /// An absolute path: enclaves work in folders of their own.
    pub(crate) fn of(target: &Path) -> Result<Self, Failure> {
        std::path::absolute(target.join("run"))
            .map(Self)
            .map_err(|error| Failure::file("find", target, &error))
    }

    /// Absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn create(&self) -> Result<(), Failure> {
        private_file::create_dir(&self.0.join("logs"))?;
        private_file::create_dir(&self.0)
    }

    /// Held as long as the mesh runs.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        let path = self.0.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Failure::file("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(Failure::new(Exit::Conflict, "this mesh runs already")
                    .with_hint("`mse mesh ps` shows it, `mse mesh update` takes what was applied since, `mse mesh down` ends it"))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(Failure::file("lock", &path, &error)),
        }
    }

    /// Whether somebody holds the lock.
    pub(crate) fn is_running(&self) -> bool {
        self.0.join("lock").exists()
            && matches!(self.lock(), Err(failure) if failure.exit() == Exit::Conflict)
    }

    pub(crate) fn write(&self, state: &MeshState) -> Result<(), Failure> {
        let text =
            serde_json::to_vec_pretty(state).map_err(|error| Failure::other(error.to_string()))?;
        private_file::write(&self.0.join("state.json"), &text)
    }

    /// The state that was written last.
    pub(crate) fn state(&self) -> Result<Option<MeshState>, Failure> {
        let file = self.0.join("state.json");
        let Some(text) = private_file::read(&file, MAX_STATE)? else {
            return Ok(None);
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Failure::other(format!("`{}` cannot be read: {error}", file.display()))
        })
    }

    /// Where the enclave of a service has its folders.
    pub(crate) fn enclaves(&self, service: &str) -> PathBuf {
        self.0.join("enclaves").join(service)
    }

    /// Where the ciphertext of a volume is.
    pub(crate) fn volume(&self, service: &str, volume: &str) -> PathBuf {
        self.0.join("volumes").join(service).join(volume)
    }

    /// Where what a service writes is kept.
    pub(crate) fn log_file(&self, service: &str) -> PathBuf {
        self.0.join("logs").join(format!("{service}.log"))
    }

    /// The same file, to write to.
    pub(crate) fn log(&self, service: &str) -> Result<File, Failure> {
        open(&self.log_file(service))
    }

    /// The output of a mesh that runs in the background.
    pub(crate) fn own_log(&self) -> Result<File, Failure> {
        open(&self.own_log_file())
    }

    /// Where that is kept.
    pub(crate) fn own_log_file(&self) -> PathBuf {
        self.0.join("up.log")
    }

    /// Removes the state of a run before.
    pub(crate) fn forget(&self) -> Result<(), Failure> {
        let file = self.0.join("state.json");
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::file("remove", &file, &error))
            }
            _ => Ok(()),
        }
    }
}

/// To write at its end, for the user only.
fn open(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failure::file("open", path, &error))
}

/// That the mesh runs.
pub(crate) struct Lock {
    _file: File,
}
