//! What an image of ours says about itself: it is all in its last layer.

use std::io::Read;

use mse_workload::image::{FACTS, ImageFacts, InvalidImageFacts, TEMPLATE};

use crate::digest::BlobDigest;
use crate::layer::{ChangeKind, InvalidLayer, Limits, visit};
use crate::layout::{Image, Layout, LayoutError};
use crate::manifest::{Blob, InvalidManifest, Manifest};

/// The last layer of an image of ours is never larger: 4 MiB.
pub(crate) const MAX_LAST_LAYER: u64 = 4 << 20;

/// What an image says about itself, read without its other layers.
#[derive(Clone, Debug)]
pub struct ServiceImage {
    /// The digest of the image's manifest.
    pub digest: BlobDigest,
    /// Its facts.
    pub facts: ImageFacts,
    /// The bytes of its `/mse/service.json`.
    pub template: Vec<u8>,
}

impl ServiceImage {
    /// Of an image in a layout.
    pub fn of_layout(layout: &Layout, image: &Image) -> Result<Self, NotOurs> {
        let last = last_layer(&image.manifest)?;
        let bytes = layout.read(last)?;
        Self::of_layer(image.digest, last, &bytes)
    }

    /// From the bytes of its last layer.
    pub(crate) fn of_layer(digest: BlobDigest, blob: &Blob, bytes: &[u8]) -> Result<Self, NotOurs> {
        let limits = Limits {
            layer: 4 * MAX_LAST_LAYER,
            entries: 16,
            ..Limits::default()
        };
        let (mut facts, mut template) = (None, None);
        visit(
            bytes,
            blob.compression()?,
            &limits,
            &mut |change, content| {
                if !matches!(change.kind, ChangeKind::File { .. }) {
                    return Ok(());
                }
                let place = match change.path.as_str() {
                    FACTS => &mut facts,
                    TEMPLATE => &mut template,
                    _ => return Ok(()),
                };
                let mut bytes = Vec::new();
                content
                    .take(MAX_LAST_LAYER)
                    .read_to_end(&mut bytes)
                    .map_err(InvalidLayer::Read)?;
                *place = Some(bytes);
                Ok(())
            },
        )?;
        Ok(Self {
            digest,
            facts: ImageFacts::from_json(&facts.ok_or(NotOurs::Missing(FACTS))?)?,
            template: template.ok_or(NotOurs::Missing(TEMPLATE))?,
        })
    }
}

/// The layer in which an image of ours says everything.
pub(crate) fn last_layer(manifest: &Manifest) -> Result<&Blob, NotOurs> {
    let last = manifest.layers.last().ok_or(NotOurs::Missing(FACTS))?;
    if last.size > MAX_LAST_LAYER {
        return Err(NotOurs::Missing(FACTS));
    }
    Ok(last)
}

/// Why an image is none of ours.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    /// A file is missing.
    #[error("it is no service that mse built: its last layer has no `{0}`")]
    Missing(&'static str),
    /// The last layer cannot be read.
    #[error(transparent)]
    Layer(#[from] InvalidLayer),
    /// Nor its blob.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It is compressed in another way.
    #[error(transparent)]
    Manifest(#[from] InvalidManifest),
    /// Facts that cannot be read.
    #[error(transparent)]
    Facts(#[from] InvalidImageFacts),
}
