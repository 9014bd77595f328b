//! Documents about an image, attached to it as OCI artifacts.

use std::collections::HashMap;

use crate::layout::{Layout, LayoutError};
use crate::manifest::{Blob, Manifest, media};

/// SPDX 2.3 in JSON.
pub const SPDX: &str = "application/spdx+json";
/// An in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// A document, and what kind it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The media type, also the artifact's type.
    pub media_type: String,
    /// What the tag of it ends with in a registry.
    pub ending: &'static str,
    /// The document.
    pub bytes: Vec<u8>,
}

impl Attached {
    /// A list of what is in the image.
    pub fn sbom(bytes: Vec<u8>) -> Self {
        Self {
            media_type: SPDX.into(),
            ending: "sbom",
            bytes,
        }
    }

    /// A statement of how the image was made.
    pub fn provenance(bytes: Vec<u8>) -> Self {
        Self {
            media_type: IN_TOTO.into(),
            ending: "provenance",
            bytes,
        }
    }
}

/// Adds the artifact to the layout; its index does not name it yet.
pub(crate) fn attach(
    layout: &Layout,
    subject: &Blob,
    document: &Attached,
) -> Result<Blob, LayoutError> {
    let manifest = Manifest {
        media_type: media::MANIFEST.into(),
        config: layout.add(b"{}", media::EMPTY)?,
        layers: vec![layout.add(&document.bytes, &document.media_type)?],
        artifact_type: Some(document.media_type.clone()),
        subject: Some(subject.clone()),
        annotations: HashMap::new(),
    };
    layout.add_manifest(&manifest)
}

/// What the tag of an attached document ends with.
pub(crate) fn ending_of(manifest: &Manifest) -> &'static str {
    match manifest.artifact_type.as_deref() {
        Some(SPDX) => "sbom",
        Some(IN_TOTO) => "provenance",
        _ => "attached",
    }
}
