//! `mse cas backup`

use clap::Args;
use mse_api::cas::{BACKUP, BackupMade};
use serde::Serialize;

use crate::cas::CasChoice;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::findings::printable;
use crate::ui::{Report, good, pairs};

/// Let a CAS write a backup of its store, beside it
///
/// The backup stays sealed: it is of use to this CAS only. Its operator finds it in the folder
/// `backups` of the CAS's data and copies it elsewhere. The owner of the CAS may, and who may update
/// the session `/`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas backup
  mse cas backup --cas prod --json | jq -r .digest")]
pub(super) struct Backup {
    #[command(flatten)]
    cas: CasChoice,
}

impl Backup {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut cas = self.cas.open(scene).await?;
        let made: BackupMade = cas.trigger(BACKUP).await?;
        scene.ui.report(&Made(made))
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Made(BackupMade);

impl Report for Made {
    fn text(&self) -> String {
        format!(
            "{} {}\n{}",
            good("The CAS wrote the backup"),
            printable(&self.0.file),
            pairs(&[
                ("SHA-256", printable(&self.0.digest)),
                ("Position", self.0.position.sequence.to_string()),
            ])
        )
    }
}
