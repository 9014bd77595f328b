//! `mse service measure`

use clap::Args;
use mse_attest::Tee;
use mse_workload::{Measurement, ServiceWorkload, WorkloadDigest, measurement};
use serde::Serialize;

use super::Measured;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::reference::EnclaveReference;
use crate::ui::{Report, counted, pairs};

/// The measurement of a service's enclave, for its session
///
/// Whoever writes the session puts the measurement into it: then the CAS releases to this program
/// only. Needs no network.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse service measure ./web --session team/shop --service web
  mse service measure ./web --cas-key $KEY --session team/shop --service web --json")]
pub(super) struct MeasureService {
    #[command(flatten)]
    measured: Measured,
}

impl MeasureService {
    pub(super) fn run(&self, scene: &Scene<'_>) -> Result<(), Failure> {
        let (cas_key, _) = self.measured.cas(scene)?;
        let (workload, files) = self.measured.workload(cas_key)?;
        let enclave = scene.enclave_reference()?;
        scene.ui.report(&Found {
            workload: workload.digest(),
            measurement: measurement::simulated(&enclave.digest, &workload.digest()),
            tee: Tee::Simulated.as_str(),
            files,
            enclave,
            description: workload,
        })
    }
}

#[derive(Serialize)]
struct Found {
    workload: WorkloadDigest,
    measurement: Measurement,
    tee: &'static str,
    files: usize,
    enclave: EnclaveReference,
    /// The workload itself, whose canonical form is digested.
    description: ServiceWorkload,
}

impl Report for Found {
    fn text(&self) -> String {
        let about = [
            (
                "Program",
                format!(
                    "{}: {}",
                    counted(self.files, "file", "files"),
                    self.description.tree
                ),
            ),
            (
                "Session",
                format!(
                    "{}, service {}",
                    self.description.session, self.description.service
                ),
            ),
            ("CAS key", self.description.cas_key.to_string()),
            ("Enclave program", self.enclave.to_string()),
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
