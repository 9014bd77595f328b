//! The layers that an image stands on.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mse_crypto::Digest;

use super::BuildError;
use super::cache::{KeyHasher, Made};
use super::layers::{Build, Stacked};
use crate::debian::{self, Apt};
use crate::layer::{Compression, LayerWriter, Limits, index};
use crate::layout::{Image, Layout};
use crate::lock::{DebianPackage, ImageLock};
use crate::manifest::architecture;
use crate::progress::{Event, Step};
use crate::spec::Base;
use crate::unpack::UnpackError;

/// Changes with what this code makes of the same packages.
const BASE_STEP: &str = "debian-base-2";
/// A choice of packages is asked for anew after a day: security updates matter more than the
/// seconds that it takes.
const CHOICE_AGE: Duration = Duration::from_secs(24 * 60 * 60);

impl Build {
    /// Stacks the base's layers.
    pub(super) fn base(&mut self, pulled: Option<(PathBuf, Image)>) -> Result<(), BuildError> {
        let (packages, without): (Vec<String>, Vec<String>) = match (self.spec.base.clone(), pulled)
        {
            (_, Some((layout, image))) => {
                return self.base_image(&Layout::open(&layout)?, &image);
            }
            (Base::Layout(path), None) => {
                let layout = Layout::open(&path)?;
                let image = layout.image(None)?;
                return self.base_image(&layout, &image);
            }
            (Base::Kind(kind), None) => {
                let packages = debian::packages_of(kind).iter();
                (packages.map(ToString::to_string).collect(), Vec::new())
            }
            (Base::Debian { packages, without }, None) => (packages, without),
            (Base::Reference(_), None) => return Err(BuildError::NoRegistry),
        };
        self.base_debian(&packages, &without)
    }

    fn base_debian(&mut self, packages: &[String], without: &[String]) -> Result<(), BuildError> {
        let named = debian::wanted(packages);
        let locked = match &self.spec.lock {
            Some(lock) if lock.debian.is_empty() => {
                return Err(BuildError::NotLocked("package of Debian"));
            }
            Some(lock) => lock.debian.clone(),
            None => self.choose(&named, without, |name| {
                debian::belongs(name, &named, without)
            })?,
        };
        let mut key = KeyHasher::new(BASE_STEP).field(&self.spec.epoch.0.to_be_bytes());
        for package in &locked {
            key = key.field(package.name.as_bytes()).field(&package.sha256.0);
        }
        let key = key.finish();
        let made = self.step(Step::Base, Some(key), |build, file| {
            let debs = build.download(&locked)?;
            let writer = LayerWriter::new(file, build.spec.epoch);
            Ok(debian::layer(&debs, writer)?)
        })?;
        self.lock.debian.clone_from(&locked);
        let names: Vec<&str> = locked.iter().map(|p| p.name.as_str()).collect();
        self.stack(made, &format!("debian: {}", names.join(" ")))
    }

