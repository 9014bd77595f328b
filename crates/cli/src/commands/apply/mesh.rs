//! A Meshfile becomes sessions, and a folder with what runs them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use mse_crypto::Digest;
use mse_crypto::ecdsa::P256VerifyingKey;
use mse_mesh::chart::{Chart, ChartError, ChartFile, Installation, manifests};
use mse_mesh::compile::{MeshImage, Plan, Target, compile};
use mse_mesh::{Advisories, Meshfile, Role, ServiceName, UploadMode};
use mse_session::Terms;
use mse_workload::EnclaveDigest;
use serde::Serialize;

use super::{Apply, Manifests, MeshArgs};
use crate::cas::ClientKey;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::{
    CasTolerances, Change, Changes, ImageStore, MeshCas, MeshImages, Owner, Prepared, Pulling,
    RunCas, RunPlan, RunService, TargetDir, Workshop, read_files,
};
use crate::private_file;
use crate::ui::{Report, bad, caution, counted, good, pairs, table};

impl Apply {
    pub(super) async fn mesh(&self, scene: &Scene<'_>, mut mesh: Meshfile) -> Result<(), Failure> {
        let given = &self.mesh;
        given.complete(&mut mesh);
        read_files(&mut mesh, self.context()?)?;
        let delivery = Delivery::of(&mesh)?;
        let images = MeshImages {
            workshop: Workshop {
                store: ImageStore::find()?,
                registry: self.registry.open()?,
            },
            programs: &self.service.programs,
            pulling: given.pulling(),
            signer: given.image_signer.as_deref().map(signer_in).transpose()?,
        };
        let step = scene.ui.step("Looking at the images");
        let images = images.of(scene, &mesh).await?;
        step.done(&format!(
            "Looked at {}",
            counted(images.len(), "image", "images")
        ));
        self.prove_enclaves(&images)?;
        let MeshCas {
            mut known,
            tolerances,
        } = given.cas.attest(scene, &mesh).await?;
        let simulated = known.pin.simulated;
        let Plan {
            sessions,
            services,
            mut warnings,
        } = compile(
            &mesh,
            &Target {
                cas_key: known.pin.cas_key,
                simulated,
                images: &images,
            },
        )
        .map_err(|error| Failure::new(Exit::InvalidConfiguration, error.to_string()))?;
        let installation = Installation {
            mesh: &mesh,
            services: &services,
            images: &images,
            cas: &known.pin.address,
            name: &given.release,
            simulated,
        };
        let (chart, manifests) = given.objects(&installation)?;
        warnings.extend(chart.warnings.iter().cloned());
        for warning in &warnings {
            scene.ui.warn(warning.clone());
        }
        let changes = Changes::find(&mut known, &sessions, &owner(scene, &mesh)?).await?;
        let cas = RunCas {
            address: known.pin.address.clone(),
            key: known.pin.cas_key,
            simulated,
        };
        let plan = RunPlan::of(&mesh, &given.release, cas, &services, &changes);
        if !self.dry_run {
            let target = TargetDir(self.target.clone());
            if delivery == Delivery::Sealed {
                target.seal(&known.encryption_key()?, &changes)?;
            }
            if delivery == Delivery::Upload {
                let step = scene.ui.step("Uploading the policies");
                let sent = changes.send(&mut known).await?;
                step.done(&match sent {
                    0 => "The CAS has all policies already".to_owned(),
                    sent => format!("Uploaded {}", counted(sent, "policy", "policies")),
                });
            }
            target.write(&plan, &changes)?;
            target.write_objects("helm", &chart.files)?;
            target.write_objects("manifests", &manifests)?;
        }
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
}

impl Apply {
    /// The enclave program is what keeps the promises of the others, so an image cannot bring just
    /// any.
    fn prove_enclaves(&self, images: &BTreeMap<ServiceName, MeshImage>) -> Result<(), Failure> {
        let mut accepted = self.mesh.accept_enclave.clone();
        if let Ok(programs) = self.service.programs.find() {
            let digest = File::open(&programs.enclave).and_then(Digest::of_reader);
            let digest =
                digest.map_err(|error| Failure::file("read", &programs.enclave, &error))?;
            accepted.push(EnclaveDigest(digest));
        }
        for (service, image) in images {
            let stable = image.stable.as_ref().map(|stable| stable.facts.enclave);
            for enclave in [Some(image.facts.enclave), stable].into_iter().flatten() {
                if !accepted.contains(&enclave) {
                    return Err(Failure::new(
                        Exit::Refused,
                        format!("the image of `{service}` has the enclave program {enclave}, which is none that is known here"),
                    )
                    .with_hint(format!("if it is that of a release that you trust: `--accept-enclave {enclave}`; else build the image again")));
                }
            }
        }
        Ok(())
    }
}

impl MeshArgs {
    /// What the command line adds to the Meshfile.
    fn complete(&self, mesh: &mut Meshfile) {
        if let Some(namespace) = &self.policy_namespace {
            mesh.policy.namespace = namespace.clone();
        }
        let Some(until) = self.tolerate_until else {
            return;
        };
        let terms = || Terms {
            reason: "the Meshfile gives no reason".into(),
            until,
        };
        for one in &mut mesh.policy.tolerate {
            if one.what.is_dangerous() && one.terms.is_none() {
                one.terms = Some(terms());
            }
        }
        if let Advisories::All(none @ None) = &mut mesh.policy.ignore_advisories {
            *none = Some(terms());
        }
    }

