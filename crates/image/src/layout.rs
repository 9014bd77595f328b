//! OCI image layouts: a folder with blobs by digest, and an index that names images.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use oci_spec::image as oci;

use crate::digest::BlobDigest;
use crate::manifest::{
    Blob, ImageConfig, InvalidManifest, MAX_DOCUMENT, Manifest, architecture, canonical,
    choose_platform, is_index,
};

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout on disk. Nothing that is read from it is believed before its digest was compared.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// One entry of a layout's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The manifest.
    pub manifest: Blob,
    /// Its name in this layout; things attached to an image have none.
    pub name: Option<String>,
}

impl Layout {
    /// Makes an empty layout in the folder `root`, which must be empty or missing.
    pub fn create(root: &Path) -> Result<Self, LayoutError> {
        let layout = Self {
            root: root.to_owned(),
        };
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(|source| LayoutError::Io(blobs, source))?;
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        layout.name(&[])?;
        Ok(layout)
    }

    /// Opens the layout in the folder `root`.
    pub fn open(root: &Path) -> Result<Self, LayoutError> {
        let layout = Self {
            root: root.to_owned(),
        };
        let version = layout.document("oci-layout")?;
        let version: oci::OciLayout = serde_json::from_slice(&version)
            .map_err(|error| LayoutError::NotALayout(root.to_owned(), error.to_string()))?;
        if version.image_layout_version() != "1.0.0" {
            return Err(LayoutError::NotALayout(
                root.to_owned(),
                format!("version `{}`", version.image_layout_version()),
            ));
        }
        Ok(layout)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Everything that the index names.
    pub fn entries(&self) -> Result<Vec<Named>, LayoutError> {
        let json = self.document("index.json")?;
        let index: oci::ImageIndex =
            serde_json::from_slice(&json).map_err(InvalidManifest::Json)?;
        index
            .manifests()
            .iter()
            .map(|entry| {
                let mut manifest = Blob::from_oci(entry)?;
                manifest.annotations.remove(REF_NAME);
                Ok(Named {
                    manifest,
                    name: entry
                        .annotations()
                        .as_ref()
                        .and_then(|notes| notes.get(REF_NAME).cloned()),
                })
            })
            .collect()
    }

    /// Writes the index.
    pub fn name(&self, entries: &[Named]) -> Result<(), LayoutError> {
        let descriptors: Vec<oci::Descriptor> = entries
            .iter()
            .map(|entry| {
                let mut manifest = entry.manifest.clone();
                if let Some(name) = &entry.name {
                    let name = name.clone();
                    manifest.annotations.insert(REF_NAME.to_owned(), name);
                }
                manifest.to_oci()
            })
            .collect();
        let index = oci::ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(oci::MediaType::ImageIndex)
            .manifests(descriptors)
            .build()
            .expect("all that is required is set");
        self.write("index.json", &canonical(&index))
    }

    /// The image with this name; the only one if no name is given.
    pub fn image(&self, name: Option<&str>) -> Result<Image, LayoutError> {
        let mut named = Vec::new();
        for entry in self.entries()? {
            let wanted = name.is_none_or(|name| entry.name.as_deref() == Some(name));
            if wanted && !self.is_attachment(&entry.manifest)? {
                named.push(entry.manifest);
            }
        }
        match named.as_slice() {
            [blob] => self.load(blob),
            [] => Err(LayoutError::NoImage {
                layout: self.root.clone(),
                name: name.unwrap_or("*").to_owned(),
            }),
            _ => Err(LayoutError::Several(self.root.clone())),
        }
    }

    /// What is attached to the manifest `subject`.
    pub fn attachments(&self, subject: BlobDigest) -> Result<Vec<Manifest>, LayoutError> {
        let mut attached = Vec::new();
        for entry in self.entries()? {
            let json = self.read(&entry.manifest)?;
            if is_index(&json) {
                continue;
            }
            let manifest = Manifest::from_json(&json)?;
            if manifest
                .subject
                .as_ref()
                .is_some_and(|s| s.digest == subject)
            {
                attached.push(manifest);
            }
        }
        Ok(attached)
    }

    /// The image whose manifest, or index of manifests, is `blob`.
    pub fn load(&self, blob: &Blob) -> Result<Image, LayoutError> {
        let mut blob = blob.clone();
        let mut json = self.read(&blob)?;
        if is_index(&json) {
            blob = choose_platform(&json, architecture())?;
            json = self.read(&blob)?;
        }
        let manifest = Manifest::from_json(&json)?;
        let config = ImageConfig::from_json(&self.read(&manifest.config)?)?;
        Image::new(blob.digest, manifest, config)
    }

    /// The blob, whose digest and size are right.
    pub fn open_blob(&self, blob: &Blob) -> Result<File, LayoutError> {
        let path = self.blob_path(blob.digest);
        let failed = |source| LayoutError::Io(path.clone(), source);
        let mut file = File::open(&path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        if size != blob.size {
            return Err(LayoutError::Size {
                digest: blob.digest,
                expected: blob.size,
                found: size,
            });
        }
        let digest = Digest::of_reader(&file).map_err(failed)?;
        if digest != blob.digest.0 {
            return Err(LayoutError::Content {
                expected: blob.digest,
                found: BlobDigest(digest),
            });
        }
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    /// The bytes of a small blob, whose digest and size are right.
    pub fn read(&self, blob: &Blob) -> Result<Vec<u8>, LayoutError> {
        if blob.size > MAX_DOCUMENT {
            return Err(LayoutError::TooLarge(blob.digest, blob.size));
        }
        let mut bytes = Vec::new();
        self.open_blob(blob)?
            .read_to_end(&mut bytes)
            .map_err(|source| LayoutError::Io(self.blob_path(blob.digest), source))?;
        Ok(bytes)
    }

    /// Whether the blob is there; its content is not looked at.
    pub fn has(&self, digest: BlobDigest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Adds a small blob.
    pub fn add(&self, bytes: &[u8], media_type: &str) -> Result<Blob, LayoutError> {
        let blob = Blob::of(bytes, media_type);
        self.write(&format!("blobs/sha256/{}", blob.digest.0), bytes)?;
        Ok(blob)
    }

    /// Adds a manifest.
    pub fn add_manifest(&self, manifest: &Manifest) -> Result<Blob, LayoutError> {
        self.add(&manifest.to_json(), &manifest.media_type)
    }

    /// Adds the blob in the file at `path`, whose digest is known to be right, without copying it
    /// where that is possible.
    pub fn adopt(&self, digest: BlobDigest, path: &Path) -> Result<(), LayoutError> {
        let own = self.blob_path(digest);
        if own.exists() {
            return Ok(());
        }
        fs::hard_link(path, &own)
            .or_else(|_| fs::copy(path, &own).map(|_| ()))
            .map_err(|source| LayoutError::Io(own, source))
    }

    /// Where the blob lies.
    pub fn blob_path(&self, digest: BlobDigest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.0.to_string())
    }

    fn is_attachment(&self, blob: &Blob) -> Result<bool, LayoutError> {
        let json = self.read(blob)?;
        Ok(!is_index(&json) && Manifest::from_json(&json)?.subject.is_some())
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, LayoutError> {
        let path = self.root.join(name);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes))
            .map_err(|source| LayoutError::Io(path, source))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(InvalidManifest::TooLarge(bytes.len()).into());
        }
        Ok(bytes)
    }

    /// Writes whole or not at all, whoever else writes the same.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), LayoutError> {
        let path = self.root.join(name);
        tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(&self.root)
            .and_then(|mut half| {
                half.write_all(bytes)?;
                half.persist(&path).map_err(|error| error.error)?;
                Ok(())
            })
            .map_err(|source| LayoutError::Io(path, source))
    }
}

