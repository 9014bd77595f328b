//! Who vouches for an image: signatures that cosign makes and checks as well.
//!
//! What is signed is a small JSON document (the "simple signing" format) that names the digest of
//! the manifest. Document and signature lie in the image's own repository, under the tag
//! `sha256-….sig`: one layer per signature.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::ecdsa::{P256SigningKey, P256VerifyingKey};
use serde::Deserialize;
use serde_json::json;

use crate::digest::BlobDigest;
use crate::manifest::{Blob, Manifest, architecture, canonical, media};
use crate::reference::Reference;
use crate::registry::{Registry, RegistryError};

/// The media type of what is signed.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The note that has the signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const KIND: &str = "cosign container image signature";
/// What is signed is never larger: 64 KiB.
const MAX_PAYLOAD: u64 = 64 * 1024;
/// So many signatures of one image are looked at.
const MAX_SIGNATURES: usize = 64;

/// An image for which a key vouches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The digest of its manifest: use it by this from now on.
    pub digest: BlobDigest,
    /// The name that it had when it was signed.
    pub signed_as: String,
}

/// Signs the image that `reference` is now, and adds the signature to those that are there.
pub async fn sign(
    registry: &Registry,
    reference: &Reference,
    key: &P256SigningKey,
) -> Result<BlobDigest, SignError> {
    let digest = registry.resolve(reference).await?;
    let payload = payload(reference, digest);
    let mut layer = registry
        .push_bytes(reference, &payload, SIMPLE_SIGNING)
        .await?;
    let signature = BASE64.encode(key.sign(&payload));
    layer.annotations = BTreeMap::from([(SIGNATURE.to_owned(), signature)]);
    let mut layers = match signatures(registry, reference, digest).await {
        Ok(manifest) => manifest.layers,
        Err(SignError::NotSigned(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    // A key's new signature takes the place of its old one.
    layers.retain(|other| {
        other.digest != layer.digest || !is_signed_by(&key.public(), &payload, other)
    });
    layers.push(layer);
    let diff_ids: Vec<BlobDigest> = layers.iter().map(|layer| layer.digest).collect();
    let config = canonical(&json!({
        "architecture": architecture(), "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }));
    let manifest = Manifest {
        media_type: media::MANIFEST.into(),
        config: registry
            .push_bytes(reference, &config, media::CONFIG)
            .await?,
        layers,
        artifact_type: None,
        subject: None,
        annotations: HashMap::new(),
    };
    registry
        .push_document(
            &tag(reference, digest),
            &manifest.to_json(),
            media::MANIFEST,
        )
        .await?;
    Ok(digest)
}

/// Checks that the holder of `key` vouches for the image that `reference` is now, under whatever
/// name.
pub async fn verify(
    registry: &Registry,
    reference: &Reference,
    key: &P256VerifyingKey,
) -> Result<Verified, SignError> {
    verify_named(registry, reference, key, |_| true).await
}

/// Checks that the holder of `key` vouches for the image that `reference` is now, as one of this
/// repository: who keeps images cannot pass off one of a signer's images as another.
pub async fn verify_here(
    registry: &Registry,
    reference: &Reference,
    key: &P256VerifyingKey,
) -> Result<Verified, SignError> {
    verify_named(registry, reference, key, |name| is_of(name, reference)).await
}

async fn verify_named(
    registry: &Registry,
    reference: &Reference,
    key: &P256VerifyingKey,
    is_meant: impl Fn(&str) -> bool,
) -> Result<Verified, SignError> {
    let mut other = None;
    let digest = registry.resolve(reference).await?;
    let manifest = signatures(registry, reference, digest).await?;
    for layer in manifest.layers.iter().take(MAX_SIGNATURES) {
        if layer.media_type != SIMPLE_SIGNING || layer.size > MAX_PAYLOAD {
            continue;
        }
        let payload = registry.blob(reference, layer, MAX_PAYLOAD).await?;
        if !is_signed_by(key, &payload, layer) {
            continue;
        }
        // Only now is it more than somebody's words.
        let signed_as = check_payload(&payload, digest)?;
        if is_meant(&signed_as) {
            return Ok(Verified { digest, signed_as });
        }
        other = Some(signed_as);
    }
    Err(match other {
        None => SignError::NotByThisKey(reference.to_string()),
        Some(signed_as) => SignError::OtherName {
            image: format!("{}/{}", reference.registry(), reference.repository()),
            signed_as: signed_as.chars().take(300).collect(),
        },
    })
}

/// Whether a signed name is that of the repository. Tools write it with a tag or without, and
/// Docker Hub in two ways.
fn is_of(signed_as: &str, reference: &Reference) -> bool {
    let signed_as = match signed_as.strip_prefix("index.docker.io/") {
        Some(rest) => format!("docker.io/{rest}"),
        None => signed_as.to_owned(),
    };
    signed_as.parse::<Reference>().is_ok_and(|signed| {
        signed.registry() == reference.registry() && signed.repository() == reference.repository()
    })
}

async fn signatures(
    registry: &Registry,
    reference: &Reference,
    digest: BlobDigest,
) -> Result<Manifest, SignError> {
    match registry.manifest(&tag(reference, digest)).await {
        Ok((_, manifest)) => Ok(manifest),
        Err(RegistryError::NotFound(_)) => Err(SignError::NotSigned(reference.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn tag(reference: &Reference, digest: BlobDigest) -> Reference {
    reference.with_tag(&format!("{}.sig", digest.as_tag()))
}

fn payload(reference: &Reference, digest: BlobDigest) -> Vec<u8> {
    let name = format!("{}/{}", reference.registry(), reference.repository());
    canonical(&json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": KIND,
        },
        "optional": null,
    }))
}

fn is_signed_by(key: &P256VerifyingKey, payload: &[u8], layer: &Blob) -> bool {
    layer
        .annotations
        .get(SIGNATURE)
        .and_then(|signature| BASE64.decode(signature).ok())
        .is_some_and(|signature| key.verify(payload, &signature).is_ok())
}

/// The name in a signed document, which must be about this image.
fn check_payload(payload: &[u8], digest: BlobDigest) -> Result<String, SignError> {
    #[derive(Deserialize)]
    struct Payload {
        critical: Critical,
    }
    #[derive(Deserialize)]
    struct Critical {
        identity: Identity,
        image: Image,
        #[serde(rename = "type")]
        kind: String,
    }
    #[derive(Deserialize)]
    struct Identity {
        #[serde(rename = "docker-reference")]
        reference: String,
    }
    #[derive(Deserialize)]
    struct Image {
        #[serde(rename = "docker-manifest-digest")]
        digest: BlobDigest,
    }
    let Payload { critical } = serde_json::from_slice(payload).map_err(SignError::Payload)?;
    if critical.kind != KIND {
        return Err(SignError::Kind(critical.kind.chars().take(100).collect()));
    }
    if critical.image.digest != digest {
        return Err(SignError::OtherImage {
            image: digest,
            signed: critical.image.digest,
        });
    }
    Ok(critical.identity.reference)
}

/// Why an image could not be signed, or is not vouched for.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The registry is at fault.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No signature at all.
    #[error("`{0}` is not signed: sign it with `mse image sign`")]
    NotSigned(String),
    /// Signatures of others only.
    #[error("`{0}` is signed, but not by this key")]
    NotByThisKey(String),
    /// The key signed something else.
    #[error("the signed document is malformed: {0}")]
    Payload(#[source] serde_json::Error),
    /// The key signed something else.
    #[error("what was signed is of kind `{0}`, not `{KIND}`")]
    Kind(String),
    /// The key vouches for it, as another image.
    #[error(
        "`{image}` is signed by this key, but as `{signed_as}`: whoever signed it did not vouch for it under this name"
    )]
    OtherName {
        /// The repository in question.
        image: String,
        /// The name that was signed.
        signed_as: String,
    },
    /// The signature was moved here from another image.
    #[error("the signature is of the image {signed}, and this is {image}")]
    OtherImage {
        /// The image in question.
        image: BlobDigest,
        /// The image that was signed.
        signed: BlobDigest,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_document_about_this_image_counts() {
        let reference: Reference = "registry.example/team/app:1".parse().unwrap();
        let digest = BlobDigest::of(b"manifest");
        let document = payload(&reference, digest);
        assert_eq!(
            String::from_utf8(document.clone()).unwrap(),
            format!(
                r#"{{"critical":{{"identity":{{"docker-reference":"registry.example/team/app"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
            )
        );
        assert_eq!(
            check_payload(&document, digest).unwrap(),
            "registry.example/team/app"
        );
        let other = BlobDigest::of(b"other");
        assert!(matches!(
            check_payload(&document, other),
            Err(SignError::OtherImage { .. })
        ));
        let text = String::from_utf8(document).unwrap();
        let renamed = text.replace("cosign container", "some container");
        assert!(matches!(
            check_payload(renamed.as_bytes(), digest),
            Err(SignError::Kind(_))
        ));
        assert!(matches!(
            check_payload(b"{}", digest),
            Err(SignError::Payload(_))
        ));
    }

    #[test]
    fn a_signed_name_is_the_repository_s_in_any_spelling() {
        let reference: Reference = "registry.example:5000/team/app:2".parse().unwrap();
        for name in [
            "registry.example:5000/team/app",
            "registry.example:5000/team/app:1",
        ] {
            assert!(is_of(name, &reference), "{name}");
        }
        for name in [
            "registry.example:5000/team/app2",
            "registry.example:5000/team",
            "registry.example/team/app",
            "team/app",
            "",
            "no name",
        ] {
            assert!(!is_of(name, &reference), "{name}");
        }
        let hub = "python:3".parse().unwrap();
        assert!(is_of("index.docker.io/library/python", &hub));
        assert!(is_of("docker.io/library/python", &hub));
    }

    #[test]
    fn a_signature_is_of_its_key_and_document() {
        let key = P256SigningKey::generate();
        let mut layer = Blob::of(b"document", SIMPLE_SIGNING);
        assert!(!is_signed_by(&key.public(), b"document", &layer));
        let signature = BASE64.encode(key.sign(b"document"));
        layer.annotations.insert(SIGNATURE.into(), signature);
        assert!(is_signed_by(&key.public(), b"document", &layer));
        assert!(!is_signed_by(&key.public(), b"documents", &layer));
        assert!(!is_signed_by(
            &P256SigningKey::generate().public(),
            b"document",
            &layer
        ));
    }
}
