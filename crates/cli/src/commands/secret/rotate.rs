//! `mse secret rotate`

use clap::Args;
use mse_api::cas::{Rotation, SECRETS_ROTATE, SecretList};

use super::list::Secrets;
use crate::cas::{CasChoice, Span};
use crate::cli::Scene;
use crate::failure::Failure;

/// Let the CAS make a new value of a secret
///
/// Services get it when they renew what they have, or start. For `--grace` the value before is
/// released beside it, as `NAME.previous`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse secret rotate team/shop password
  mse secret rotate team/shop password --grace 10m")]
pub(super) struct Rotate {
    /// The session
    #[arg(value_name = "SESSION")]
    session: String,
    /// The secret
    #[arg(value_name = "NAME")]
    name: String,
    /// How long the value before stays accepted: `90s`, `10m`, `12h`, `7d`
    #[arg(long, value_name = "SPAN")]
    grace: Option<Span>,
    #[command(flatten)]
    cas: CasChoice,
}

impl Rotate {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let rotation = Rotation {
            session: self.session,
            secret: self.name,
            grace: self.grace.map_or(0, Span::seconds),
        };
        let list: SecretList = cas.post(SECRETS_ROTATE, &rotation).await?;
        scene.ui.report(&Secrets(list))
    }
}
