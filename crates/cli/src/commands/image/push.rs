//! `mse image push`

use std::path::PathBuf;

use clap::Args;
use mse_image::{BlobDigest, Layout};
use serde::Serialize;

use super::sign::sign;
use super::source::{RegistryArguments, reference};
use super::{of_layout, of_registry};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::Report;

/// Push an image, and what is attached to it, into a registry
///
/// Blobs that the registry has already are left out. The login is docker's.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image push target/images/web registry.example/team/web:1
  mse image push target/images/web registry.example/team/web:1 --sign identity.pem")]
pub(crate) struct Push {
    /// An OCI layout
    #[arg(value_name = "LAYOUT")]
    layout: PathBuf,
    /// Its name in the registry
    #[arg(value_name = "NAME")]
    name: String,
    /// Sign it with the key in this file, which is made if it is not there
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
}

impl Push {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let reference = reference(&self.name)?;
        let layout = Layout::open(&self.layout).map_err(|error| of_layout(&error))?;
        let image = layout.image(None).map_err(|error| of_layout(&error))?;
        let registry = self.registry.registry()?;
        let digest = registry
            .push(&layout, &image, &reference)
            .await
            .map_err(|error| of_registry(&error))?;
        if let Some(key) = &self.sign {
            sign(&registry, &reference.with_digest(digest), key).await?;
        }
        scene.ui.report(&Pushed {
            image: reference.with_digest(digest).to_string(),
            digest,
            signed: self.sign.is_some(),
        })
    }
}

#[derive(Serialize)]
pub(super) struct Pushed {
    pub(super) image: String,
    pub(super) digest: BlobDigest,
    pub(super) signed: bool,
}

impl Report for Pushed {
    fn text(&self) -> String {
        let signed = if self.signed { ", signed" } else { "" };
        format!("Pushed{signed}: {}", self.image)
    }
}
