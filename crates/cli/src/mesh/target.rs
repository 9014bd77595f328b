//! The folder that applying a Meshfile writes: everything in it may be shown and checked in.
//!
//! | file | what |
//! | --- | --- |
//! | `mesh.json` | what runs: [`RunPlan`] |
//! | `policies/NAME.json` | the sessions as they were applied, without values that programs are told |
//! | `session_files/encrypted_NAME.json` | sealed sessions, where the Meshfile wants files |
//! | `session_files/signed_NAME.json` | signed sessions, where the Meshfile wants those |
//! | `helm/` | the chart that runs the mesh on Kubernetes |
//! | `manifests/NAME.yaml` | its objects, if they are wanted |

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use mse_crypto::hpke::PublicKey;
use mse_crypto::signing::SigningKey;
use mse_mesh::chart::ChartFile;
use mse_mesh::compile::PlannedService;
use mse_mesh::{Destination, MeshService, Meshfile};
use mse_runtime::container::PublishedPort;
use mse_session::{EncryptedSession, Session, SignedSession};
use mse_workload::{CasKey, EnclaveDigest, Measurement, ServiceWorkload};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::upload::{Change, Changes, Prepared};
use crate::commands::session::secrecy::{Documents, HIDDEN};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::ui::{bad, caution, good};

/// The version of the run plan that this code reads and writes.
const FORMAT: u32 = 2;
/// The file of the run plan.
const PLAN: &str = "mesh.json";
/// That a folder is ours to remove.
const MARKER: &str = ".made-by-mse";
/// A run plan is much shorter.
const MAX_PLAN: u64 = 16 * 1024 * 1024;

/// What of a mesh is run, and how. It holds no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunPlan {
    pub(crate) format: u32,
    /// The name of this installation.
    pub(crate) release: String,
    /// The namespace of its sessions.
    pub(crate) namespace: String,
    pub(crate) cas: RunCas,
    pub(crate) services: Vec<RunService>,
}

/// The CAS that services ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunCas {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) key: CasKey,
    /// Whether it runs on a simulated TEE.
    pub(crate) simulated: bool,
}

/// A service of the plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunService {
    pub(crate) name: String,
    /// What the others call it.
    pub(crate) host: String,
    /// With its digest.
    pub(crate) image: String,
    pub(crate) workload: ServiceWorkload,
    /// The enclave program that the image must have.
    pub(crate) enclave: EnclaveDigest,
    /// On the simulated TEE.
    pub(crate) measurement: Measurement,
    /// The version of its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session_hash: Option<String>,
    /// Those that must be well before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<String>,
    /// Whether its enclave looks at whether it is well; if not, it is when it runs.
    #[serde(default)]
    pub(crate) checked: bool,
    /// The ports that it serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ports: Vec<NonZeroU16>,
    /// Those of them that are for others than services of the mesh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) open: Vec<OpenPort>,
    /// Its encrypted volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) volumes: Vec<String>,
}

/// A port under which it is reached from outside of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OpenPort {
    /// That others see.
    pub(crate) port: NonZeroU16,
    /// That it listens on.
    pub(crate) target: NonZeroU16,
}

impl OpenPort {
    /// As a container has it.
    pub(crate) fn published(self) -> PublishedPort {
        PublishedPort {
            container: self.target.get(),
            host: self.port.get(),
        }
    }

    /// Those of a service that no other connects to: what the others connect to is theirs alone.
    fn of(mesh: &Meshfile, wanted: &MeshService, planned: &PlannedService) -> Vec<Self> {
        let connections = mesh.services.iter().flat_map(|one| &one.connections);
        let to_it: Vec<_> = connections
            .flatten()
            .filter(|one| one.to == Destination::Service(wanted.name.clone()))
            .collect();
        let is_of_mesh = |port: NonZeroU16| {
            let mut to_it = to_it.iter();
            to_it.any(|one| one.ports.is_empty() || one.ports.contains(&port))
        };
        let opened = wanted.ports.iter().map(|one| Self {
            port: one.port,
            target: one.target.unwrap_or(one.port),
        });
        let mut open: Vec<Self> = opened.collect();
        for &port in &planned.ports {
            if !open.iter().any(|one| one.target == port) {
                open.push(Self { port, target: port });
            }
        }
        open.retain(|one| !is_of_mesh(one.target));
        open
    }
}

impl RunPlan {
    pub(crate) fn of(
        mesh: &Meshfile,
        release: &str,
        cas: RunCas,
        services: &[PlannedService],
        changes: &Changes,
    ) -> Self {
        let services = mesh.services.iter().zip(services);
        Self {
            format: FORMAT,
            release: release.to_owned(),
            namespace: mesh.policy.namespace.to_string(),
            cas,
            services: services
                .map(|(wanted, one)| RunService::of(mesh, wanted, one, changes))
                .collect(),
        }
    }
}

