//! The images of a Meshfile: from this machine's store or their registry, always by digest.

use std::collections::BTreeMap;

use mse_crypto::ecdsa::P256VerifyingKey;
use mse_image::sign::SignError;
use mse_image::{Reference, ServiceImage, sign};
use mse_mesh::compile::{MeshImage, StableImage};
use mse_mesh::{Curated, ImageReference, ImageSource, Meshfile, ServiceName, ServiceTemplate};

use super::building::Workshop;
use super::keys::ImageKeys;
use super::programs::ImagePrograms;
use super::store::reference;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;

/// Whether registries are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulling {
    /// For what is not on this machine.
    WhenMissing,
    /// For everything: a tag may have moved.
    Always,
    /// Never.
    Never,
}

/// Looks at images.
pub(crate) struct MeshImages<'a> {
    pub(crate) workshop: Workshop,
    /// What the images of curated services carry; they are built if they are missing.
    pub(crate) programs: &'a ImagePrograms,
    pub(crate) pulling: Pulling,
    /// Who must have signed what comes from a registry.
    pub(crate) signer: Option<P256VerifyingKey>,
}

impl MeshImages<'_> {
    /// What the images of all services say about themselves.
    pub(crate) async fn of(
        &self,
        scene: &Scene<'_>,
        mesh: &Meshfile,
    ) -> Result<BTreeMap<ServiceName, MeshImage>, Failure> {
        let keys = ImageKeys::of(&scene.conf);
        let mut images = BTreeMap::new();
        // Two services may run the same one.
        let mut curated_images = BTreeMap::new();
        for service in &mesh.services {
            let (image, pulling) = match &service.image {
                ImageSource::Reference(image) => (image.clone(), self.pulling),
                ImageSource::Curated(curated) => {
                    let image = match curated_images.get(curated) {
                        Some(image) => ImageReference::clone(image),
                        None => self.curated(scene, *curated).await?,
                    };
                    curated_images.insert(*curated, image.clone());
                    // It is this machine's own, and no registry has it.
                    (image, Pulling::Never)
                }
            };
            let image = self.one(scene, &image, pulling, &keys).await?;
            images.insert(service.name.clone(), image);
        }
        Ok(images)
    }

    async fn curated(
        &self,
        scene: &Scene<'_>,
        curated: Curated,
    ) -> Result<ImageReference, Failure> {
        let programs = self.programs.find()?;
        let workshop = &self.workshop;
        workshop
            .curated(scene, curated, &programs, self.pulling)
            .await
    }

    async fn one(
        &self,
        scene: &Scene<'_>,
        image: &ImageReference,
        pulling: Pulling,
        keys: &ImageKeys,
    ) -> Result<MeshImage, Failure> {
        let (pinned, found) = self.look(scene, image, pulling).await?;
        let template = ServiceTemplate::from_json(&found.template).map_err(|error| {
            Failure::new(Exit::Refused, format!("`{image}`: {error}"))
                .with_hint("build the image again with this `mse`")
        })?;
        let stable = match &template.stable {
            Some(stable) => {
                let (reference, found) = self.look(scene, stable, pulling).await?;
                Some(StableImage {
                    reference,
                    facts: found.facts,
                })
            }
            None => None,
        };
        let key = match &found.facts.sealed {
            Some(sealed) => keys.that_opens(sealed)?,
            None => None,
        };
        Ok(MeshImage {
            reference: pinned,
            facts: found.facts,
            template,
            key,
            stable,
        })
    }

    /// The image, and its reference with the digest.
    async fn look(
        &self,
        scene: &Scene<'_>,
        image: &ImageReference,
        pulling: Pulling,
    ) -> Result<(ImageReference, ServiceImage), Failure> {
        let reference = reference(image.as_str())?;
        let found = match self.here(&reference)? {
            Some(found) if pulling != Pulling::Always => {
                self.prove_origin(&reference, &found, pulling).await?;
                found
            }
            _ if pulling == Pulling::Never => {
                return Err(Failure::new(
                    Exit::NotFound,
                    format!("the image `{image}` is not on this machine"),
                )
                .with_hint(
                    "build it with `mse apply -f SERVICE.yaml`, or leave `--no-pull` away",
                ));
            }
            _ => {
                let reference = self.vouched(scene, &reference).await?;
                let asked = self.workshop.registry.service(&reference).await;
                asked.map_err(|error| Failure::of_registry(&error))?
            }
        };
        let pinned = reference.with_digest(found.digest).to_string();
        let pinned = pinned
            .parse()
            .map_err(|error: mse_mesh::InvalidImageReference| Failure::other(error.to_string()))?;
        Ok((pinned, found))
    }

    /// An image that is on this machine and was not built here is vouched for as any other.
    async fn prove_origin(
        &self,
        reference: &Reference,
        found: &ServiceImage,
        pulling: Pulling,
    ) -> Result<(), Failure> {
        let Some(signer) = &self.signer else {
            return Ok(());
        };
        if self.workshop.store.is_built_here(found.digest) {
            return Ok(());
        }
        if pulling == Pulling::Never {
            return Err(Failure::new(
                Exit::Refused,
                format!("`{reference}` was pulled to this machine, and its signature is in its registry"),
            )
            .with_hint("`--no-pull` asks no registry: leave it or `--image-signer` away, or build the image here"));
        }
        let pinned = reference.with_digest(found.digest);
        sign::verify_here(&self.workshop.registry, &pinned, signer)
            .await
            .map(|_| ())
            .map_err(|error| not_vouched(&error))
    }

    /// The reference with the digest that the signer vouches for. What an image says of its command
    /// and files becomes policy, so whoever can change a tag could have another command released to.
    async fn vouched(
        &self,
        scene: &Scene<'_>,
        reference: &Reference,
    ) -> Result<Reference, Failure> {
        let Some(signer) = &self.signer else {
            if reference.digest().is_none() {
                scene.ui.warn(format!(
                    "nobody vouches for `{reference}`: it is whatever the registry has under this tag now. Name its digest in the Meshfile, or who signs it with `--image-signer`"
                ));
            }
            return Ok(reference.clone());
        };
        let verified = sign::verify_here(&self.workshop.registry, reference, signer)
            .await
            .map_err(|error| not_vouched(&error))?;
        Ok(reference.with_digest(verified.digest))
    }

    fn here(&self, reference: &Reference) -> Result<Option<ServiceImage>, Failure> {
        let Some((layout, image)) = self.workshop.store.get(reference)? else {
            return Ok(None);
        };
        ServiceImage::of_layout(&layout, &image)
            .map(Some)
            .map_err(|error| Failure::other(format!("`{reference}`: {error}")))
    }
}

/// The signer does not vouch for an image, or nobody can say.
fn not_vouched(error: &SignError) -> Failure {
    match error {
        SignError::Registry(error) => Failure::of_registry(error),
        SignError::OtherName { .. } => Failure::new(Exit::Refused, error.to_string()).with_hint(
            "name the image as it was signed, or have it signed under this name: `mse image sign`",
        ),
        _ => Failure::new(Exit::Refused, error.to_string())
            .with_hint("do not use this image, or give the key of whoever signs it"),
    }
}

impl Failure {
    /// A registry did not do what was asked.
    pub(crate) fn of_registry(error: &mse_image::registry::RegistryError) -> Self {
        Self::new(Exit::Platform, error.to_string()).with_hint(
            "is the reference right, are you logged in (`docker login`), and is the registry's authority known (`--registry-ca FILE`)?",
        )
    }
}
