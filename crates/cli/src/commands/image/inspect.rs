//! `mse image inspect`

use clap::Args;
use mse_image::manifest::Blob;
use mse_image::{BlobDigest, Layout, ServiceImage};
use mse_workload::image::ImageFacts;
use serde::Serialize;

use super::source::{RegistryArguments, Source};
use super::{of_layout, of_registry};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{Report, table};

/// Show what an image says about itself; of one in a registry only the last layer is read
///
/// Nothing is recomputed here: that is `mse image verify`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image inspect target/images/web
  mse image inspect registry.example/team/web:1 --json")]
pub(crate) struct Inspect {
    /// An OCI layout, or the name of an image
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    registry: RegistryArguments,
}

impl Inspect {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let source = Source::of(&self.image)?;
        let inspected = match &source {
            Source::Layout(path) => {
                let layout = Layout::open(path).map_err(|error| of_layout(&error))?;
                let image = layout.image(None).map_err(|error| of_layout(&error))?;
                Inspected {
                    digest: image.digest,
                    facts: facts_of(&layout, &image, &self.image)?,
                    layers: layers(&image.manifest.layers),
                }
            }
            Source::Registry(reference) => {
                let registry = self.registry.registry()?;
                let failed = |error| of_registry(&error);
                let service = registry.service(reference).await.map_err(failed)?;
                let pinned = reference.with_digest(service.digest);
                let (digest, manifest) = registry.manifest(&pinned).await.map_err(failed)?;
                Inspected {
                    digest,
                    facts: service.facts,
                    layers: layers(&manifest.layers),
                }
            }
        };
        scene.ui.report(&inspected)
    }
}

/// What the image in the layout says about itself.
pub(super) fn facts_of(
    layout: &Layout,
    image: &mse_image::Image,
    name: &str,
) -> Result<ImageFacts, Failure> {
    ServiceImage::of_layout(layout, image)
        .map(|service| service.facts)
        .map_err(|error| Failure::new(Exit::Refused, format!("`{name}`: {error}")))
}

fn layers(blobs: &[Blob]) -> Vec<Layer> {
    blobs
        .iter()
        .map(|blob| Layer {
            digest: blob.digest,
            size: blob.size,
        })
        .collect()
}

#[derive(Serialize)]
struct Inspected {
    digest: BlobDigest,
    facts: ImageFacts,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    digest: BlobDigest,
    size: u64,
}

impl Report for Inspected {
    fn text(&self) -> String {
        let facts = &self.facts;
        let sealed = facts.sealed.as_ref().map_or_else(
            || "nothing".to_owned(),
            |part| format!("{} (key {})", part.bundle, part.key_check.short()),
        );
        let unmeasured = match facts.unmeasured.as_slice() {
            [] => "nothing".to_owned(),
            paths => paths.join(", "),
        };
        let rows: Vec<[String; 2]> = self
            .layers
            .iter()
            .map(|layer| [layer.digest.to_string(), layer.size.to_string()])
            .collect();
        format!(
            "Image:       {}\nName:        {}\nRoot:        {}\nEnclave:     {}\nEncrypted:   {sealed}\nUnprotected: {unmeasured}\n\n{}",
            self.digest,
            facts.name,
            facts.root,
            facts.enclave.0,
            table(["LAYER", "BYTES"], &rows)
        )
    }
}