impl RunPlan {
    fn to_text(&self) -> Result<String, Failure> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::other(error.to_string()))?;
        Ok(format!("{text}\n"))
    }
}

impl RunService {
    fn of(
        mesh: &Meshfile,
        wanted: &MeshService,
        planned: &PlannedService,
        changes: &Changes,
    ) -> Self {
        Self {
            name: planned.name.to_string(),
            host: planned.name.dns_label(),
            image: planned.image.to_string(),
            workload: planned.workload.clone(),
            enclave: planned.enclave,
            measurement: planned.measurement,
            session_hash: changes.hash_of(&planned.session),
            after: wanted.after.iter().map(ToString::to_string).collect(),
            checked: planned.health.is_some(),
            ports: planned.ports.clone(),
            open: OpenPort::of(mesh, wanted, planned),
            volumes: planned.volumes.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The folder.
pub(crate) struct TargetDir(pub(crate) PathBuf);

impl TargetDir {
    /// Writes what was applied.
    pub(crate) fn write(&self, plan: &RunPlan, changes: &Changes) -> Result<(), Failure> {
        for prepared in &changes.0 {
            let mut shown = Documents::of(&prepared.session)?.shown;
            hide_texts(&mut shown);
            let text = serde_json::to_string_pretty(&shown)
                .map_err(|error| Failure::other(error.to_string()))?;
            let file = format!("{}.json", file_name(&prepared.session));
            self.put("policies", &file, &format!("{text}\n"))?;
        }
        self.put("", PLAN, &plan.to_text()?)
    }

    /// Writes each session sealed to the CAS; only it can read them.
    pub(crate) fn seal(&self, cas: &PublicKey, changes: &Changes) -> Result<(), Failure> {
        for prepared in &changes.0 {
            let signed = SignedSession::new(&prepared.session);
            let sealed = EncryptedSession::seal(cas, &signed)
                .map_err(|error| Failure::other(error.to_string()))?;
            let file = format!("encrypted_{}.json", file_name(&prepared.session));
            self.put("session_files", &file, &format!("{}\n", sealed.to_json()))?;
        }
        Ok(())
    }

    /// Writes each session that is new or changes, signed: whoever brings it to the CAS cannot change
    /// it.
    pub(crate) fn sign<'p>(
        &self,
        key: &SigningKey,
        sessions: impl IntoIterator<Item = &'p Prepared>,
    ) -> Result<(), Failure> {
        for prepared in sessions {
            if prepared.change == Change::Same {
                continue;
            }
            let mut signed = SignedSession::new(&prepared.session);
            signed
                .sign(&prepared.session, key)
                .map_err(|error| Failure::other(error.to_string()))?;
            let file = format!("signed_{}.json", file_name(&prepared.session));
            self.put(
                "session_files",
                &file,
                &format!("{}\n", signed.to_json().as_str()),
            )?;
        }
        Ok(())
    }

    /// Writes what runs the mesh on Kubernetes to `folder`, in the place of what an earlier time
    /// wrote: services that the mesh has no more are gone.
    pub(crate) fn write_objects(&self, folder: &str, files: &[ChartFile]) -> Result<(), Failure> {
        let folder = self.0.join(folder);
        let marker = folder.join(MARKER);
        if folder.exists() {
            if files.is_empty() && !marker.exists() {
                return Ok(());
            }
            if !marker.exists() {
                return Err(Failure::new(
                    Exit::Conflict,
                    format!(
                        "`{}` is there, and `mse apply` did not make it",
                        folder.display()
                    ),
                )
                .with_hint("move it away, or choose another folder with `--target DIR`"));
            }
            std::fs::remove_dir_all(&folder)
                .map_err(|error| Failure::file("remove the old folder", &folder, &error))?;
        }
        if files.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(&folder)
            .map_err(|error| Failure::file("make the folder", &folder, &error))?;
        private_file::write(&marker, b"Made by `mse apply`, and made anew each time.\n")?;
        for file in files {
            let path = folder.join(&file.path);
            let parent = path.parent().unwrap_or(&folder);
            std::fs::create_dir_all(parent)
                .map_err(|error| Failure::file("make the folder", parent, &error))?;
            private_file::write(&path, &file.content)?;
        }
        Ok(())
    }

    /// What writing the plan would change.
    pub(crate) fn plan_change(&self, plan: &RunPlan) -> Result<Vec<FileChange>, Failure> {
        let now = private_file::read(&self.0.join(PLAN), MAX_PLAN)?;
        let file = PLAN.to_owned();
        Ok(match now {
            None => vec![FileChange::of(file, FileWhat::Added)],
            Some(now) if now != plan.to_text()? => vec![FileChange::of(file, FileWhat::Changed)],
            Some(_) => Vec::new(),
        })
    }

    /// What writing these objects to `folder` would change.
    pub(crate) fn object_changes(
        &self,
        folder: &str,
        files: &[ChartFile],
    ) -> Result<Vec<FileChange>, Failure> {
        let root = self.0.join(folder);
        let mut before = BTreeMap::new();
        if root.join(MARKER).exists() {
            files_below(&root, &root, &mut before)?;
            before.remove(MARKER);
        }
        let mut changes = Vec::new();
        for file in files {
            let what = match before.remove(&file.path) {
                Some(content) if content == file.content => continue,
                Some(_) => FileWhat::Changed,
                None => FileWhat::Added,
            };
            changes.push(FileChange::of(format!("{folder}/{}", file.path), what));
        }
        changes.extend(
            before
                .into_keys()
                .map(|path| FileChange::of(format!("{folder}/{path}"), FileWhat::Removed)),
        );
        changes.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(changes)
    }

    /// The plan of the last time.
    pub(crate) fn plan(&self) -> Result<RunPlan, Failure> {
        let file = self.0.join(PLAN);
        let text = private_file::read(&file, MAX_PLAN)?.ok_or_else(|| {
            Failure::new(Exit::NotFound, format!("there is no `{}`", file.display()))
                .with_hint("`mse apply -f MESH.yaml` makes it; name its folder with `--target DIR`")
        })?;
        let plan: RunPlan = serde_json::from_str(&text).map_err(|error| {
            Failure::new(
                Exit::InvalidConfiguration,
                format!("`{}` cannot be read: {error}", file.display()),
            )
            .with_hint("`mse apply -f MESH.yaml` makes it anew")
        })?;
        if plan.format != FORMAT {
            return Err(Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "`{}` has format {}: this program reads format {FORMAT}",
                    file.display(),
                    plan.format
                ),
            )
            .with_hint("`mse apply -f MESH.yaml` makes it anew"));
        }
        Ok(plan)
    }

