//! Images, by their digest: what is created later is what was asked for.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bollard::errors::Error as ApiError;
use bollard::models::ImageInspect;
use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptionsBuilder};
use futures_util::{StreamExt, TryStreamExt};
use tokio_util::io::ReaderStream;

use super::ContainerRuntime;

/// Begins every digest.
const SHA256: &str = "sha256:";

/// The digest of an image's configuration: what engines call its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageId(String);

impl ImageId {
    /// Reads `sha256:…`, or the digits alone, as Podman has them.
    pub fn read(text: &str) -> Result<Self, ImageError> {
        let digits = text.strip_prefix(SHA256).unwrap_or(text);
        let is_digest = digits.len() == 64
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_digest {
            Ok(Self(format!("{SHA256}{digits}")))
        } else {
            Err(ImageError::Id(text.chars().take(100).collect()))
        }
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ContainerRuntime {
    /// Loads the image in `path`: an archive (`docker save`, or OCI), or the folder of an OCI
    /// layout with one image. What is attached to it there is not loaded.
    pub async fn load(&self, path: &Path) -> Result<ImageId, ImageError> {
        let failed = |source| ImageError::Read {
            path: path.to_owned(),
            source,
        };
        let archive = if path.is_dir() {
            let folder = path.to_owned();
            let packed = tokio::task::spawn_blocking(move || pack(&folder)).await;
            packed.map_err(|error| failed(io::Error::other(error)))?
        } else {
            std::fs::File::open(path)
        };
        let archive = ReaderStream::new(tokio::fs::File::from_std(archive.map_err(failed)?));
        let loading =
            self.api
                .import_image_stream(ImportImageOptionsBuilder::new().build(), archive, None);
        let said: Vec<_> = loading.try_collect().await.map_err(|source| {
            let path = path.to_owned();
            ImageError::Load { path, source }
        })?;
        let said: String = said.into_iter().filter_map(|info| info.stream).collect();
        let name = loaded_name(&said).ok_or_else(|| ImageError::NotLoaded {
            path: path.to_owned(),
            said: said.trim().chars().take(200).collect(),
        })?;
        self.id_of(name).await
    }

    /// Pulls `reference`, which names a digest: `registry/name@sha256:…`.
    pub async fn pull(&self, reference: &str) -> Result<ImageId, ImageError> {
        let failed = |source| ImageError::Pull {
            reference: reference.to_owned(),
            source,
        };
        let digest = reference.split_once('@').map(|(_, digest)| digest);
        if digest.is_none_or(|digest| ImageId::read(digest).is_err()) {
            return Err(ImageError::NoDigest(reference.to_owned()));
        }
        let options = CreateImageOptionsBuilder::new()
            .from_image(reference)
            .build();
        let mut pulling = self.api.create_image(Some(options), None, None).boxed();
        while let Some(progress) = pulling.next().await {
            progress.map_err(failed)?;
        }
        self.id_of(reference).await
    }

    /// The image with this name or id, which is there.
    pub async fn id_of(&self, name: &str) -> Result<ImageId, ImageError> {
        let found = self.api.inspect_image(name).await;
        let ImageInspect { id, .. } = found.map_err(|source| ImageError::NotThere {
            name: name.to_owned(),
            source,
        })?;
        ImageId::read(&id.unwrap_or_default())
    }
}

/// The name in what engines say: `Loaded image: NAME`, or `Loaded image ID: sha256:…`.
fn loaded_name(said: &str) -> Option<&str> {
    said.lines()
        .filter(|line| line.starts_with("Loaded image"))
        .filter_map(|line| line.split_once(": "))
        .map(|(_, name)| name.trim())
        .next_back()
}

/// An archive of an OCI layout, whose index names the image alone: engines take an archive with
/// attached documents for one of several images.
fn pack(folder: &Path) -> io::Result<std::fs::File> {
    let index = index_of_image(folder)?;
    let mut archive = tar::Builder::new(tempfile::tempfile()?);
    let mut header = tar::Header::new_gnu();
    header.set_size(index.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, INDEX, index.as_slice())?;
    archive.append_path_with_name(folder.join(MARKER), MARKER)?;
    archive.append_dir_all(BLOBS, folder.join(BLOBS))?;
    let mut file = archive.into_inner()?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

const INDEX: &str = "index.json";
const MARKER: &str = "oci-layout";
const BLOBS: &str = "blobs";
/// Manifests and indexes are much shorter.
const MAX_JSON: u64 = 4 << 20;

/// The layout's index without what is attached to others.
fn index_of_image(folder: &Path) -> io::Result<Vec<u8>> {
    let mut index = json(&folder.join(INDEX))?;
    let Some(manifests) = index["manifests"].as_array_mut() else {
        return Err(io::Error::other("its index has no manifests"));
    };
    let mut images = Vec::new();
    for descriptor in std::mem::take(manifests) {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let id = ImageId::read(digest).map_err(io::Error::other)?;
        let digits = id.0.trim_start_matches(SHA256);
        let manifest = json(&folder.join(BLOBS).join("sha256").join(digits))?;
        if manifest["subject"].is_null() {
            images.push(descriptor);
        }
    }
    *manifests = images;
    Ok(serde_json::to_vec(&index)?)
}

fn json(file: &Path) -> io::Result<serde_json::Value> {
    let mut text = Vec::new();
    let file = std::fs::File::open(file)?;
    io::Read::read_to_end(&mut io::Read::take(file, MAX_JSON), &mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No digest.
    #[error("`{0}` is no image's digest: `sha256:` and 64 hexadecimal digits are expected")]
    Id(String),
    /// A name that may mean something else tomorrow.
    #[error("`{0}` names no digest: write `NAME@sha256:…`, which is one image for ever")]
    NoDigest(String),
    /// The file or folder.
    #[error("the image `{path}` cannot be read: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The engine.
    #[error("the container engine does not load the image `{path}`: {source}")]
    Load {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ApiError,
    },
    /// It took it, and does not say under which name.
    #[error(
        "the container engine does not say that it loaded the image `{path}`; it said `{said}`"
    )]
    NotLoaded {
        /// Which.
        path: PathBuf,
        /// What it said.
        said: String,
    },
    /// The registry, or the engine.
    #[error("the image `{reference}` cannot be pulled: {source}")]
    Pull {
        /// Which.
        reference: String,
        /// Why.
        source: ApiError,
    },
    /// The engine does not know it.
    #[error("the container engine has no image `{name}`: {source}")]
    NotThere {
        /// Which.
        name: String,
        /// Why.
        source: ApiError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_say_has_the_name() {
        assert_eq!(
            loaded_name("Loaded image: localhost/web:latest\n"),
            Some("localhost/web:latest")
        );
        let id = format!("Loaded image ID: sha256:{}", "a".repeat(64));
        assert_eq!(loaded_name(&id).map(str::len), Some(71));
        assert_eq!(loaded_name("no space left"), None);
    }

    #[test]
    fn an_archive_of_a_layout_names_the_image_and_nothing_attached_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let [image, document] = ["0a", "0b"].map(|digit| digit.repeat(32));
        std::fs::write(blobs.join(&image), "{}").unwrap();
        std::fs::write(blobs.join(&document), r#"{"subject": {}}"#).unwrap();
        std::fs::write(folder.path().join(MARKER), "{}").unwrap();
        let index = format!(
            r#"{{"manifests": [{{"digest": "sha256:{image}"}}, {{"digest": "sha256:{document}"}}]}}"#
        );
        std::fs::write(folder.path().join(INDEX), index).unwrap();
        let mut archive = tar::Archive::new(pack(folder.path()).unwrap());
        let mut first = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(first.path().unwrap().to_str(), Some(INDEX));
        let index: serde_json::Value = serde_json::from_reader(&mut first).unwrap();
        let manifests = index["manifests"].as_array().unwrap();
        assert_eq!(manifests.len(), 1);
        assert_eq!(manifests[0]["digest"], format!("sha256:{image}"));
    }

    #[test]
    fn ids_are_digests_with_or_without_their_kind() {
        let digits = "0a".repeat(32);
        let plain = ImageId::read(&digits).unwrap();
        assert_eq!(plain, ImageId::read(&format!("sha256:{digits}")).unwrap());
        assert_eq!(plain.to_string(), format!("sha256:{digits}"));
        for bad in ["", "web:latest", "sha256:0a", &"G".repeat(64)] {
            assert!(ImageId::read(bad).is_err(), "{bad}");
        }
    }
}
