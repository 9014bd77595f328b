//! The folder in which the platform keeps everything.
//!
//! ```text
//! <data>/                          0755  so that app users reach the two folders below
//!   enclaves/ environments/        0755  the enclave program, the curated Python environments
//!   simulated-platform.toml        0644  the trust anchor, for who chooses to trust it
//!   operator-ca.pem                0644  the certificate authority of the gateway
//!   operator-ca.key                0600
//!   store/ blobs/ logs/            0700
//!   platform/ instances/           0700
//!   lock                           0600  held while a server runs
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder, made as it should be.
#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Makes what is missing, and closes what must be closed to others.
    pub fn prepare(root: &Path) -> Result<Self, DataDirError> {
        let root = std::path::absolute(root).map_err(failed(root))?;
        own_root(&root, 0o755)?;
        // Without links: processes are recognised by the paths of their programs.
        let root = root.canonicalize().map_err(failed(&root))?;
        let data = Self { root };
        folder(&data.environments(), 0o755)?;
        for private in ["store", "blobs", "logs"] {
            folder(&data.root.join(private), 0o700)?;
        }
        Ok(data)
    }

    /// Keeps every other server out of this folder until the lock is dropped.
    pub fn lock(&self) -> Result<DataLock, DataDirError> {
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(DataLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(self.root.clone())),
            Err(TryLockError::Error(error)) => Err(failed(&path)(error)),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database file, unless there is a database elsewhere.
    pub fn database(&self) -> PathBuf {
        self.root.join("store/mse.db")
    }

    /// Encrypted bundles.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Logs of apps.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Curated Python environments.
    pub fn environments(&self) -> PathBuf {
        self.root.join("environments")
    }

    /// Collateral of real platforms, fetched from elsewhere.
    pub fn collateral(&self) -> PathBuf {
        self.root.join("collateral")
    }

    /// Keys of the simulated platform.
    pub fn platform(&self) -> PathBuf {
        self.root.join("platform")
    }

    /// What makes a verifier accept the simulated platform.
    pub fn trust_anchor(&self) -> PathBuf {
        self.root.join("simulated-platform.toml")
    }

    /// Certificate of the gateway's authority.
    pub fn operator_ca(&self) -> PathBuf {
        self.root.join("operator-ca.pem")
    }

    /// Its private key.
    pub fn operator_ca_key(&self) -> PathBuf {
        self.root.join("operator-ca.key")
    }
}

/// Held by the one server that uses a folder.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Something in it cannot be made, read or written.
    #[error("`{path}` cannot be used: {source}; choose another folder with `--data-dir`")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another server uses it.
    #[error(
        "`{0}` is in use by another mse-server; stop that one, or choose another folder with `--data-dir`"
    )]
    InUse(PathBuf),
}

/// Writes the whole file or nothing of it, with this mode.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DataDirError> {
    // A bare file name has an empty parent.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.as_file()
            .set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync_folder(folder)
    };
    write().map_err(failed(path))
}

/// Makes a rename or removal in the folder survive a power cut.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder with this mode; one that was there before this platform keeps its own.
fn own_root(path: &Path, mode: u32) -> Result<(), DataDirError> {
    if path.is_dir() {
        return Ok(());
    }
    folder(path, mode)
}

fn folder(path: &Path, mode: u32) -> Result<(), DataDirError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_private_is_private_even_if_it_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        DataDir::prepare(&root).unwrap();
        fs::set_permissions(root.join("store"), Permissions::from_mode(0o755)).unwrap();
        let data = DataDir::prepare(&root).unwrap();
        assert_eq!(mode(&root), 0o755);
        assert_eq!(mode(&data.environments()), 0o755);
        for private in [&root.join("store"), &data.blobs(), &data.logs()] {
            assert_eq!(mode(private), 0o700, "{}", private.display());
        }
    }

    #[test]
    fn one_server_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::prepare(folder.path()).unwrap();
        let held = data.lock().unwrap();
        let refused = data.lock().unwrap_err().to_string();
        assert!(refused.contains("--data-dir"), "{refused}");
        drop(held);
        data.lock().unwrap();
    }

    #[test]
    fn files_are_replaced_whole_and_get_their_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_file(&path, b"first", 0o644).unwrap();
        write_file(&path, b"second", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
