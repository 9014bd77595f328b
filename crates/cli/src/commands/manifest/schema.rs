//! `mse manifest schema`

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::Report;

/// Print the JSON Schema of service manifests or Meshfiles, for editors
///
/// It describes the form of `mse/v1`, and of `scone/5.8` as far as that is the same. Older spellings
/// are accepted by `mse manifest check`, and not in the schema.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse manifest schema genservice > genservice.schema.json
  mse manifest schema mesh | jq .properties")]
pub(super) struct Schema {
    /// The kind of document
    #[arg(value_name = "KIND")]
    kind: SchemaKind,
}

#[derive(Clone, Copy, ValueEnum)]
enum SchemaKind {
    /// Service manifests
    Genservice,
    /// Meshfiles
    Mesh,
}

impl Schema {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let kind = match self.kind {
            SchemaKind::Genservice => mse_mesh::Kind::Service,
            SchemaKind::Mesh => mse_mesh::Kind::Mesh,
        };
        scene.ui.report(&Printed(mse_mesh::schema(kind)))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Printed(Value);

impl Report for Printed {
    fn text(&self) -> String {
        format!("{:#}", self.0)
    }
}
