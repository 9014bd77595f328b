//! The application's layers.

use std::collections::BTreeMap;
use std::fs::{self, File};

use std::path::PathBuf;

use mse_crypto::Digest;
use mse_workload::image::{ENCLAVE, FACTS, ImageFacts, LAUNCHER, OWN, SEALED, TEMPLATE};
use mse_workload::measurement::EnclaveDigest;

use super::cache::{Cache, KeyHasher, Made};
use super::context::{Item, collect, locate};
use super::plan::Plan;
use super::sealed::Confidential;
use super::{BuildError, Site};
use crate::debian::open_single;
use crate::digest::BlobDigest;
use crate::layer::{Compression, Layer, LayerWriter};
use crate::lock::{ImageLock, PythonPackage};
use crate::manifest::{Blob, architecture};
use crate::progress::{Cancel, Event, Progress, Step};
use crate::spec::{ImageSpec, StepNetwork};
use crate::step::python::{Requirements, install};
use crate::step::{Mount, Sandbox, StepError, WorkTree};
use crate::tree::{FileSystem, Node, root_digest};

/// The package of Debian that has pip as a wheel, which runs without being installed.
const PIP: &str = "python3-pip-whl";

/// A build that goes on.
pub(super) struct Build {
    pub(super) spec: ImageSpec,
    pub(super) plan: Plan,
    pub(super) cache: Cache,
    pub(super) sources: Option<PathBuf>,
    pub(super) lock: ImageLock,
    pub(super) system: FileSystem,
    pub(super) layers: Vec<Stacked>,
    pub(super) facts: Option<ImageFacts>,
    pub(super) progress: Progress,
    cancel: Cancel,
    confidential: Option<Confidential>,
    /// The layers so far, unpacked; made when the first step needs it.
    tree: Option<WorkTree>,
}

/// A layer in its place.
pub(super) struct Stacked {
    pub(super) blob: Blob,
    pub(super) diff_id: BlobDigest,
    pub(super) source: PathBuf,
    pub(super) compression: Compression,
    pub(super) history: String,
}

impl Build {
    pub(super) fn new(
        spec: ImageSpec,
        site: &Site,
        cancel: Cancel,
        progress: Progress,
    ) -> Result<Self, BuildError> {
        let plan = Plan::of(&spec)?;
        if let Some(lock) = &spec.lock
            && lock.architecture != architecture()
        {
            return Err(BuildError::Architecture {
                locked: lock.architecture.clone(),
                machine: architecture().to_owned(),
            });
        }
        let confidential = match plan.dirs.as_slice() {
            [] => None,
            dirs => Some(Confidential::new(dirs)?),
        };
        Ok(Self {
            cache: Cache::open(&site.cache)?,
            sources: site.sources.clone(),
            lock: ImageLock::empty(architecture()),
            system: FileSystem::default(),
            layers: Vec::new(),
            facts: None,
            spec,
            plan,
            progress,
            cancel,
            confidential,
            tree: None,
        })
    }

