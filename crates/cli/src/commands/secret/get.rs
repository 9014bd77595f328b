//! `mse secret get`

use clap::Args;
use mse_api::cas::{PublicValue, VALUE};
use serde::Serialize;

use crate::cas::CasChoice;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::Report;

/// Print a value that its session exports to everybody: a certificate, a public key
///
/// Other values are given to attested services only, and to nobody here.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse secret get team/shop ca > ca.pem")]
pub(super) struct Get {
    /// The session
    #[arg(value_name = "SESSION")]
    session: String,
    /// The secret
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    cas: CasChoice,
}

impl Get {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let parameters = [("session", self.session.as_str()), ("secret", &self.name)];
        let value: PublicValue = cas.get(VALUE, &parameters).await?;
        scene.ui.report(&Shown(value))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(PublicValue);

impl Report for Shown {
    /// As it is: it is meant for a file or a program.
    fn text(&self) -> String {
        self.0.value.trim_end_matches('\n').to_owned()
    }
}
