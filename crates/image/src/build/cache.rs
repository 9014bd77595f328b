//! What builds keep for later builds: layers by what they were made of.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::digest::BlobDigest;
use crate::layer::{Layer, LayerIndex};
use crate::lock::PythonPackage;
use crate::manifest::Blob;

/// A folder of ours. Deleting it costs time, and nothing else.
pub(crate) struct Cache {
    root: PathBuf,
    /// Held as long as something of ours may lie in `tmp`.
    _in_use: File,
}

/// A layer that was made before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) blob: Blob,
    pub(crate) diff_id: BlobDigest,
    pub(crate) index: LayerIndex,
    /// What pip installed in it.
    #[serde(default)]
    pub(crate) python: Vec<PythonPackage>,
}

/// Collects what a layer depends on.
pub(crate) struct KeyHasher(Hasher);

impl KeyHasher {
    /// Of the step of this name, in this version of what it does.
    pub(crate) fn new(step: &str) -> Self {
        let mut hasher = Hasher::with_domain("mse-image-step-v1");
        hasher.update_field(step.as_bytes());
        Self(hasher)
    }

    pub(crate) fn field(mut self, bytes: &[u8]) -> Self {
        self.0.update_field(bytes);
        self
    }

    pub(crate) fn finish(self) -> Digest {
        self.0.finish()
    }
}

impl Cache {
    /// Opens or makes the cache in `root`. What a build that was killed left behind is removed,
    /// unless another is running.
    pub(crate) fn open(root: &Path) -> Result<Self, CacheError> {
        let failed = |source| CacheError(root.to_owned(), source);
        for folder in ["blobs", "steps", "tmp"] {
            fs::create_dir_all(root.join(folder)).map_err(failed)?;
        }
        let in_use = File::create(root.join("in-use")).map_err(failed)?;
        if in_use.try_lock().is_ok() {
            remove_all_in(&root.join("tmp")).map_err(failed)?;
            in_use.unlock().map_err(failed)?;
        }
        in_use.lock_shared().map_err(failed)?;
        Ok(Self {
            root: root.to_owned(),
            _in_use: in_use,
        })
    }

    /// For what does not outlive the build.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A folder for a part of the build to keep things in.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where a layer's blob lies.
    pub(crate) fn blob(&self, digest: BlobDigest) -> PathBuf {
        self.root.join("blobs").join(digest.0.to_string())
    }

    /// The layer that was made under this key; its bytes are compared with their digest.
    pub(crate) fn find(&self, key: &Digest) -> Option<Made> {
        let json = fs::read(self.step(key)).ok()?;
        let made: Made = serde_json::from_slice(&json).ok()?;
        let digest = File::open(self.blob(made.blob.digest))
            .and_then(Digest::of_reader)
            .ok()?;
        (digest == made.blob.digest.0).then_some(made)
    }

    /// A file for a layer to be written into.
    pub(crate) fn new_layer(&self) -> Result<NamedTempFile, CacheError> {
        // Whoever may see the folder may see what is in images.
        tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(self.scratch())
            .map_err(|source| CacheError(self.scratch(), source))
    }

    /// Keeps the layer in `file`, and, with a key, for the next time as well.
    pub(crate) fn keep(
        &self,
        key: Option<&Digest>,
        file: NamedTempFile,
        layer: Layer,
        python: Vec<PythonPackage>,
    ) -> Result<Made, CacheError> {
        let made = Made {
            blob: layer.blob,
            diff_id: layer.diff_id,
            index: layer.index,
            python,
        };
        let path = self.blob(made.blob.digest);
        file.persist(&path)
            .map_err(|error| CacheError(path, error.error))?;
        if let Some(key) = key {
            let json = serde_json::to_vec(&made).expect("it has only strings, numbers and lists");
            self.write(&self.step(key), &json)?;
        }
        Ok(made)
    }

    /// Writes a small file whole or not at all.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), CacheError> {
        let failed = |source| CacheError(path.to_owned(), source);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = self.new_layer()?;
        fs::write(file.path(), bytes).map_err(failed)?;
        file.persist(path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn step(&self, key: &Digest) -> PathBuf {
        self.root.join("steps").join(format!("{key}.json"))
    }
}

fn remove_all_in(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the cache in `{at}` cannot be read or written: {1}", at = .0.display())]
pub struct CacheError(PathBuf, #[source] io::Error);