    /// Installs the Python packages. This comes before the files are copied, so that changed code
    /// does not install them anew.
    pub(super) fn requirements(&mut self) -> Result<(), BuildError> {
        let Some(name) = self.spec.requirements.clone() else {
            return self.nothing_confidential_yet();
        };
        let file = locate(&self.spec.context, &name)?;
        if self.system.get("/usr/bin/python3").is_none() {
            return Err(BuildError::NoPython);
        }
        let (tools, locked) = match &self.spec.lock {
            Some(lock) if lock.tools.is_empty() => return Err(BuildError::NotLocked("pip")),
            Some(lock) => (lock.tools.clone(), Some(lock.python.clone())),
            None => (self.choose(&[PIP.into()], |name| name == PIP)?, None),
        };
        let text =
            fs::read(&file).map_err(|source| self.layer_error(&Step::Requirements, source))?;
        let mut key = self.key("requirements-2").field(&text);
        for tool in &tools {
            key = key.field(&tool.sha256.0);
        }
        for package in locked.iter().flatten() {
            key = key
                .field(package.name.as_bytes())
                .field(package.version.as_bytes())
                .field(&package.sha256.0);
        }
        let mut python = Vec::new();
        let made = self.step_with(Step::Requirements, Some(key.finish()), &mut python, {
            let tools = tools.clone();
            move |build, out, python| {
                let debs = build.download(&tools)?;
                let scratch = tempfile::tempdir_in(build.cache.scratch())
                    .map_err(|source| build.layer_error(&Step::Requirements, source))?;
                let pip = scratch.path().join("pip.whl");
                let (_, deb) = debs.first().ok_or(BuildError::NotLocked("pip"))?;
                fs::write(&pip, open_single(deb, ".whl")?)
                    .map_err(|source| build.layer_error(&Step::Requirements, source))?;
                let work = scratch.path().join("work");
                fs::create_dir(&work)
                    .map_err(|source| build.layer_error(&Step::Requirements, source))?;
                build.unpack()?;
                let tree = build.tree.as_ref().expect("it was just unpacked");
                let requirements = match &locked {
                    Some(packages) => Requirements::Locked(packages),
                    None => Requirements::File(&file),
                };
                *python = install(
                    tree.path(),
                    &pip,
                    &requirements,
                    &work,
                    &build.progress,
                    &build.cancel,
                )?;
                let writer = LayerWriter::new(out, build.spec.epoch);
                Ok(tree.changes(&build.system, writer)?)
            }
        })?;
        self.lock.python.clone_from(&made.python);
        self.lock.tools = tools;
        self.stack(made, &format!("pip install -r {name}"))?;
        self.nothing_confidential_yet()
    }

    /// Copies the files of the context; those for encrypted folders to where no disk sees them.
    pub(super) fn copy(&mut self) -> Result<(), BuildError> {
        let mut items = collect(&self.spec.context, &self.spec.copy, &self.plan)?;
        let secret: Vec<String> = items
            .keys()
            .filter(|path| self.plan.is_confidential(path))
            .cloned()
            .collect();
        for path in secret {
            let item = items.remove(&path).expect("its key was just seen");
            if let Some(confidential) = &self.confidential {
                confidential.put(&path, &item)?;
            }
        }
        let mut folders: Vec<String> = self.plan.dirs.clone();
        folders.push(self.plan.pwd.clone());
        for folder in folders.iter().filter(|folder| *folder != "/") {
            items.entry(folder.clone()).or_insert(Item::Folder);
        }
        self.imply_folders(&mut items);
        if items.is_empty() {
            return Ok(());
        }
        let mut key = self.key("copy-1");
        for (path, item) in &items {
            key = key.field(path.as_bytes());
            key = match item {
                Item::Folder => key.field(b"folder"),
                Item::Link { target } => key.field(b"link").field(target.as_bytes()),
                Item::File { from, mode } => {
                    let digest = File::open(from)
                        .and_then(Digest::of_reader)
                        .map_err(|source| self.layer_error(&Step::Copy, source))?;
                    key.field(b"file")
                        .field(&mode.to_be_bytes())
                        .field(&digest.0)
                }
            };
        }
        let made = self.step(Step::Copy, Some(key.finish()), |build, out| {
            let mut writer = LayerWriter::new(out, build.spec.epoch);
            for (path, item) in &items {
                match item {
                    Item::Folder => writer.folder(path, 0o755),
                    Item::Link { target } => writer.link(path, target),
                    Item::File { from, mode } => File::open(from).and_then(|file| {
                        let size = file.metadata()?.len();
                        writer.file(path, *mode, size, file)
                    }),
                }
                .map_err(|source| build.layer_error(&Step::Copy, source))?;
            }
            writer
                .finish()
                .map_err(|source| build.layer_error(&Step::Copy, source))
        })?;
        // What was unpacked lacks these files.
        self.tree = None;
        self.stack(made, "copy")
    }

