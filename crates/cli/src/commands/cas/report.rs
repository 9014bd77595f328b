//! `mse cas report verify`

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use mse_ratls::cas::{CasDescription, CasReport, ExpectedCas, MAX_REPORT, measurement_of};
use mse_workload::Measurement;
use serde::Serialize;

use super::{Measured, owner_of};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::moment::Moment;
use crate::private_file;
use crate::trust::TrustStore;
use crate::ui::{Report, good, pairs};

/// Verify what a CAS has proven to somebody else, without a network
///
/// The file holds the evidence, what it is about, and the collateral that it was verified with. As
/// of now the collateral must not be out of date; `--at` says as of when.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas report verify prod.json --owner $HASH
  mse cas report verify prod.json --measurement $HEX --at 2026-11-26 --json")]
pub(super) struct Verify {
    /// What `mse cas attest --report FILE` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The measurement that the CAS must have
    #[arg(long, value_name = "HEX", conflicts_with_all = ["accept_simulated", "memory", "cores"])]
    measurement: Option<Measurement>,
    #[command(flatten)]
    measured: Measured,
    /// As of when: RFC 3339, a day, or unix seconds [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Moment>,
}

impl Verify {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let json = private_file::read(&self.file, MAX_REPORT as u64)?.ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                format!("there is no file `{}`", self.file.display()),
            )
            .with_hint("`mse cas attest ADDRESS --report FILE` makes a report")
        })?;
        let report = CasReport::from_json(json.as_bytes())?;
        let measurement = match self.measurement {
            Some(given) => given,
            None => self.measured.measurement(scene)?,
        };
        let trust = TrustStore::of(&scene.conf).policy(scene.global.simulated.as_deref())?;
        let expected = ExpectedCas {
            policy: trust.policy,
            measurement: Some(measurement),
            owner: self.measured.owner.as_deref().map(owner_of).transpose()?,
            cas_key: None,
        };
        let at = self.at.map_or_else(SystemTime::now, |at| {
            UNIX_EPOCH + Duration::from_secs(at.seconds())
        });
        let appraisal = report.verify(&expected, at)?;
        scene.ui.report(&Verified {
            verdict: "verified",
            measurement: measurement_of(&appraisal),
            tcb_status: appraisal.tcb.as_ref().map(|tcb| tcb.status.to_string()),
            attested_at: report.attested_at,
            description: report.description,
        })
    }
}

#[derive(Serialize)]
struct Verified {
    verdict: &'static str,
    measurement: Option<Measurement>,
    tcb_status: Option<String>,
    /// The word of whoever made the report.
    attested_at: u64,
    #[serde(flatten)]
    description: CasDescription,
}

impl Report for Verified {
    fn text(&self) -> String {
        let rows = [
            (
                "Verdict",
                good("verified: such a CAS made this report, with these keys"),
            ),
            ("TEE", self.description.tee.clone()),
            ("Owner", self.description.owner.to_string()),
            (
                "Session encryption",
                self.description.session_encryption_key.clone(),
            ),
        ];
        format!(
            "{}\nThe CAS key is {}",
            pairs(&rows),
            self.description.cas_key
        )
    }
}
