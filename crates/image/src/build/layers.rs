//! The application's layers.

use std::collections::BTreeMap;
use std::fs::File;

use std::path::PathBuf;

use mse_crypto::Digest;
use mse_workload::image::ImageFacts;

use super::cache::{Cache, KeyHasher, Made};
use super::commands::JavaFiles;
use super::context::{Item, collect};
use super::plan::Plan;
use super::sealed::Confidential;
use super::{BuildError, Site};
use crate::digest::BlobDigest;
use crate::layer::{Compression, Layer, LayerWriter};
use crate::lock::{ImageLock, PythonPackage};
use crate::manifest::{Blob, architecture};
use crate::progress::{Cancel, Event, Progress, Step};
use crate::spec::ImageSpec;
use crate::step::WorkTree;
use crate::tree::{FileSystem, Node};

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
    /// What of our own a part of the platform is made of, by path.
    pub(super) inputs: BTreeMap<String, Digest>,
    pub(super) progress: Progress,
    pub(super) cancel: Cancel,
    pub(super) confidential: Option<Confidential>,
    /// What of the copied files is to be compiled.
    pub(super) java: JavaFiles,
    /// The layers so far, unpacked; made when the first step needs it.
    pub(super) tree: Option<WorkTree>,
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
            inputs: BTreeMap::new(),
            spec,
            plan,
            progress,
            cancel,
            confidential,
            java: JavaFiles::default(),
            tree: None,
        })
    }

    /// Copies the files of the context; those for encrypted folders to where no disk sees them.
    pub(super) fn copy(&mut self) -> Result<(), BuildError> {
        let mut items = collect(&self.spec.context, &self.spec.copy, &self.plan)?;
        self.java = JavaFiles::among(&items);
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
                        .map_err(|source| layer_error(&Step::Copy, source))?;
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
                .map_err(|source| layer_error(&Step::Copy, source))?;
            }
            writer
                .finish()
                .map_err(|source| layer_error(&Step::Copy, source))
        })?;
        // What was unpacked lacks these files.
        self.tree = None;
        self.stack(made, "copy")
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

    pub(super) fn step_with(
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
        let out = file.reopen().map_err(|source| layer_error(&step, source))?;
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
    pub(super) fn key(&self, step: &str) -> KeyHasher {
        self.layers.iter().fold(
            KeyHasher::new(step).field(&self.spec.epoch.0.to_be_bytes()),
            |key, layer| key.field(&layer.diff_id.0.0),
        )
    }

    pub(super) fn unpack(&mut self) -> Result<(), BuildError> {
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

    /// Only the base and the requirements are there, and these are public.
    pub(super) fn nothing_confidential_yet(&self) -> Result<(), BuildError> {
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
}

pub(super) fn layer_error(step: &Step, source: std::io::Error) -> BuildError {
    BuildError::Layer(step.to_string(), source)
}