    /// Runs the commands.
    pub(super) fn run(&mut self) -> Result<(), BuildError> {
        let commands = self.spec.run.clone();
        if !commands.is_empty()
            && self.system.get("/usr/bin/sh").is_none()
            && self.system.get("/bin/sh").is_none()
        {
            return Err(BuildError::NoShell);
        }
        for (at, command) in commands.iter().enumerate() {
            let step = Step::Run {
                number: at + 1,
                command: command.clone(),
            };
            // A step that sees secret files is done anew: what it makes of them must not be kept.
            let key = self.confidential.is_none().then(|| {
                let network = self.spec.network == StepNetwork::On;
                self.key("run-1")
                    .field(command.as_bytes())
                    .field(self.plan.pwd.as_bytes())
                    .field(&[network.into()])
                    .finish()
            });
            let made = self.step(step, key, |build, out| {
                build.unpack()?;
                let tree = build.tree.as_ref().expect("it was just unpacked");
                let mounts = match &build.confidential {
                    Some(confidential) => confidential.mounts(),
                    None => Vec::new(),
                };
                build
                    .run_command(tree, command, mounts)
                    .map_err(|source| match source {
                        StepError::Cancelled => BuildError::Cancelled,
                        source => BuildError::Run {
                            number: at + 1,
                            command: command.clone(),
                            source,
                        },
                    })?;
                let writer = LayerWriter::new(out, build.spec.epoch);
                Ok(tree.changes(&build.system, writer)?)
            })?;
            self.stack(made, &format!("run: {command}"))?;
        }
        Ok(())
    }

    /// Our own layers: the encrypted files, the programs, and what the image says about itself.
    pub(super) fn own(&mut self) -> Result<(), BuildError> {
        self.tree = None;
        let sealed = match (self.confidential.take(), self.spec.image_key.clone()) {
            (Some(confidential), Some(key)) => {
                let (file, part) = confidential.seal(&key, &self.cache.scratch())?;
                drop(confidential);
                let step = Step::Sealed;
                let made = self.step(step.clone(), None, |build, out| {
                    let mut writer = LayerWriter::new(out, build.spec.epoch);
                    writer
                        .folder(OWN, 0o755)
                        .and_then(|()| {
                            let archive = file.reopen()?;
                            let size = archive.metadata()?.len();
                            writer.file(SEALED, 0o644, size, archive)
                        })
                        .and_then(|()| writer.finish())
                        .map_err(|source| build.layer_error(&step, source))
                })?;
                self.stack(made, "encrypted files")?;
                Some(part)
            }
            _ => None,
        };
        let enclave = self.programs()?;
        let root = root_digest(&self.system, &self.plan.unmeasured)?;
        let facts = ImageFacts {
            format: mse_workload::image::FACTS_FORMAT,
            name: self.spec.name.clone(),
            root,
            enclave,
            sealed,
            unmeasured: self.plan.unmeasured.clone(),
        };
        let made = self.step(Step::Facts, None, |build, out| {
            let mut writer = LayerWriter::new(out, build.spec.epoch);
            let json = facts.canonical();
            let template = &build.spec.template;
            writer
                .folder(OWN, 0o755)
                .and_then(|()| writer.file(FACTS, 0o644, json.len() as u64, json.as_slice()))
                .and_then(|()| {
                    writer.file(TEMPLATE, 0o644, template.len() as u64, template.as_slice())
                })
                .and_then(|()| writer.finish())
                .map_err(|source| build.layer_error(&Step::Facts, source))
        })?;
        self.stack(made, "facts and template")?;
        self.facts = Some(facts);
        Ok(())
    }

    fn programs(&mut self) -> Result<EnclaveDigest, BuildError> {
        let programs = self.spec.programs.clone();
        let digest_of = |path: &PathBuf| {
            File::open(path)
                .and_then(Digest::of_reader)
                .map_err(|source| BuildError::Program(path.clone(), source))
        };
        let launcher = digest_of(&programs.launcher)?;
        let enclave = digest_of(&programs.enclave)?;
        let key = KeyHasher::new("programs-1")
            .field(&self.spec.epoch.0.to_be_bytes())
            .field(&launcher.0)
            .field(&enclave.0)
            .finish();
        let made = self.step(Step::Programs, Some(key), |build, out| {
            let mut writer = LayerWriter::new(out, build.spec.epoch);
            writer
                .folder(OWN, 0o755)
                .and_then(|()| writer.folder("/mse/bin", 0o755))
                .map_err(|source| build.layer_error(&Step::Programs, source))?;
            // In the order of their paths.
            for (path, from) in [(ENCLAVE, &programs.enclave), (LAUNCHER, &programs.launcher)] {
                File::open(from)
                    .and_then(|file| {
                        let size = file.metadata()?.len();
                        writer.file(path, 0o755, size, file)
                    })
                    .map_err(|source| BuildError::Program(from.clone(), source))?;
            }
            writer
                .finish()
                .map_err(|source| build.layer_error(&Step::Programs, source))
        })?;
        self.stack(made, "mse-launch and mse-enclave")?;
        Ok(EnclaveDigest(enclave))
    }