    fn put(&self, folder: &str, file: &str, text: &str) -> Result<(), Failure> {
        let folder = self.0.join(folder);
        std::fs::create_dir_all(&folder)
            .map_err(|error| Failure::file("make the folder", &folder, &error))?;
        private_file::write(&folder.join(file), text.as_bytes())
    }
}

/// What becomes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FileChange {
    file: String,
    change: FileWhat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum FileWhat {
    Added,
    Removed,
    Changed,
}

impl FileChange {
    fn of(file: String, change: FileWhat) -> Self {
        Self { file, change }
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        let file = &self.file;
        match self.change {
            FileWhat::Added => good(format!("+ file {file}")),
            FileWhat::Removed => bad(format!("- file {file}")),
            FileWhat::Changed => caution(format!("~ file {file}")),
        }
    }
}

/// All files below a folder, by their paths in it.
fn files_below(
    root: &Path,
    folder: &Path,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| Failure::file("read the folder", folder, error);
    for entry in std::fs::read_dir(folder).map_err(|error| failed(&error))? {
        let path = entry.map_err(|error| failed(&error))?.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            files_below(root, &path, files)?;
            continue;
        }
        let content = std::fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
        let name = path.strip_prefix(root).unwrap_or(&path);
        files.insert(name.to_string_lossy().into_owned(), content);
    }
    Ok(())
}

/// What the program is told: a Meshfile may give values that are nobody else's business.
pub(crate) fn hide_texts(session: &mut Value) {
    let each = |value: &mut Value, key: &str, hide: fn(&mut Value)| {
        for item in value[key].as_array_mut().into_iter().flatten() {
            hide(item);
        }
    };
    each(session, "services", |service| {
        hide(&mut service["command"]);
        for value in service["environment"].as_object_mut().into_iter().flatten() {
            hide(value.1);
        }
    });
    each(session, "images", |image| {
        for file in image["injection_files"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            hide(&mut file["content"]);
        }
    });
}

fn hide(value: &mut Value) {
    if !value.is_null() {
        *value = HIDDEN.into();
    }
}

/// The session's name in lower case, with `-` for what file names should not have.
fn file_name(session: &Session) -> String {
    session
        .name
        .as_str()
        .to_ascii_lowercase()
        .replace(['_', ':', '/', '.'], "-")
}
