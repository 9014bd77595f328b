//! `mse cas list` and `mse cas forget`

use clap::Args;
use serde::Serialize;

use crate::cas::{CasName, CasPin, CasPins};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::{Report, table};

/// List the CASes that were attested
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas list
  mse cas list --json")]
pub(super) struct List {}

impl List {
    #[allow(clippy::unused_self, reason = "every command is run like this")]
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let known = CasPins::of(&scene.conf).list()?;
        scene.ui.report(&Known {
            cases: known
                .into_iter()
                .map(|(name, pin)| Named {
                    name: name.to_string(),
                    pin,
                })
                .collect(),
        })
    }
}

#[derive(Serialize)]
struct Known {
    cases: Vec<Named>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    pin: CasPin,
}

impl Report for Known {
    fn text(&self) -> String {
        if self.cases.is_empty() {
            return "No CAS was attested yet: `mse cas attest ADDRESS --name NAME`".to_owned();
        }
        let rows: Vec<[String; 4]> = self
            .cases
            .iter()
            .map(|Named { name, pin }| {
                [
                    name.clone(),
                    pin.address.clone(),
                    pin.tee.clone(),
                    pin.cas_key.to_string(),
                ]
            })
            .collect();
        table(["NAME", "ADDRESS", "TEE", "KEY"], &rows)
    }
}

/// Forget a CAS that was attested
///
/// Nothing happens to the CAS itself. To use it again, attest it again.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas forget prod")]
pub(super) struct Forget {
    /// Its name in `mse cas list`
    #[arg(value_name = "NAME")]
    name: CasName,
}

impl Forget {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let pin = CasPins::of(&scene.conf).remove(&self.name)?;
        scene.ui.report(&Forgotten {
            name: self.name.to_string(),
            forgotten: pin,
        })
    }
}

#[derive(Serialize)]
struct Forgotten {
    name: String,
    forgotten: CasPin,
}

impl Report for Forgotten {
    fn text(&self) -> String {
        format!(
            "Forgot `{}`, the CAS at {} with the key {}",
            self.name, self.forgotten.address, self.forgotten.cas_key
        )
    }
}