    /// What runs the mesh on Kubernetes: the chart, and objects if they are wanted.
    fn objects(&self, installation: &Installation<'_>) -> Result<(Chart, Vec<ChartFile>), Failure> {
        let failed =
            |error: ChartError| Failure::new(Exit::InvalidConfiguration, error.to_string());
        let objects = match self.output {
            Some(Manifests::Yaml) => manifests(installation).map_err(failed)?,
            None => Vec::new(),
        };
        Ok((Chart::of(installation).map_err(failed)?, objects))
    }

    fn pulling(&self) -> Pulling {
        match (self.no_pull, self.pull) {
            (true, _) => Pulling::Never,
            (_, true) => Pulling::Always,
            _ => Pulling::WhenMissing,
        }
    }
}

/// Who applies the mesh.
fn owner(scene: &Scene<'_>, mesh: &Meshfile) -> Result<Owner, Failure> {
    let key = ClientKey::load(&scene.conf)?.ok_or_else(|| {
        Failure::new(
            Exit::InvalidConfiguration,
            "you have no key yet that CASes know you by",
        )
        .with_hint("make one: `mse cas keygen`")
    })?;
    Ok(Owner {
        key: key.hash,
        namespace: mesh.policy.namespace.clone(),
    })
}

/// A public key, PEM.
fn signer_in(file: &Path) -> Result<P256VerifyingKey, Failure> {
    let text = private_file::read(file, 64 * 1024)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no key `{}`", file.display()),
        )
    })?;
    P256VerifyingKey::from_pem(&text).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!(
                "`{}` is no key of who signs images: {error}",
                file.display()
            ),
        )
        .with_hint(
            "give the public key on P-256, PEM: `mse image sign` writes it beside the private one",
        )
    })
}

/// How sessions get to the CAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Delivery {
    /// From here.
    Upload,
    /// As sealed files.
    Sealed,
    /// Not at all.
    Nothing,
}

impl Delivery {
    fn of(mesh: &Meshfile) -> Result<Self, Failure> {
        let mode = mesh.cas_for(Role::Cas).and_then(|cas| cas.mode);
        match mode {
            None | Some(UploadMode::Upload) => Ok(Self::Upload),
            Some(UploadMode::EncryptedOnly | UploadMode::EncryptedManifest) => Ok(Self::Sealed),
            Some(UploadMode::NoUpload) => Ok(Self::Nothing),
            Some(mode @ (UploadMode::SignedManifest | UploadMode::SignOnline)) => {
                Err(Failure::new(
                    Exit::InvalidConfiguration,
                    format!("`cas.mode` is `{mode}`, which is not served"),
                )
                .with_hint("`Upload` sends the policies from here, `EncryptedManifest` leaves sealed files"))
            }
        }
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
