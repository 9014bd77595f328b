//! `mse service measure`

use std::path::PathBuf;

use clap::Args;
use mse_attest::Tee;
use mse_workload::image::ImageFacts;
use mse_workload::{Measured as _, Measurement, ServiceWorkload, WorkloadDigest, measurement};
use serde::Serialize;

use super::image::{UnpackedImage, read_facts};
use super::{Extent, Measured, Program};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::reference::{EnclaveReference, ReferenceSource};
use crate::ui::{Report, pairs};

/// The measurement of a service's enclave, for its session
///
/// Whoever writes the session puts the measurement into it: then the CAS releases to this program
/// only. Needs no network.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse service measure ./web --session team/shop --service web
  mse service measure ./web --cas-key $KEY --session team/shop --service web --json
  mse service measure --image-facts image.json --session team/shop --service web")]
pub(super) struct MeasureService {
    #[command(flatten)]
    measured: Measured,
    /// A file with what an image says about itself, in place of the image: its `/mse/image.json`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["folder", "image"])]
    image_facts: Option<PathBuf>,
}

impl MeasureService {
    pub(super) fn run(&self, scene: &Scene<'_>) -> Result<(), Failure> {
        let (cas_key, _) = self.measured.cas(scene)?;
        let facts = match (&self.image_facts, &self.measured.image) {
            (Some(file), _) => Some(read_facts(file)?),
            (None, Some(image)) => Some(UnpackedImage::open(image)?.facts().clone()),
            (None, None) => None,
        };
        let (program, enclave) = match &facts {
            Some(facts) => (Program::of_image(facts), of_image(facts)),
            None => (self.measured.program()?, scene.enclave_reference()?),
        };
        let extent = program.extent.clone();
        let workload = self.measured.workload(cas_key, program)?;
        scene.ui.report(&Found {
            workload: workload.digest(),
            measurement: measurement::simulated(&enclave.digest, &workload.digest()),
            tee: Tee::Simulated.as_str(),
            extent,
            enclave,
            description: workload,
        })
    }
}

/// The enclave program that the image was built with.
fn of_image(facts: &ImageFacts) -> EnclaveReference {
    EnclaveReference {
        digest: facts.enclave,
        source: ReferenceSource::Given,
    }
}

#[derive(Serialize)]
struct Found {
    workload: WorkloadDigest,
    measurement: Measurement,
    tee: &'static str,
    #[serde(flatten)]
    extent: Extent,
    enclave: EnclaveReference,
    /// The workload itself, whose canonical form is digested.
    description: ServiceWorkload,
}

impl Report for Found {
    fn text(&self) -> String {
        let about = [
            (
                "Program",
                format!("{}: {}", self.extent, self.description.tree),
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
