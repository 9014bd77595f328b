//! Manifests and descriptors, read strictly: what is not needed is refused, not guessed.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image as oci;
use serde::{Deserialize, Serialize};

use crate::digest::BlobDigest;
use crate::layer::Compression;

/// A manifest, index or configuration is never larger: 4 MiB, as in registries.
pub const MAX_DOCUMENT: u64 = 4 << 20;
/// An image has at most this many layers: what container engines can mount.
pub const MAX_LAYERS: usize = 127;

/// Media types.
pub mod media {
    /// An OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker's image manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's index.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// An OCI image configuration.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// A layer, not compressed.
    pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
    /// Docker's layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Nothing: the configuration of what is no image.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
}

/// Which bytes, and of what kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// The media type.
    pub media_type: String,
    /// SHA-256 of the bytes.
    pub digest: BlobDigest,
    /// Their number.
    pub size: u64,
    /// Notes of the manifest about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest: of an image, or of something attached to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The media type of the manifest itself.
    pub media_type: String,
    /// The configuration.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<Blob>,
    /// What kind of thing it is, if it is attached to another.
    pub artifact_type: Option<String>,
    /// What it is attached to.
    pub subject: Option<Blob>,
    /// Notes.
    pub annotations: HashMap<String, String>,
}

impl Blob {
    /// The descriptor of `bytes`.
    pub fn of(bytes: &[u8], media_type: &str) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: BlobDigest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        }
    }

    /// How a layer with this media type is compressed.
    pub fn compression(&self) -> Result<Compression, InvalidManifest> {
        match self.media_type.as_str() {
            media::LAYER_GZIP | media::DOCKER_LAYER_GZIP => Ok(Compression::Gzip),
            media::LAYER_TAR => Ok(Compression::None),
            other => Err(InvalidManifest::LayerType(shortened(other))),
        }
    }

    pub(crate) fn to_oci(&self) -> oci::Descriptor {
        let mut descriptor = oci::Descriptor::new(
            oci::MediaType::from(self.media_type.as_str()),
            self.size,
            oci::Digest::try_from(self.digest.to_string()).expect("it is written as OCI wants it"),
        );
        if !self.annotations.is_empty() {
            descriptor.set_annotations(Some(self.annotations.clone().into_iter().collect()));
        }
        descriptor
    }

    pub(crate) fn from_oci(descriptor: &oci::Descriptor) -> Result<Self, InvalidManifest> {
        Ok(Self {
            media_type: descriptor.media_type().to_string(),
            digest: descriptor
                .digest()
                .to_string()
                .parse()
                .map_err(|error| InvalidManifest::Digest(format!("{error}")))?,
            size: descriptor.size(),
            annotations: descriptor
                .annotations()
                .iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }
}

impl Manifest {
    /// Reads a manifest.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidManifest> {
        within_bounds(json)?;
        let manifest: oci::ImageManifest = serde_json::from_slice(json)?;
        if manifest.schema_version() != 2 {
            return Err(InvalidManifest::Schema(manifest.schema_version()));
        }
        let media_type = manifest
            .media_type()
            .as_ref()
            .map_or_else(|| media::MANIFEST.to_owned(), ToString::to_string);
        if ![media::MANIFEST, media::DOCKER_MANIFEST].contains(&media_type.as_str()) {
            return Err(InvalidManifest::Type(shortened(&media_type)));
        }
        if manifest.layers().len() > MAX_LAYERS {
            return Err(InvalidManifest::Layers(manifest.layers().len()));
        }
        Ok(Self {
            media_type,
            config: Blob::from_oci(manifest.config())?,
            layers: manifest
                .layers()
                .iter()
                .map(Blob::from_oci)
                .collect::<Result<_, _>>()?,
            artifact_type: manifest.artifact_type().as_ref().map(ToString::to_string),
            subject: manifest
                .subject()
                .as_ref()
                .map(Blob::from_oci)
                .transpose()?,
            annotations: manifest.annotations().clone().unwrap_or_default(),
        })
    }

    /// The JSON form, canonical (RFC 8785): the same manifest is always the same bytes.
    pub fn to_json(&self) -> Vec<u8> {
        let mut builder = oci::ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(oci::MediaType::from(self.media_type.as_str()))
            .config(self.config.to_oci())
            .layers(self.layers.iter().map(Blob::to_oci).collect::<Vec<_>>());
        if let Some(artifact_type) = &self.artifact_type {
            builder = builder.artifact_type(oci::MediaType::from(artifact_type.as_str()));
        }
        if let Some(subject) = &self.subject {
            builder = builder.subject(subject.to_oci());
        }
        if !self.annotations.is_empty() {
            builder = builder.annotations(self.annotations.clone());
        }
        canonical(&builder.build().expect("all that is required is set"))
    }

    /// The descriptor of this manifest.
    pub fn blob(&self) -> Blob {
        Blob::of(&self.to_json(), &self.media_type)
    }
}

/// What of an image's configuration is used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfig {
    /// The digests of the layers' uncompressed bytes, lowest first.
    pub diff_ids: Vec<BlobDigest>,
    /// `linux`.
    pub os: String,
    /// `amd64` and so on.
    pub architecture: String,
    /// The whole, as it was written.
    pub document: oci::ImageConfiguration,
}

