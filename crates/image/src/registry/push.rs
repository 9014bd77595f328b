//! Pushing.

use std::collections::BTreeMap;

use futures_util::stream;
use oci_client::errors::OciDistributionError;
use oci_client::{RegistryOperation, client::Client};
use oci_spec::image as oci;
use tokio::io::AsyncReadExt;

use super::{Registry, RegistryError};
use crate::attach::ending_of;
use crate::digest::BlobDigest;
use crate::layout::{Image, Layout};
use crate::manifest::{Blob, Manifest, canonical, media};
use crate::reference::Reference;

const PIECE: usize = 256 * 1024;

impl Registry {
    /// Pushes the image, and what is attached to it, as `reference`. Blobs that the repository has
    /// are left out.
    pub async fn push(
        &self,
        layout: &Layout,
        image: &Image,
        reference: &Reference,
    ) -> Result<BlobDigest, RegistryError> {
        for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
            self.push_blob(layout, blob, reference).await?;
        }
        let subject = layout
            .entries()?
            .into_iter()
            .map(|entry| entry.manifest)
            .find(|blob| blob.digest == image.digest);
        let json = match &subject {
            Some(blob) => layout.read(blob)?,
            None => image.manifest.to_json(),
        };
        self.push_document(reference, &json, &image.manifest.media_type)
            .await?;
        let attachments = layout.attachments(image.digest)?;
        for manifest in &attachments {
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                self.push_blob(layout, blob, reference).await?;
            }
            let tag = format!("{}.{}", image.digest.as_tag(), ending_of(manifest));
            self.push_document(
                &reference.with_tag(&tag),
                &manifest.to_json(),
                &manifest.media_type,
            )
            .await?;
        }
        self.push_referrers(&attachments, image.digest, reference)
            .await?;
        Ok(image.digest)
    }

    /// Copies an image from one registry to another, or to another repository.
    pub async fn copy(
        &self,
        from: &Reference,
        to: &Reference,
    ) -> Result<BlobDigest, RegistryError> {
        let folder = tempfile::tempdir().map_err(RegistryError::Keep)?;
        let image = self.pull(from, folder.path()).await?;
        self.push(&Layout::open(folder.path())?, &image, to).await
    }

    /// What registries that do not know of referrers are told instead: an index under the digest's
    /// tag.
    async fn push_referrers(
        &self,
        attachments: &[Manifest],
        subject: BlobDigest,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        if attachments.is_empty() {
            return Ok(());
        }
        let tagged = reference.with_tag(&subject.as_tag());
        let mut all: BTreeMap<BlobDigest, oci::Descriptor> = BTreeMap::new();
        // Others may have attached something before.
        match self.document(&tagged).await {
            Ok((_, json)) => {
                if let Ok(index) = serde_json::from_slice::<oci::ImageIndex>(&json) {
                    for entry in index.manifests() {
                        if let Ok(blob) = Blob::from_oci(entry) {
                            all.insert(blob.digest, entry.clone());
                        }
                    }
                }
            }
            Err(RegistryError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        for manifest in attachments {
            let blob = manifest.blob();
            let mut descriptor = blob.to_oci();
            descriptor
                .set_artifact_type(manifest.artifact_type.as_deref().map(oci::MediaType::from));
            all.insert(blob.digest, descriptor);
        }
        let index = oci::ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(oci::MediaType::ImageIndex)
            .manifests(all.into_values().collect::<Vec<_>>())
            .build()
            .expect("all that is required is set");
        self.push_document(&tagged, &canonical(&index), media::INDEX)
            .await
    }

    /// Pushes bytes that are in no layout.
    pub(crate) async fn push_bytes(
        &self,
        reference: &Reference,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<Blob, RegistryError> {
        let folder = tempfile::tempdir().map_err(RegistryError::Keep)?;
        let layout = Layout::create(folder.path())?;
        let blob = layout.add(bytes, media_type)?;
        self.push_blob(&layout, &blob, reference).await?;
        Ok(blob)
    }

    async fn push_blob(
        &self,
        layout: &Layout,
        blob: &Blob,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        let client = self.authorized(reference).await?;
        let failed = |error| RegistryError::of(reference, error);
        let digest = blob.digest.to_string();
        if client
            .blob_exists(reference.as_oci(), &digest)
            .await
            .map_err(failed)?
        {
            return Ok(());
        }
        let file = tokio::fs::File::from_std(layout.open_blob(blob)?);
        let pieces = stream::try_unfold(file, |mut file| async move {
            let mut piece = vec![0; PIECE];
            let read = file
                .read(&mut piece)
                .await
                .map_err(OciDistributionError::IoError)?;
            piece.truncate(read);
            Ok((read > 0).then(|| (piece.into(), file)))
        });
        client
            .push_blob_stream(reference.as_oci(), pieces, &digest, Some(blob.size))
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// Pushes a manifest or index under the reference's tag. Never by digest alone: the client
    /// library trusts the registry's answer then.
    pub(crate) async fn push_document(
        &self,
        reference: &Reference,
        json: &[u8],
        media_type: &str,
    ) -> Result<(), RegistryError> {
        let reference = reference.with_tag(reference.tag().unwrap_or("latest"));
        let content_type = media_type.parse().map_err(|_| RegistryError::Failed {
            reference: reference.to_string(),
            reason: format!("`{}` is no media type", media_type.escape_debug()),
        })?;
        self.authorized(&reference)
            .await?
            .push_manifest_raw(reference.as_oci(), json.to_vec(), content_type)
            .await
            .map_err(|error| RegistryError::of(&reference, error))?;
        Ok(())
    }

    async fn authorized(&self, reference: &Reference) -> Result<&Client, RegistryError> {
        let client = self.client(reference);
        client
            .auth(
                reference.as_oci(),
                &self.auth(reference)?,
                RegistryOperation::Push,
            )
            .await
            .map_err(|error| RegistryError::of(reference, error))?;
        Ok(client)
    }
}
