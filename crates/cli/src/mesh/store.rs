//! Images of this machine: an OCI layout for each digest, which name means which digest, and the
//! folders that images were unpacked into.

use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_image::{BlobDigest, Image, Layout, Part, Reference, unpack};
use tempfile::TempDir;

use crate::conf_dir::cache_dir;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// A digest is shorter.
const MAX_NAME: u64 = 256;

/// Where an image of the store comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was built on this machine.
    Built,
    /// A registry had it.
    Pulled,
}

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

    /// A folder for a layout that is being made; it is removed unless it is [kept](Self::keep).
    pub(crate) fn new_layout(&self) -> Result<TempDir, Failure> {
        let layouts = self.0.join("layouts");
        std::fs::create_dir_all(&layouts)
            .and_then(|()| {
                tempfile::Builder::new()
                    .prefix(".new-")
                    .tempdir_in(&layouts)
            })
            .map_err(|error| Failure::file("make a folder in", &layouts, &error))
    }

    /// Keeps the image in the folder `layout` of a [new layout](Self::new_layout); `reference` means
    /// it from now on. Older images stay, by their digests.
    pub(crate) fn keep(
        &self,
        reference: &Reference,
        digest: BlobDigest,
        layout: &Path,
        origin: Origin,
    ) -> Result<(), Failure> {
        let place = self.layout(digest);
        match std::fs::rename(layout, &place) {
            Ok(()) => {}
            // It is there already, with the same bytes.
            Err(_) if place.is_dir() => {}
            Err(error) => return Err(Failure::file("move an image to", &place, &error)),
        }
        if origin == Origin::Built {
            write(&self.built(digest), "")?;
        }
        write(&self.name(reference), &format!("{digest}\n"))
    }

    /// Whether an image was built on this machine. One that nothing is known of was not.
    pub(crate) fn is_built_here(&self, digest: BlobDigest) -> bool {
        self.built(digest).is_file()
    }

    /// How many days ago a name got its meaning: by a build or a pull. None: it has none.
    pub(crate) fn age_in_days(&self, reference: &Reference) -> Option<u64> {
        let written = self
            .name(reference)
            .metadata()
            .and_then(|file| file.modified());
        // One from the future is not old.
        let age = written.ok()?.elapsed().unwrap_or_default();
        Some(age.as_secs() / (24 * 3600))
    }

    /// The image that is called so, if it is here.
    pub(crate) fn get(&self, reference: &Reference) -> Result<Option<(Layout, Image)>, Failure> {
        let Some(digest) = self.digest_of(reference)? else {
            return Ok(None);
        };
        let place = self.layout(digest);
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
        Ok((image.digest == digest).then_some((layout, image)))
    }

    /// The digest that a reference has, or its name means here.
    fn digest_of(&self, reference: &Reference) -> Result<Option<BlobDigest>, Failure> {
        if let Some(digest) = reference.digest() {
            return Ok(Some(digest));
        }
        let file = self.name(reference);
        let text = private_file::read(&file, MAX_NAME)?;
        text.map(|text| {
            text.trim()
                .parse()
                .map_err(|error| Failure::file("understand", &file, &error))
        })
        .transpose()
    }

    /// The file that says that an image was built here.
    fn built(&self, digest: BlobDigest) -> PathBuf {
        self.0.join("built").join(digest.0.to_string())
    }

    fn layout(&self, digest: BlobDigest) -> PathBuf {
        self.0.join("layouts").join(digest.0.to_string())
    }

    /// The file that says which digest a name means; its own name is a digest, since references
    /// have characters that no file may have.
    fn name(&self, reference: &Reference) -> PathBuf {
        let name = Digest::of(reference.to_string().as_bytes()).to_string();
        self.0.join("names").join(name)
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

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::file("make the folder", folder, &error))?;
    }
    private_file::write(file, text.as_bytes())
}

/// A reference as the image tools read it.
pub(crate) fn reference(text: &str) -> Result<Reference, Failure> {
    text.parse()
        .map_err(|error: mse_image::reference::InvalidReference| {
            Failure::new(Exit::InvalidConfiguration, error.to_string())
        })
}
