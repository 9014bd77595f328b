//! What the image says about itself, and where things lie in the container.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mse_workload::image::{self, ImageFacts, InvalidImageFacts};

/// The simulated platform is mounted here, if there is one.
const PLATFORM: &str = "/mse/platform";
/// Each folder in it is for the encrypted volume of its name.
const VOLUMES: &str = "/mse/volumes";
/// What the launcher writes. Not in `/tmp` or `/run`, which are measured.
const RUN: &str = "/mse/run";

/// The image of a container, by the folder that is its `/`.
pub(crate) struct Image {
    root: PathBuf,
}

impl Image {
    /// That of the container that this program runs in.
    pub(crate) fn of_container() -> Self {
        Self { root: "/".into() }
    }

    /// The root file system.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The program for the TEE.
    pub(crate) fn enclave(&self) -> PathBuf {
        self.at(image::ENCLAVE)
    }

    /// The folder of the simulated platform.
    pub(crate) fn platform(&self) -> PathBuf {
        self.at(PLATFORM)
    }

    /// The launcher's own folder.
    pub(crate) fn run_folder(&self) -> PathBuf {
        self.at(RUN)
    }

    /// What the image says about itself.
    pub(crate) fn facts(&self) -> Result<ImageFacts, ImageError> {
        let path = self.at(image::FACTS);
        let json = fs::read(&path).map_err(|source| ImageError::Read {
            path: path.clone(),
            source,
        })?;
        ImageFacts::from_json(&json).map_err(|source| ImageError::Facts { path, source })
    }

    /// Folders for encrypted volumes, by the volumes' names.
    pub(crate) fn volumes(&self) -> Result<BTreeMap<String, PathBuf>, ImageError> {
        let folder = self.at(VOLUMES);
        let failed = |source| ImageError::Read {
            path: folder.clone(),
            source,
        };
        let listing = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            listing => listing.map_err(failed)?,
        };
        let mut volumes = BTreeMap::new();
        for entry in listing {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().into_string().ok();
            if let (Some(name), true) = (name, entry.path().is_dir()) {
                volumes.insert(name, entry.path());
            }
        }
        Ok(volumes)
    }

    /// Where a path of the container is.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// What this container was made of is no image of a service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(
        "`{path}` cannot be read: {source}; is this an image that `mse image build` made, and is nothing mounted over its `/mse`?"
    )]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}`: {source}; build the image with the same version as mse-launch")]
    Facts {
        path: PathBuf,
        source: InvalidImageFacts,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_the_folders_that_are_mounted_for_them() {
        let root = tempfile::tempdir().unwrap();
        let image = Image {
            root: root.path().to_owned(),
        };
        assert!(image.volumes().unwrap().is_empty());
        fs::create_dir_all(root.path().join("mse/volumes/data")).unwrap();
        fs::write(root.path().join("mse/volumes/notes"), "").unwrap();
        let volumes = image.volumes().unwrap();
        assert_eq!(volumes.keys().collect::<Vec<_>>(), ["data"]);
    }

    #[test]
    fn an_image_without_facts_is_none() {
        let root = tempfile::tempdir().unwrap();
        let image = Image {
            root: root.path().to_owned(),
        };
        let missing = image.facts().unwrap_err().to_string();
        assert!(missing.contains("mse/image.json"), "{missing}");
        fs::create_dir_all(root.path().join("mse")).unwrap();
        fs::write(root.path().join("mse/image.json"), "{}").unwrap();
        let malformed = image.facts().unwrap_err();
        assert!(matches!(malformed, ImageError::Facts { .. }));
    }
}
