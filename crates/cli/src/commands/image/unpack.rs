//! `mse image unpack`

use std::path::PathBuf;

use clap::Args;
use mse_image::{BlobDigest, Part};
use serde::Serialize;

use super::of_unpack;
use super::source::{RegistryArguments, Source};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::Report;

/// Write an image's files into a folder; every digest is compared
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image unpack target/images/web root
  mse image unpack registry.example/team/web@sha256:… root --program")]
pub(crate) struct Unpack {
    /// An OCI layout, or the name of an image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The folder, which must be empty or missing
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Only what the program sees: without `/mse`
    #[arg(long)]
    program: bool,
    #[command(flatten)]
    registry: RegistryArguments,
}

impl Unpack {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let loaded = Source::of(&self.image)?.load(&self.registry).await?;
        let part = if self.program {
            Part::WithoutOwn
        } else {
            Part::Whole
        };
        let system = mse_image::unpack(&loaded.layout, &loaded.image, part, &self.folder)
            .map_err(|error| of_unpack(&error))?;
        scene.ui.report(&Unpacked {
            digest: loaded.image.digest,
            folder: self.folder,
            bytes: system.size(),
        })
    }
}

#[derive(Serialize)]
struct Unpacked {
    digest: BlobDigest,
    folder: PathBuf,
    bytes: u64,
}

impl Report for Unpacked {
    fn text(&self) -> String {
        format!(
            "{} has been unpacked into: {}",
            self.digest,
            self.folder.display()
        )
    }
}