    /// Which packages these names mean today, of what they need only those that are `wanted`, which
    /// depends on `without`.
    pub(super) fn choose(
        &self,
        named: &[String],
        without: &[String],
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<DebianPackage>, BuildError> {
        let apt = self.apt()?;
        let mut key = KeyHasher::new("choice-1").field(&apt.key()?.0);
        for name in named {
            key = key.field(name.as_bytes());
        }
        for name in without {
            key = key.field(b"without").field(name.as_bytes());
        }
        let choice = self
            .cache
            .folder("choices")
            .join(format!("{}.json", key.finish()));
        if let Some(mut packages) = recent_choice(&choice) {
            packages.retain(|package| wanted(&package.name));
            return Ok(packages);
        }
        self.progress.tell(Event::Resolving);
        apt.update()?;
        let mut chosen = apt.choose(named)?;
        chosen.retain(|package| wanted(&package.name));
        self.progress.tell(Event::Downloading {
            packages: chosen.len(),
        });
        let packages: Vec<DebianPackage> = apt
            .download(&chosen)?
            .into_iter()
            .map(|(package, _)| package)
            .collect();
        let mut lock = ImageLock::empty(architecture());
        lock.debian.clone_from(&packages);
        self.cache.write(&choice, &lock.to_json())?;
        Ok(packages)
    }

    /// The files of exactly these packages.
    pub(super) fn download(
        &self,
        packages: &[DebianPackage],
    ) -> Result<Vec<(DebianPackage, PathBuf)>, BuildError> {
        Ok(self.apt()?.download_locked(packages)?)
    }

    fn apt(&self) -> Result<Apt, BuildError> {
        Ok(Apt::new(
            &self.cache.folder("apt"),
            self.sources.as_deref(),
            architecture(),
        )?)
    }

    /// Stacks an image's layers as they are.
    fn base_image(&mut self, layout: &Layout, image: &Image) -> Result<(), BuildError> {
        if let Some(locked) = self.spec.lock.as_ref().and_then(|lock| lock.base)
            && locked != image.digest
        {
            return Err(BuildError::NotLocked("base of this digest"));
        }
        self.progress.tell(Event::Started(Step::Base));
        for (number, blob) in image.manifest.layers.iter().enumerate() {
            self.check()?;
            let compression = blob
                .compression()
                .map_err(crate::layout::LayoutError::from)?;
            let diff_id = image.config.diff_ids[number];
            let index = self.index_of(layout, blob.digest.0, || {
                let file = layout.open_blob(blob)?;
                let (index, found) =
                    index(file, compression, &Limits::default()).map_err(UnpackError::from)?;
                if found != diff_id {
                    return Err(UnpackError::DiffId {
                        expected: diff_id,
                        found,
                    }
                    .into());
                }
                Ok(Made {
                    blob: blob.clone(),
                    diff_id,
                    index,
                    python: Vec::new(),
                })
            })?;
            let source = layout.blob_path(blob.digest);
            self.stack_from(index, source, compression, "base image")?;
        }
        self.lock.base = Some(image.digest);
        let size = image.manifest.layers.iter().map(|blob| blob.size).sum();
        self.progress.tell(Event::Done {
            step: Step::Base,
            size,
        });
        Ok(())
    }

    /// The index of a base's layer, which is kept: reading it takes seconds.
    fn index_of(
        &self,
        layout: &Layout,
        digest: Digest,
        make: impl FnOnce() -> Result<Made, BuildError>,
    ) -> Result<Made, BuildError> {
        let path = self.cache.folder("indexes").join(format!("{digest}.json"));
        let known: Option<Made> = fs::read(&path)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok());
        if let Some(made) = known {
            // The bytes must still be those that the index is of.
            layout.open_blob(&made.blob)?;
            return Ok(made);
        }
        let made = make()?;
        let json = serde_json::to_vec(&made).expect("it has only strings, numbers and lists");
        self.cache.write(&path, &json)?;
        Ok(made)
    }

    fn stack_from(
        &mut self,
        made: Made,
        source: PathBuf,
        compression: Compression,
        history: &str,
    ) -> Result<(), BuildError> {
        crate::unpack::add(&mut self.system, self.layers.len(), &made.index)?;
        self.layers.push(Stacked {
            blob: made.blob,
            diff_id: made.diff_id,
            source,
            compression,
            history: history.to_owned(),
        });
        Ok(())
    }

    /// Stacks a layer of the cache.
    pub(super) fn stack(&mut self, made: Made, history: &str) -> Result<(), BuildError> {
        let source = self.cache.blob(made.blob.digest);
        self.stack_from(made, source, Compression::Gzip, history)
    }
}

fn recent_choice(path: &Path) -> Option<Vec<DebianPackage>> {
    let age = SystemTime::now()
        .duration_since(fs::metadata(path).ok()?.modified().ok()?)
        .ok()?;
    if age > CHOICE_AGE {
        return None;
    }
    Some(ImageLock::from_json(&fs::read(path).ok()?).ok()?.debian)
}
