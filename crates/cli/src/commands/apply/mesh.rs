//! A Meshfile becomes sessions, and a folder with what runs them.

use mse_mesh::Meshfile;
use serde::Serialize;

use super::Apply;
use super::compose::{Composed, Composing, Delivery};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::mesh::{CasTolerances, Change, Prepared, RunService, TargetDir};
use crate::ui::{Report, bad, caution, counted, good, pairs, table};

impl Apply {
    pub(super) async fn mesh(&self, scene: &Scene<'_>, mesh: Meshfile) -> Result<(), Failure> {
        let composing = Composing {
            given: &self.mesh,
            registry: &self.registry,
            programs: &self.service.programs,
            context: self.context()?,
            applies: !self.dry_run,
        };
        let mut composed = composing.compose(scene, mesh).await?;
        if !self.dry_run {
            self.deliver(scene, &mut composed).await?;
        }
        let Composed {
            known,
            tolerances,
            simulated,
            delivery,
            warnings,
            changes,
            plan,
            ..
        } = composed;
        scene.ui.report(&Applied {
            done: !self.dry_run,
            cas: known.name.to_string(),
            simulated,
            delivery,
            tolerances,
            warnings,
            target: self.target.display().to_string(),
            sessions: changes.0.iter().map(ShownSession::of).collect(),
            services: plan.services.iter().map(ShownService::of).collect(),
        })
    }

    async fn deliver(&self, scene: &Scene<'_>, composed: &mut Composed) -> Result<(), Failure> {
        let target = TargetDir(self.target.clone());
        let changes = &composed.changes;
        match composed.delivery {
            Delivery::Sealed => target.seal(&composed.known.encryption_key()?, changes)?,
            Delivery::Signed => {
                if let Some(key) = &composed.session_key {
                    let namespaces: Vec<_> = changes
                        .0
                        .iter()
                        .filter(|one| one.is_new_namespace())
                        .collect();
                    if !namespaces.is_empty() {
                        scene.ui.warn("only the namespace was signed: bring it to the CAS, and apply again. Whoever created it in your place would choose what the other policies refer to");
                        return target.sign(key, namespaces);
                    }
                    scene.ui.warn("whoever carries the signed policies can read them, with all that programs are told but secrets of the CAS");
                    target.sign(key, &changes.0)?;
                }
            }
            Delivery::Upload => {
                let step = scene.ui.step("Uploading the policies");
                let sent = changes.send(&mut composed.known).await?;
                step.done(&match sent {
                    0 => "The CAS has all policies already".to_owned(),
                    sent => format!("Uploaded {}", counted(sent, "policy", "policies")),
                });
            }
            Delivery::Nothing => {}
        }
        target.write(&composed.plan, &composed.changes)?;
        target.write_objects("helm", &composed.chart)?;
        target.write_objects("manifests", &composed.manifests)
    }
}

#[derive(Serialize)]
struct Applied {
    /// Whether anything was done, or it was a dry run.
    done: bool,
    cas: String,
    simulated: bool,
    delivery: Delivery,
    tolerances: CasTolerances,
    warnings: Vec<String>,
    target: String,
    sessions: Vec<ShownSession>,
    services: Vec<ShownService>,
}

#[derive(Serialize)]
struct ShownSession {
    role: &'static str,
    name: String,
    change: Change,
    hash: String,
}

#[derive(Serialize)]
struct ShownService {
    name: String,
    image: String,
    measurement: String,
}

impl ShownSession {
    fn of(prepared: &Prepared) -> Self {
        Self {
            role: prepared.role.as_str(),
            name: prepared.session.name.to_string(),
            change: prepared.change,
            hash: prepared.session.hash().to_string(),
        }
    }
}

impl ShownService {
    fn of(service: &RunService) -> Self {
        Self {
            name: service.name.clone(),
            image: service.image.clone(),
            measurement: service.measurement.to_string(),
        }
    }
}

impl Report for Applied {
    fn text(&self) -> String {
        let sessions: Vec<_> = self
            .sessions
            .iter()
            .map(|one| {
                [
                    one.change.word().to_owned(),
                    one.role.to_owned(),
                    one.name.clone(),
                ]
            })
            .collect();
        let services: Vec<_> = self
            .services
            .iter()
            .map(|one| [one.name.clone(), one.image.clone(), one.measurement.clone()])
            .collect();
        let mut rows = vec![(
            "CAS",
            if self.simulated {
                format!("{}, {}", self.cas, caution("SIMULATED"))
            } else {
                self.cas.clone()
            },
        )];
        if !self.tolerances.is_empty() {
            rows.push(("Attested with", bad(self.tolerances.words().join(", "))));
        }
        let policies = match (self.done, self.delivery) {
            (false, _) => "none was sent: it is a dry run".to_owned(),
            (true, Delivery::Upload) => "are at the CAS".to_owned(),
            (true, Delivery::Sealed) => format!(
                "are sealed in `{}/session_files`: bring them to the CAS with `mse session create` and `update`, in this order",
                self.target
            ),
            (true, Delivery::Signed) => format!(
                "are signed in `{}/session_files`: anybody brings them to the CAS with `mse session create` and `update`, in this order",
                self.target
            ),
            (true, Delivery::Nothing) => "were not sent: `mode: NoUpload`".to_owned(),
        };
        rows.push(("Policies", policies));
        let heading = if self.done {
            good(format!("The mesh is in `{}`", self.target))
        } else {
            "This would be done".to_owned()
        };
        format!(
            "{}\n\n{}\n\n{heading}\n{}",
            table(["", "POLICY", "SESSION"], &sessions),
            table(["SERVICE", "IMAGE", "MEASUREMENT"], &services),
            pairs(&rows)
        )
    }
}
