//! Pulling.

use std::io::Write;
use std::path::Path;

use futures_util::StreamExt;
use mse_crypto::digest::Hasher;
use oci_client::client::AsLayerDescriptor;
use oci_client::client::LayerDescriptor;
use tempfile::NamedTempFile;

use super::{Registry, RegistryError};
use crate::digest::BlobDigest;
use crate::layer::Limits;
use crate::layout::{Image, Layout, Named};
use crate::manifest::{
    Blob, ImageConfig, InvalidManifest, MAX_DOCUMENT, Manifest, architecture, choose_platform,
    is_index, media,
};
use crate::reference::Reference;
use crate::service::{MAX_LAST_LAYER, ServiceImage, last_layer};

/// What manifests may be.
const ACCEPTED: &[&str] = &[
    media::MANIFEST,
    media::INDEX,
    media::DOCKER_MANIFEST,
    media::DOCKER_INDEX,
];

/// All layers of an image have at most so many bytes: 64 GiB.
const MAX_LAYERS: u64 = 64 << 30;

impl Registry {
    /// The digest of the image for this machine.
    pub async fn resolve(&self, reference: &Reference) -> Result<BlobDigest, RegistryError> {
        Ok(self.manifest(reference).await?.0)
    }

    /// The manifest for this machine, and its digest.
    pub async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<(BlobDigest, Manifest), RegistryError> {
        let invalid = |source| RegistryError::Manifest {
            reference: reference.to_string(),
            source,
        };
        let (mut digest, mut json) = self.document(reference).await?;
        if is_index(&json) {
            let chosen = choose_platform(&json, architecture()).map_err(invalid)?;
            (digest, json) = self.document(&reference.with_digest(chosen.digest)).await?;
        }
        Ok((digest, Manifest::from_json(&json).map_err(invalid)?))
    }

    /// What an image of ours says about itself: its manifest and its last layer are read.
    pub async fn service(&self, reference: &Reference) -> Result<ServiceImage, RegistryError> {
        let (digest, manifest) = self.manifest(reference).await?;
        let not_ours = |source| RegistryError::NotOurs(reference.to_string(), source);
        let last = last_layer(&manifest).map_err(not_ours)?;
        let layer = self.blob(reference, last, MAX_LAST_LAYER).await?;
        ServiceImage::of_layer(digest, last, &layer).map_err(not_ours)
    }

    /// Pulls the image for this machine into the layout in `folder`, which is made if it is not
    /// there. What it has already is not pulled again. The layout names the image by its reference.
    pub async fn pull(&self, reference: &Reference, folder: &Path) -> Result<Image, RegistryError> {
        let layout = match Layout::open(folder) {
            Ok(layout) => layout,
            Err(_) => Layout::create(folder)?,
        };
        let invalid = |source| RegistryError::Manifest {
            reference: reference.to_string(),
            source,
        };
        let (digest, manifest) = self.manifest(reference).await?;
        check_sizes(&manifest)?;
        let config = self.blob(reference, &manifest.config, MAX_DOCUMENT).await?;
        layout.add(&config, &manifest.config.media_type)?;
        for layer in &manifest.layers {
            layer.compression().map_err(invalid)?;
            if layout.open_blob(layer).is_err() {
                let file = NamedTempFile::new_in(folder).map_err(RegistryError::Keep)?;
                let file = self.blob_to_file(reference, layer, file).await?;
                file.persist(layout.blob_path(layer.digest))
                    .map_err(|error| RegistryError::Keep(error.error))?;
            }
        }
        // The bytes as they came: another way of writing them has another digest.
        let (_, json) = self.document(&reference.with_digest(digest)).await?;
        let blob = layout.add(&json, &manifest.media_type)?;
        let config = ImageConfig::from_json(&config).map_err(invalid)?;
        let image = Image::new(digest, manifest, config)?;
        let name = reference.to_string();
        let mut entries = layout.entries()?;
        entries.retain(|entry| entry.name.as_deref() != Some(&name));
        entries.push(Named {
            manifest: blob,
            name: Some(name),
        });
        layout.name(&entries)?;
        Ok(image)
    }

    /// A small blob, whose digest and size are right.
    pub async fn blob(
        &self,
        reference: &Reference,
        blob: &Blob,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        if blob.size > limit {
            return Err(RegistryError::TooLarge {
                digest: blob.digest,
                size: blob.size,
                limit,
            });
        }
        let mut bytes = Vec::new();
        self.blob_into(reference, blob, &mut bytes).await?;
        Ok(bytes)
    }

