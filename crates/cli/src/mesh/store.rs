//! Images of this machine: one OCI layout for each reference, and the folders that they were
//! unpacked into.

use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_image::{BlobDigest, Image, Layout, Part, Reference, unpack};

use crate::conf_dir::cache_dir;
use crate::exit::Exit;
use crate::failure::Failure;

/// Images that were built or pulled here. All of it can be made again.
pub(crate) struct ImageStore(PathBuf);

impl ImageStore {
    /// The user's.
    pub(crate) fn find() -> Result<Self, Failure> {
        Ok(Self(cache_dir()?.join("images")))
    }

    /// What builds keep for later builds.
    pub(crate) fn build_cache(&self) -> PathBuf {
        self.0.join("build")
    }

    /// The layout of an image; its name is the digest of the reference, which has characters that
    /// no folder may have.
    pub(crate) fn place(&self, reference: &Reference) -> PathBuf {
        let name = Digest::of(reference.to_string().as_bytes()).to_string();
        self.0.join("layouts").join(&name[..40])
    }

    /// The image that is called so, if it is here.
    pub(crate) fn get(&self, reference: &Reference) -> Result<Option<(Layout, Image)>, Failure> {
        let place = self.place(reference);
        if !place.exists() {
            return Ok(None);
        }
        let broken = |error: &dyn std::error::Error| {
            Failure::other(format!("the image `{reference}` on this machine: {error}")).with_hint(
                format!("remove `{}`, and build or pull it again", place.display()),
            )
        };
        let layout = Layout::open(&place).map_err(|error| broken(&error))?;
        let image = layout.image(None).map_err(|error| broken(&error))?;
        match reference.digest() {
            Some(wanted) if wanted != image.digest => Ok(None),
            _ => Ok(Some((layout, image))),
        }
    }

    /// The folder with the files of an image, its own part among them.
    pub(crate) fn unpacked(&self, layout: &Layout, image: &Image) -> Result<PathBuf, Failure> {
        let folder = self.folder_of(image.digest);
        if folder.is_dir() {
            return Ok(folder);
        }
        let parent = folder.parent().unwrap_or(&self.0);
        let failed = |error: &dyn std::error::Error| {
            Failure::other(format!(
                "the image {} cannot be unpacked: {error}",
                image.digest
            ))
        };
        std::fs::create_dir_all(parent).map_err(|error| failed(&error))?;
        // Whole or not at all, also if somebody else unpacks it right now.
        let half = tempfile::tempdir_in(parent).map_err(|error| failed(&error))?;
        let root = half.path().join("root");
        unpack(layout, image, Part::Whole, &root).map_err(|error| failed(&error))?;
        match std::fs::rename(&root, &folder) {
            Ok(()) => Ok(folder),
            Err(_) if folder.is_dir() => Ok(folder),
            Err(error) => Err(failed(&error)),
        }
    }

    fn folder_of(&self, digest: BlobDigest) -> PathBuf {
        self.0.join("unpacked").join(digest.0.to_string())
    }
}

/// A reference as the image tools read it.
pub(crate) fn reference(text: &str) -> Result<Reference, Failure> {
    text.parse()
        .map_err(|error: mse_image::reference::InvalidReference| {
            Failure::new(Exit::InvalidConfiguration, error.to_string())
        })
}

impl AsRef<Path> for ImageStore {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}