impl ImageConfig {
    /// Reads a configuration.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidManifest> {
        within_bounds(json)?;
        let document: oci::ImageConfiguration = serde_json::from_slice(json)?;
        let diff_ids = document
            .rootfs()
            .diff_ids()
            .iter()
            .map(|digest| {
                digest
                    .parse()
                    .map_err(|error| InvalidManifest::Digest(format!("{error}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            diff_ids,
            os: document.os().to_string(),
            architecture: document.architecture().to_string(),
            document,
        })
    }
}

/// The entry of an index that is for this kind of machine; the only one if there is only one.
pub(crate) fn choose_platform(json: &[u8], architecture: &str) -> Result<Blob, InvalidManifest> {
    within_bounds(json)?;
    let index: oci::ImageIndex = serde_json::from_slice(json)?;
    let wanted = index.manifests().iter().find(|entry| {
        entry.platform().as_ref().is_some_and(|platform| {
            platform.os().to_string() == "linux"
                && platform.architecture().to_string() == architecture
        })
    });
    match (wanted, index.manifests().as_slice()) {
        (Some(entry), _) | (None, [entry]) => Blob::from_oci(entry),
        _ => Err(InvalidManifest::Platform(architecture.to_owned())),
    }
}

/// Whether `json` is an index of manifests rather than a manifest.
pub(crate) fn is_index(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Shape {
        #[serde(rename = "mediaType", default)]
        media_type: Option<String>,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Shape>(json).is_ok_and(|shape| match shape.media_type.as_deref() {
        Some(media::INDEX | media::DOCKER_INDEX) => true,
        Some(_) => false,
        None => shape.manifests.is_some(),
    })
}

/// RFC 8785 JSON.
pub(crate) fn canonical(value: &impl Serialize) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value)
        .expect("documents have only strings, integers and lists")
}

/// The name that OCI gives to this machine's processor.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn within_bounds(json: &[u8]) -> Result<(), InvalidManifest> {
    if json.len() as u64 > MAX_DOCUMENT {
        return Err(InvalidManifest::TooLarge(json.len()));
    }
    Ok(())
}

fn shortened(text: &str) -> String {
    text.chars()
        .take(100)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// A manifest, index or configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Larger than [`MAX_DOCUMENT`].
    #[error("the manifest is {0} bytes long: at most {MAX_DOCUMENT} are read")]
    TooLarge(usize),
    /// Not JSON, or not of this shape.
    #[error("the manifest is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// Not version 2.
    #[error("the manifest has schema version {0}: only version 2 is read")]
    Schema(u32),
    /// Something else than an image.
    #[error("the manifest is of type `{0}`, which is no image")]
    Type(String),
    /// A layer that cannot be read.
    #[error(
        "a layer is of type `{0}`: only gzip and plain tar are read; convert the image with `skopeo copy --dest-compress-format gzip`"
    )]
    LayerType(String),
    /// Too many layers.
    #[error("the image has {0} layers: at most {MAX_LAYERS} are possible")]
    Layers(usize),
    /// A digest that is not SHA-256.
    #[error("in the manifest, {0}")]
    Digest(String),
    /// An index without this machine's processor.
    #[error("the image is not there for linux/{0}")]
    Platform(String),
    /// As many layers as digests of layers must be there.
    #[error("the image has {layers} layers, but its configuration names {diff_ids}")]
    Mismatch {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        Manifest {
            media_type: media::MANIFEST.into(),
            config: Blob::of(b"{}", media::CONFIG),
            layers: vec![Blob::of(b"layer", media::LAYER_GZIP)],
            artifact_type: Some("application/x".into()),
            subject: Some(Blob::of(b"subject", media::MANIFEST)),
            annotations: [
                ("a".to_owned(), "1".to_owned()),
                ("b".to_owned(), "2".to_owned()),
            ]
            .into(),
        }
    }

    #[test]
    fn a_manifest_survives_its_json_and_is_always_the_same_bytes() {
        let json = example().to_json();
        assert_eq!(Manifest::from_json(&json).unwrap(), example());
        for _ in 0..20 {
            assert_eq!(example().to_json(), json);
        }
    }

    #[test]
    fn strange_manifests_are_refused() {
        let changed = |change: fn(&mut serde_json::Value)| {
            let mut value: serde_json::Value =
                serde_json::from_slice(&example().to_json()).unwrap();
            change(&mut value);
            Manifest::from_json(value.to_string().as_bytes())
        };
        assert!(matches!(
            changed(|v| v["schemaVersion"] = 1.into()),
            Err(InvalidManifest::Schema(1))
        ));
        assert!(matches!(
            changed(|v| v["mediaType"] = "x/y".into()),
            Err(InvalidManifest::Type(_))
        ));
        assert!(changed(|v| v["config"]["digest"] = "md5:00".into()).is_err());
        let many = changed(|v| v["layers"] = vec![v["layers"][0].clone(); MAX_LAYERS + 1].into());
        assert!(matches!(many, Err(InvalidManifest::Layers(_))));
        let zstd = Blob::of(b"", "application/vnd.oci.image.layer.v1.tar+zstd");
        assert!(zstd.compression().is_err());
    }

    #[test]
    fn of_an_index_the_entry_for_this_machine_is_taken() {
        let entry = |arch: &str, bytes: &[u8]| {
            serde_json::json!({
                "mediaType": media::MANIFEST, "size": bytes.len(), "digest": BlobDigest::of(bytes),
                "platform": {"os": "linux", "architecture": arch},
            })
        };
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": media::INDEX,
            "manifests": [entry("s390x", b"1"), entry("amd64", b"2")],
        })
        .to_string();
        assert!(is_index(index.as_bytes()) && !is_index(&example().to_json()));
        let chosen = choose_platform(index.as_bytes(), "amd64").unwrap();
        assert_eq!(chosen.digest, BlobDigest::of(b"2"));
        assert!(matches!(
            choose_platform(index.as_bytes(), "arm64"),
            Err(InvalidManifest::Platform(_))
        ));
    }
}
