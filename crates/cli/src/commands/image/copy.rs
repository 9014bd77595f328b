//! `mse image copy`

use clap::Args;

use super::of_registry;
use super::push::Pushed;
use super::source::{RegistryArguments, reference};
use crate::cli::Scene;
use crate::failure::Failure;

/// Copy an image from one place in registries to another; its digest stays the same
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image copy registry.example/team/web:1 mirror.example/web:1")]
pub(crate) struct Copy {
    /// The name that it has
    #[arg(value_name = "FROM")]
    from: String,
    /// The name that it gets
    #[arg(value_name = "TO")]
    to: String,
    #[command(flatten)]
    registry: RegistryArguments,
}

impl Copy {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let (from, to) = (reference(&self.from)?, reference(&self.to)?);
        let digest = self
            .registry
            .registry()?
            .copy(&from, &to)
            .await
            .map_err(|error| of_registry(&error))?;
        scene.ui.report(&Pushed {
            image: to.with_digest(digest).to_string(),
            digest,
            signed: false,
        })
    }
}
