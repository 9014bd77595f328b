//! Files that an image has only encrypted.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mse_crypto::CodeKey;
use mse_workload::bundle::{CodeTree, CollectError, NonceSource, SourceSalt, seal};
use mse_workload::image::SealedPart;
use tempfile::{NamedTempFile, TempDir};

use super::BuildError;
use super::context::Item;
use crate::step::Mount;

/// A file system in memory, on every Linux.
const MEMORY: &str = "/dev/shm";

/// The plaintext, in memory, as long as this value lives.
pub(super) struct Confidential {
    root: TempDir,
    dirs: Vec<String>,
}

impl Confidential {
    /// A place for the files of `dirs`.
    pub(super) fn new(dirs: &[String]) -> Result<Self, BuildError> {
        let memory = Path::new(MEMORY);
        if !is_in_memory(memory) {
            return Err(BuildError::NoMemory(io::Error::other("it is on a disk")));
        }
        let root = tempfile::Builder::new()
            .prefix("mse-image-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(memory)
            .map_err(BuildError::NoMemory)?;
        let this = Self {
            root,
            dirs: dirs.to_vec(),
        };
        for dir in dirs {
            fs::create_dir_all(this.at(dir)).map_err(BuildError::NoMemory)?;
        }
        Ok(this)
    }

    /// Takes in a file of the context.
    pub(super) fn put(&self, path: &str, item: &Item) -> Result<(), BuildError> {
        let to = self.at(path);
        match item {
            Item::Folder => fs::create_dir_all(&to),
            Item::Link { .. } => return Err(BuildError::SecretLink(path.to_owned())),
            Item::File { from, mode } => {
                if let Some(folder) = to.parent() {
                    fs::create_dir_all(folder).map_err(BuildError::NoMemory)?;
                }
                let mut source = File::open(from)
                    .map_err(|error| BuildError::Layer(from.display().to_string(), error))?;
                File::create(&to)
                    .and_then(|mut file| io::copy(&mut source, &mut file))
                    .and_then(|_| fs::set_permissions(&to, Permissions::from_mode(*mode)))
            }
        }
        .map_err(BuildError::NoMemory)
    }

    /// How steps see the folders.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        self.dirs
            .iter()
            .map(|dir| Mount::write(&self.at(dir), dir))
            .collect()
    }

    /// Encrypts everything into a file in `scratch`.
    pub(super) fn seal(
        &self,
        key: &CodeKey,
        scratch: &Path,
    ) -> Result<(NamedTempFile, SealedPart), BuildError> {
        let tree = match CodeTree::everything(self.root.path()) {
            Err(CollectError::Empty(_)) => {
                return Err(BuildError::NothingSecret(self.dirs.join(", ")));
            }
            Err(CollectError::NotAFile(path)) => {
                return Err(BuildError::SecretLink(self.in_image(&path)));
            }
            tree => tree?,
        };
        let archive = NamedTempFile::new_in(scratch)
            .map_err(|source| BuildError::Output(scratch.to_owned(), source))?;
        // Nobody is shown the source, so its commitment may have any salt.
        let salt = SourceSalt::generate();
        let sealed = seal(
            &tree,
            key,
            &NonceSource::Derived,
            &salt,
            archive.as_file(),
            &|_| {},
        )?;
        let part = SealedPart {
            bundle: sealed.digest,
            key_check: sealed.key_check,
        };
        Ok((archive, part))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn in_image(&self, path: &Path) -> String {
        let inside = path.strip_prefix(self.root.path()).unwrap_or(path);
        format!("/{}", inside.display())
    }
}

fn is_in_memory(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|found| found.f_type == TMPFS_MAGIC)
}

/// `TMPFS_MAGIC` of the kernel's `linux/magic.h`.
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