/// An image: manifest and configuration, which fit each other.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the manifest.
    pub digest: BlobDigest,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
}

impl Image {
    /// Puts both together, if they fit.
    pub fn new(
        digest: BlobDigest,
        manifest: Manifest,
        config: ImageConfig,
    ) -> Result<Self, LayoutError> {
        let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids.len());
        if layers != diff_ids {
            return Err(InvalidManifest::Mismatch { layers, diff_ids }.into());
        }
        Ok(Self {
            digest,
            manifest,
            config,
        })
    }
}

/// What is wrong with a layout.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Something cannot be read or written.
    #[error("`{at}` cannot be read or written: {1}", at = .0.display())]
    Io(PathBuf, #[source] io::Error),
    /// Not a layout.
    #[error("`{at}` is no OCI image layout: {1}", at = .0.display())]
    NotALayout(PathBuf, String),
    /// A manifest that cannot be used.
    #[error(transparent)]
    Manifest(#[from] InvalidManifest),
    /// No image of this name.
    #[error("`{}` has no image `{name}`", layout.display())]
    NoImage {
        /// The layout.
        layout: PathBuf,
        /// The name that was wanted.
        name: String,
    },
    /// More than one image where one was expected.
    #[error("`{at}` has several images: name one", at = .0.display())]
    Several(PathBuf),
    /// A blob of another length.
    #[error("the blob {digest} has {found} bytes: its descriptor says {expected}")]
    Size {
        /// Which.
        digest: BlobDigest,
        /// As described.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// A blob of other bytes.
    #[error("the blob {expected} has other bytes: their digest is {found}")]
    Content {
        /// As described.
        expected: BlobDigest,
        /// As it is.
        found: BlobDigest,
    },
    /// A document of unreasonable size.
    #[error("the document {0} has {1} bytes: at most {MAX_DOCUMENT} are read")]
    TooLarge(BlobDigest, u64),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::media;

    fn image(layout: &Layout, name: &str) -> Blob {
        let config = serde_json::json!({
            "architecture": architecture(), "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [BlobDigest::of(b"tar")]},
        });
        let manifest = Manifest {
            media_type: media::MANIFEST.into(),
            config: layout
                .add(config.to_string().as_bytes(), media::CONFIG)
                .unwrap(),
            layers: vec![layout.add(b"tar", media::LAYER_TAR).unwrap()],
            artifact_type: None,
            subject: None,
            annotations: [("name".to_owned(), name.to_owned())].into(),
        };
        layout.add_manifest(&manifest).unwrap()
    }

    fn named(manifest: &Blob, name: &str) -> Named {
        Named {
            manifest: manifest.clone(),
            name: Some(name.into()),
        }
    }

    #[test]
    fn images_are_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let (one, two) = (image(&layout, "one"), image(&layout, "two"));
        layout.name(&[named(&one, "one")]).unwrap();
        assert_eq!(layout.image(None).unwrap().digest, one.digest);
        layout
            .name(&[named(&one, "one"), named(&two, "two")])
            .unwrap();
        let layout = Layout::open(dir.path()).unwrap();
        assert_eq!(layout.image(Some("two")).unwrap().digest, two.digest);
        assert!(matches!(layout.image(None), Err(LayoutError::Several(_))));
        assert!(matches!(
            layout.image(Some("x")),
            Err(LayoutError::NoImage { .. })
        ));
    }

    #[test]
    fn what_is_attached_is_no_image_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let one = image(&layout, "one");
        let note = Manifest {
            media_type: media::MANIFEST.into(),
            config: layout.add(b"{}", media::EMPTY).unwrap(),
            layers: vec![layout.add(b"note", "text/plain").unwrap()],
            artifact_type: Some("text/plain".into()),
            subject: Some(one.clone()),
            annotations: std::collections::HashMap::default(),
        };
        let attached = Named {
            manifest: layout.add_manifest(&note).unwrap(),
            name: None,
        };
        layout.name(&[named(&one, "one"), attached]).unwrap();
        assert_eq!(layout.image(None).unwrap().digest, one.digest);
        assert_eq!(layout.attachments(one.digest).unwrap(), [note]);
    }

    #[test]
    fn changed_blobs_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let one = image(&layout, "one");
        layout.name(&[named(&one, "one")]).unwrap();
        let layer = layout.image(None).unwrap().manifest.layers[0].clone();
        layout.open_blob(&layer).unwrap();
        fs::write(layout.blob_path(layer.digest), b"tax").unwrap();
        assert!(matches!(
            layout.open_blob(&layer),
            Err(LayoutError::Content { .. })
        ));
        fs::write(layout.blob_path(layer.digest), b"tar!").unwrap();
        assert!(matches!(
            layout.open_blob(&layer),
            Err(LayoutError::Size { .. })
        ));
        fs::write(layout.blob_path(one.digest), b"{}").unwrap();
        assert!(layout.image(None).is_err());
    }
}
