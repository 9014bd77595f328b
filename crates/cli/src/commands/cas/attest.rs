//! `mse cas attest`

use std::path::PathBuf;

use clap::Args;
use mse_ratls::cas::client::{CasAddress, first_contact};
use mse_ratls::cas::{AttestedCas, ExpectedCas};
use mse_workload::{CasKey, Measurement};
use serde::Serialize;

use super::{CollateralArgs, Measured, owner_of};
use crate::cas::{CasName, CasPin, CasPins};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::trust::TrustStore;
use crate::ui::{Report, caution, good, pairs};

/// Prove what a CAS is, and remember it by its key
///
/// The CAS shows fresh evidence about itself, bound to this connection and to its keys. It must
/// have the measurement that is expected: the one that is given, or that of the `mse-cas` program
/// beside `mse` for the owner that is given, or the one under which the name is known already.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas attest cas.example:18765 --name prod --owner $HASH
  mse cas attest cas.example:18765 --name prod --measurement $HEX --report prod.json
  mse cas attest localhost:18765 --name here --simulated this-machine
  mse cas attest cas.example:18765 --name test --simulated trust-anchor.toml --pccs $URL

Exit codes, besides those of every command: 1 it is not the CAS that is expected.")]
pub(super) struct Attest {
    /// Where the CAS is
    #[arg(value_name = "HOST:PORT")]
    address: CasAddress,
    /// Remember it under this name
    #[arg(long, value_name = "NAME")]
    name: Option<CasName>,
    /// The measurement that it must have
    #[arg(long, value_name = "HEX", conflicts_with_all = ["accept_simulated", "memory", "cores", "approver", "custodian"])]
    measurement: Option<Measurement>,
    #[command(flatten)]
    measured: Measured,
    #[command(flatten)]
    collateral: CollateralArgs,
    /// Keep all that was proven in this file, for `mse cas report verify`
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Remember another CAS under a name that is known already
    #[arg(long, requires = "name")]
    replace: bool,
}

impl Attest {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let pins = CasPins::of(&scene.conf);
        let known = match &self.name {
            Some(name) => pins.get(name)?,
            None => None,
        };
        let expected = self.expected(scene, known.as_ref())?;
        let collateral = self.collateral.source(scene).await?;
        let step = scene.ui.step(format!("Asking {} for proof", self.address));
        // As nobody: who asks is not a stranger's business.
        let contact = first_contact(&self.address, None).await?;
        // Before its evidence: what else is different about another CAS is beside the point.
        if let (Some(name), Some(known)) = (&self.name, &known)
            && known.cas_key != contact.root_key()
            && !self.replace
        {
            return Err(repinned(name, known, contact.root_key()));
        }
        let (_, attested) = Box::pin(contact.attest(&expected, &collateral.source))
            .await
            .map_err(|error| collateral.explain(error))?;
        step.done("The CAS has proven what it is");
        if let Some(name) = &self.name {
            pins.put(name, &CasPin::of(&self.address, &attested))?;
        }
        if let Some(file) = &self.report {
            let json = serde_json::to_vec(&attested.report).map_err(|error| {
                Failure::other(format!("the report cannot be written: {error}"))
            })?;
            private_file::write(file, &json)?;
        }
        if attested.description.simulated {
            scene.ui.warn(
                "SIMULATED: no hardware protects this CAS; whoever owns its machine can read every secret in it",
            );
        }
        scene.ui.report(&Proven::of(self, &attested))
    }

    fn expected(&self, scene: &Scene<'_>, known: Option<&CasPin>) -> Result<ExpectedCas, Failure> {
        let owner = self.measured.owner.as_deref().map(owner_of).transpose()?;
        let known = known.filter(|_| !self.replace && owner.is_none());
        let measurement = match (self.measurement, known) {
            (Some(given), _) => given,
            (
                None,
                Some(CasPin {
                    measurement: Some(measurement),
                    ..
                }),
            ) => *measurement,
            (None, _) => self.measured.measurement(scene)?,
        };
        let trust = TrustStore::of(&scene.conf).policy(scene.global.simulated.as_deref())?;
        Ok(ExpectedCas {
            policy: trust.policy,
            measurement: Some(measurement),
            owner,
            cas_key: None,
        })
    }
}

fn repinned(name: &CasName, known: &CasPin, found: CasKey) -> Failure {
    Failure::new(
        Exit::Refused,
        format!(
            "it is another CAS: `{name}` is known with the key {}, and what is there has the key {found}",
            known.cas_key
        ),
    )
    .with_hint("it is somebody else's, or was created anew and has none of the old one's secrets. To attest it in place of the old one: `--replace`; beside it: another `--name`")
}

/// What was proven.
#[derive(Serialize)]
struct Proven {
    verdict: &'static str,
    name: Option<String>,
    #[serde(flatten)]
    pin: CasPin,
    version: String,
    tcb_status: Option<String>,
    advisories: Vec<String>,
    report: Option<PathBuf>,
}

impl Proven {
    fn of(command: Attest, attested: &AttestedCas) -> Self {
        let tcb = attested.appraisal.tcb.as_ref();
        Self {
            verdict: "verified",
            name: command.name.map(|name| name.to_string()),
            pin: CasPin::of(&command.address, attested),
            version: attested.description.version.clone(),
            tcb_status: tcb.map(|tcb| tcb.status.to_string()),
            advisories: tcb.map_or_else(Vec::new, |tcb| tcb.advisory_ids.clone()),
            report: command.report,
        }
    }
}

impl Report for Proven {
    fn text(&self) -> String {
        let tee = if self.pin.simulated {
            caution("SIMULATED: the form is real, no hardware protects it")
        } else {
            self.pin.tee.clone()
        };
        let mut rows = vec![
            ("Verdict", good("verified: it is the CAS that was expected")),
            ("TEE", tee),
            (
                "TCB status",
                self.tcb_status.clone().unwrap_or_else(|| "none".to_owned()),
            ),
            ("Owner", self.pin.owner.to_string()),
            (
                "Measurement",
                self.pin
                    .measurement
                    .map_or_else(|| "of another form".to_owned(), |one| one.to_string()),
            ),
            ("Version", self.version.clone()),
        ];
        if let Some(name) = &self.name {
            rows.push(("Known as", name.clone()));
        }
        if let Some(file) = &self.report {
            rows.push(("Report", file.display().to_string()));
        }
        format!("{}\nThe CAS key is {}", pairs(&rows), self.pin.cas_key)
    }
}
