//! `mse cas measure`

use clap::Args;
use mse_attest::Tee;
use mse_workload::{CasWorkload, Measured as _, Measurement, WorkloadDigest, measurement};
use serde::Serialize;

use super::Measured;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::reference::EnclaveReference;
use crate::ui::{Report, pairs};

/// The measurement that a CAS of an owner must have
///
/// It covers the program, the owner, the simulated platforms that the CAS may believe, and its
/// resources. Needs neither a CAS nor a network.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas measure
  mse cas measure --owner $HASH --json
  mse cas measure --owner alice.pem --accept-simulated trust-anchor.toml")]
pub(super) struct Measure {
    #[command(flatten)]
    measured: Measured,
}

impl Measure {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let workload = self.measured.workload(scene)?;
        let program = self.measured.reference()?;
        scene.ui.report(&Found {
            workload: workload.digest(),
            measurement: measurement::simulated(&program.digest, &workload.digest()),
            tee: Tee::Simulated.as_str(),
            program,
            description: workload,
        })
    }
}

#[derive(Serialize)]
struct Found {
    workload: WorkloadDigest,
    measurement: Measurement,
    tee: &'static str,
    program: EnclaveReference,
    /// The workload itself, whose canonical form is digested.
    description: CasWorkload,
}

impl Report for Found {
    fn text(&self) -> String {
        let about = [
            ("Owner", self.description.owner.to_string()),
            (
                "Believes",
                match self.description.simulated_anchors.len() {
                    0 => "hardware only".to_owned(),
                    some => format!("hardware, and {some} SIMULATED where a session asks for it"),
                },
            ),
            ("Program", self.program.to_string()),
        ];
        format!(
            "{}\nThe workload digest is {}\nThe measurement on the TEE `{}` is {}",
            pairs(&about),
            self.workload,
            self.tee,
            self.measurement
        )
    }
}
