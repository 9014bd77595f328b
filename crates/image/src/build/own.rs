//! Our own part of an image: `/mse`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_workload::image::{
    ENCLAVE, FACTS, FACTS_FORMAT, ImageFacts, LAUNCHER, OWN, SEALED, SealedPart, TEMPLATE,
};
use mse_workload::measurement::EnclaveDigest;

use super::BuildError;
use super::cache::KeyHasher;
use super::layers::{Build, layer_error};
use crate::layer::LayerWriter;
use crate::progress::Step;
use crate::spec::{Own, PlatformPart, Programs};
use crate::tree::root_digest;

impl Build {
    /// Our own layers.
    pub(super) fn own(&mut self) -> Result<(), BuildError> {
        self.tree = None;
        match self.spec.own.clone() {
            Own::Service { programs, template } => self.service(&programs, &template),
            Own::Platform(part) => self.platform(&part),
        }
    }

    /// The encrypted files, the programs, and what the image says about itself.
    fn service(&mut self, programs: &Programs, template: &[u8]) -> Result<(), BuildError> {
        let sealed = self.sealed()?;
        let placed = BTreeMap::from([
            (ENCLAVE.to_owned(), programs.enclave.clone()),
            (LAUNCHER.to_owned(), programs.launcher.clone()),
        ]);
        let digests = self.programs(&placed, "mse-launch and mse-enclave")?;
        let root = root_digest(&self.system, &self.plan.unmeasured)?;
        let facts = ImageFacts {
            format: FACTS_FORMAT,
            name: self.spec.name.clone(),
            root,
            enclave: EnclaveDigest(digests[ENCLAVE]),
            sealed,
            unmeasured: self.plan.unmeasured.clone(),
        };
        let json = facts.canonical();
        self.files(
            &[(FACTS, &json), (TEMPLATE, template)],
            "facts and template",
        )?;
        self.facts = Some(facts);
        Ok(())
    }

    /// The programs, and what they read.
    fn platform(&mut self, part: &PlatformPart) -> Result<(), BuildError> {
        let name_of = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let names: Vec<String> = part.programs.iter().map(|path| name_of(path)).collect();
        let placed = names
            .iter()
            .zip(&part.programs)
            .map(|(name, from)| (format!("{OWN}/bin/{name}"), from.clone()))
            .collect();
        self.inputs = self.programs(&placed, &names.join(" and "))?;
        if part.files.is_empty() {
            return Ok(());
        }
        let placed: Vec<(String, &Vec<u8>)> = part
            .files
            .iter()
            .map(|(name, content)| (format!("{OWN}/{name}"), content))
            .collect();
        let files: Vec<(&str, &[u8])> = placed
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()))
            .collect();
        let names: Vec<&str> = part.files.keys().map(String::as_str).collect();
        self.files(&files, &names.join(" and "))
    }

    fn sealed(&mut self) -> Result<Option<SealedPart>, BuildError> {
        let (Some(confidential), Some(key)) =
            (self.confidential.take(), self.spec.image_key.clone())
        else {
            return Ok(None);
        };
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
                .map_err(|source| layer_error(&step, source))
        })?;
        self.stack(made, "encrypted files")?;
        Ok(Some(part))
    }

    /// Stacks a layer of programs, by their paths in the image; gives the digest of each.
    fn programs(
        &mut self,
        programs: &BTreeMap<String, PathBuf>,
        history: &str,
    ) -> Result<BTreeMap<String, Digest>, BuildError> {
        let mut key = KeyHasher::new("programs-2").field(&self.spec.epoch.0.to_be_bytes());
        let mut digests = BTreeMap::new();
        for (path, from) in programs {
            let digest = File::open(from)
                .and_then(Digest::of_reader)
                .map_err(|source| BuildError::Program(from.clone(), source))?;
            key = key.field(path.as_bytes()).field(&digest.0);
            digests.insert(path.clone(), digest);
        }
        let made = self.step(Step::Programs, Some(key.finish()), |build, out| {
            let mut writer = LayerWriter::new(out, build.spec.epoch);
            writer
                .folder(OWN, 0o755)
                .and_then(|()| writer.folder("/mse/bin", 0o755))
                .map_err(|source| layer_error(&Step::Programs, source))?;
            for (path, from) in programs {
                File::open(from)
                    .and_then(|file| {
                        let size = file.metadata()?.len();
                        writer.file(path, 0o755, size, file)
                    })
                    .map_err(|source| BuildError::Program(from.clone(), source))?;
            }
            writer
                .finish()
                .map_err(|source| layer_error(&Step::Programs, source))
        })?;
        self.stack(made, history)?;
        Ok(digests)
    }

    /// Stacks a layer of files that are in no folder, in the order of their paths.
    fn files(&mut self, files: &[(&str, &[u8])], history: &str) -> Result<(), BuildError> {
        let made = self.step(Step::Facts, None, |build, out| {
            let mut writer = LayerWriter::new(out, build.spec.epoch);
            writer
                .folder(OWN, 0o755)
                .and_then(|()| {
                    files.iter().try_for_each(|(path, content)| {
                        writer.file(path, 0o644, content.len() as u64, *content)
                    })
                })
                .and_then(|()| writer.finish())
                .map_err(|source| layer_error(&Step::Facts, source))
        })?;
        self.stack(made, history)
    }
}