    /// Does a step, unless its result is there.
    pub(super) fn step(
        &mut self,
        step: Step,
        key: Option<Digest>,
        make: impl FnOnce(&mut Self, File) -> Result<Layer, BuildError>,
    ) -> Result<Made, BuildError> {
        self.step_with(step, key, &mut Vec::new(), |build, file, _| {
            make(build, file)
        })
    }

    fn step_with(
        &mut self,
        step: Step,
        key: Option<Digest>,
        python: &mut Vec<PythonPackage>,
        make: impl FnOnce(&mut Self, File, &mut Vec<PythonPackage>) -> Result<Layer, BuildError>,
    ) -> Result<Made, BuildError> {
        self.check()?;
        if let Some(made) = key.as_ref().and_then(|key| self.cache.find(key)) {
            // What is unpacked does not have this layer's changes.
            self.tree = None;
            self.progress.tell(Event::Cached(step));
            return Ok(made);
        }
        self.progress.tell(Event::Started(step.clone()));
        let file = self.cache.new_layer()?;
        let out = file
            .reopen()
            .map_err(|source| self.layer_error(&step, source))?;
        let layer = make(self, out, python)?;
        self.check()?;
        let size = layer.blob.size;
        let made = self
            .cache
            .keep(key.as_ref(), file, layer, std::mem::take(python))?;
        self.progress.tell(Event::Done { step, size });
        Ok(made)
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        if self.cancel.is_cancelled() {
            Err(BuildError::Cancelled)
        } else {
            Ok(())
        }
    }

    /// A key that depends on all layers so far.
    fn key(&self, step: &str) -> KeyHasher {
        self.layers.iter().fold(
            KeyHasher::new(step).field(&self.spec.epoch.0.to_be_bytes()),
            |key, layer| key.field(&layer.diff_id.0.0),
        )
    }

    fn unpack(&mut self) -> Result<(), BuildError> {
        if self.tree.is_none() {
            let sources: Vec<_> = self
                .layers
                .iter()
                .map(|layer| (layer.source.clone(), layer.compression))
                .collect();
            self.tree = Some(WorkTree::new(
                &self.system,
                &sources,
                &self.cache.scratch(),
            )?);
        }
        Ok(())
    }

    fn run_command(
        &self,
        tree: &WorkTree,
        command: &str,
        mounts: Vec<Mount>,
    ) -> Result<(), StepError> {
        Sandbox {
            root: tree.path(),
            network: self.spec.network,
            folder: &self.plan.pwd,
            mounts,
            environment: vec![
                (
                    "SOURCE_DATE_EPOCH".into(),
                    self.spec.epoch.0.to_string().into(),
                ),
                ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
            ],
        }
        .run(&["/bin/sh", "-c", command], &self.progress, &self.cancel)
    }

    /// Only the base and the requirements are there, and these are public.
    fn nothing_confidential_yet(&self) -> Result<(), BuildError> {
        for dir in &self.plan.dirs {
            let public = match self.system.get(dir) {
                None => None,
                Some(Node::Folder { .. }) => self.system.below(dir).next().map(|(path, _)| path),
                Some(_) => Some(dir.as_str()),
            };
            if let Some(path) = public {
                return Err(BuildError::NotSecret {
                    dir: dir.clone(),
                    path: path.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Adds the folders above `items` that the image lacks, and takes away those that it has.
    fn imply_folders(&self, items: &mut BTreeMap<String, Item>) {
        let paths: Vec<String> = items.keys().cloned().collect();
        for path in paths {
            for (at, _) in path.match_indices('/').skip(1) {
                let folder = &path[..at];
                if self.system.get(folder).is_none() {
                    items.entry(folder.to_owned()).or_insert(Item::Folder);
                }
            }
        }
        items.retain(|path, item| {
            *item != Item::Folder
                || !matches!(
                    self.system.get(path),
                    Some(Node::Folder { .. } | Node::Link { .. })
                )
        });
    }

    fn layer_error(&self, step: &Step, source: std::io::Error) -> BuildError {
        BuildError::Layer(step.to_string(), source)
    }
}