    async fn blob_to_file(
        &self,
        reference: &Reference,
        blob: &Blob,
        mut file: NamedTempFile,
    ) -> Result<NamedTempFile, RegistryError> {
        self.blob_into(reference, blob, &mut file).await?;
        Ok(file)
    }

    async fn blob_into(
        &self,
        reference: &Reference,
        blob: &Blob,
        out: &mut impl Write,
    ) -> Result<(), RegistryError> {
        let failed = |error| RegistryError::of(reference, error);
        let client = self.client(reference);
        client
            .store_auth_if_needed(
                reference.as_oci().resolve_registry(),
                &self.auth(reference)?,
            )
            .await;
        let digest = blob.digest.to_string();
        let mut stream = client
            .pull_blob_stream(reference.as_oci(), Wanted(&digest))
            .await
            .map_err(failed)?;
        let mut hasher = Hasher::new();
        let mut size = 0;
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                // The library noticed, too.
                Err(_) if size == blob.size => break,
                Err(source) => {
                    return Err(RegistryError::Failed {
                        reference: reference.to_string(),
                        reason: super::with_causes(&source),
                    });
                }
            };
            size += piece.len() as u64;
            if size > blob.size {
                return Err(RegistryError::Size(reference.to_string()));
            }
            hasher.update(&piece);
            out.write_all(&piece).map_err(RegistryError::Keep)?;
        }
        let found = BlobDigest(hasher.finish());
        if size != blob.size {
            return Err(RegistryError::Size(reference.to_string()));
        }
        if found != blob.digest {
            return Err(RegistryError::Content {
                reference: reference.to_string(),
                found,
            });
        }
        out.flush().map_err(RegistryError::Keep)
    }

    /// A manifest or index as the registry has it. If the reference has a digest, it is right.
    pub(super) async fn document(
        &self,
        reference: &Reference,
    ) -> Result<(BlobDigest, Vec<u8>), RegistryError> {
        // A reference with both is read by its digest.
        let asked = match reference.digest() {
            Some(digest) => reference.with_digest(digest),
            None => reference.clone(),
        };
        let (bytes, _) = self
            .client(&asked)
            .pull_manifest_raw(asked.as_oci(), &self.auth(&asked)?, ACCEPTED)
            .await
            .map_err(|error| RegistryError::of(reference, error))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(RegistryError::Manifest {
                reference: reference.to_string(),
                source: InvalidManifest::TooLarge(bytes.len()),
            });
        }
        let found = BlobDigest::of(&bytes);
        match asked.digest() {
            Some(digest) if digest != found => Err(RegistryError::Content {
                reference: reference.to_string(),
                found,
            }),
            _ => Ok((found, bytes.to_vec())),
        }
    }
}

/// What is too large to be unpacked is not fetched.
fn check_sizes(manifest: &Manifest) -> Result<(), RegistryError> {
    let mut left = MAX_LAYERS;
    for layer in &manifest.layers {
        let limit = Limits::default().layer.min(left);
        if layer.size > limit {
            return Err(RegistryError::TooLarge {
                digest: layer.digest,
                size: layer.size,
                limit,
            });
        }
        left -= layer.size;
    }
    Ok(())
}

/// A blob by its digest.
struct Wanted<'a>(&'a str);

impl AsLayerDescriptor for Wanted<'_> {
    fn as_layer_descriptor(&self) -> LayerDescriptor<'_> {
        LayerDescriptor {
            digest: self.0,
            urls: &None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(sizes: &[u64]) -> Manifest {
        let blob = |media: &str, size: u64| serde_json::json!({"mediaType": media, "digest": BlobDigest::of(b"blob").to_string(), "size": size});
        let layers: Vec<_> = sizes
            .iter()
            .map(|size| blob("application/vnd.oci.image.layer.v1.tar+gzip", *size))
            .collect();
        let json = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media::MANIFEST,
            "config": blob("application/vnd.oci.image.config.v1+json", 2),
            "layers": layers,
        });
        Manifest::from_json(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_would_fill_the_disk_is_not_fetched() {
        const GIB: u64 = 1 << 30;
        check_sizes(&manifest(&[16 * GIB, 16 * GIB, 16 * GIB, 16 * GIB])).unwrap();
        for too_large in [
            [1 << 50].as_slice(),
            &[u64::MAX, u64::MAX],
            &[16 * GIB, 16 * GIB, 16 * GIB, 16 * GIB, 1],
        ] {
            let refused = check_sizes(&manifest(too_large));
            assert!(matches!(refused, Err(RegistryError::TooLarge { .. })));
        }
    }
}
