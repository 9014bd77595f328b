//! `mse cas`

mod audit;

use clap::{Args, Subcommand};

use crate::cli::Scene;
use crate::failure::Failure;

/// Look after a CAS: so far, verify its audit log
///
/// The CAS is being built; what stands works on files.
#[derive(Args)]
pub(crate) struct Cas {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// The log of what a CAS did
    Audit {
        #[command(subcommand)]
        action: AuditAction,
    },
}

#[derive(Subcommand)]
enum AuditAction {
    Verify(audit::Verify),
}

impl Cas {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Audit {
                action: AuditAction::Verify(verify),
            } => verify.run(scene),
        }
    }
}
