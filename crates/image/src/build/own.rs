//! Our own part of an image: `/mse`.

use std::fs::File;
use std::path::PathBuf;

use mse_crypto::Digest;
use mse_workload::image::{
    ENCLAVE, FACTS, FACTS_FORMAT, ImageFacts, LAUNCHER, OWN, SEALED, TEMPLATE,
};
use mse_workload::measurement::EnclaveDigest;

use super::BuildError;
use super::cache::KeyHasher;
use super::layers::{Build, layer_error};
use crate::layer::LayerWriter;
use crate::progress::Step;
use crate::tree::root_digest;

impl Build {
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
                        .map_err(|source| layer_error(&step, source))
                })?;
                self.stack(made, "encrypted files")?;
                Some(part)
            }
            _ => None,
        };
        let enclave = self.programs()?;
        let root = root_digest(&self.system, &self.plan.unmeasured)?;
        let facts = ImageFacts {
            format: FACTS_FORMAT,
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
                .map_err(|source| layer_error(&Step::Facts, source))
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
                .map_err(|source| layer_error(&Step::Programs, source))?;
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
                .map_err(|source| layer_error(&Step::Programs, source))
        })?;
        self.stack(made, "mse-launch and mse-enclave")?;
        Ok(EnclaveDigest(enclave))
    }
}
