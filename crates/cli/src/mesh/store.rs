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

    /// The image that is called so, if it is here: a name with a digest is the image that was
    /// pulled by it, or the one under the bare name, if it has that digest.
    pub(crate) fn get(&self, reference: &Reference) -> Result<Option<(Layout, Image)>, Failure> {
        let pinned = at(&self.place(reference), reference)?;
        match (pinned, bare(reference)) {
            (None, Some(bare)) => at(&self.place(&bare), reference),
            (found, _) => Ok(found),
        }
    }

    /// The folder with the files of an image that is here, its own part among them.
    pub(crate) async fn unpacked_image(&self, reference: &Reference) -> Result<PathBuf, Failure> {
        let store = Self(self.0.clone());
        let (layout, image) = self.required(reference)?;
        tokio::task::spawn_blocking(move || store.unpacked(&layout, &image))
            .await
            .map_err(|error| Failure::other(error.to_string()))?
    }

    /// The layout of an image that is here.
    pub(crate) fn layout_of(&self, reference: &Reference) -> Result<PathBuf, Failure> {
        Ok(self.required(reference)?.0.path().to_owned())
    }

    fn required(&self, reference: &Reference) -> Result<(Layout, Image), Failure> {
        self.get(reference)?.ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("the image `{reference}` is not on this machine"),
            )
            .with_hint("build it again with `mse apply`")
        })
    }

    fn unpacked(&self, layout: &Layout, image: &Image) -> Result<PathBuf, Failure> {
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

/// The image in a layout, if there is one, and has the digest that is wanted.
fn at(place: &Path, reference: &Reference) -> Result<Option<(Layout, Image)>, Failure> {
    if !place.exists() {
        return Ok(None);
    }
    let broken = |error: &dyn std::error::Error| {
        Failure::other(format!("the image `{reference}` on this machine: {error}")).with_hint(
            format!("remove `{}`, and build or pull it again", place.display()),
        )
    };
    let layout = Layout::open(place).map_err(|error| broken(&error))?;
    let image = layout.image(None).map_err(|error| broken(&error))?;
    match reference.digest() {
        Some(wanted) if wanted != image.digest => Ok(None),
        _ => Ok(Some((layout, image))),
    }
}

/// The same name without its digest, if it has one.
fn bare(reference: &Reference) -> Option<Reference> {
    reference.digest()?;
    let text = reference.to_string();
    text.split_once('@')?.0.parse().ok()
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
