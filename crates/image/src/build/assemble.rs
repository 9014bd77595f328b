//! Putting configuration, manifest and what is attached to them into a layout.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use mse_crypto::Digest;
use mse_workload::image::LAUNCHER;
use oci_spec::image as oci;
use tempfile::TempDir;

use super::layers::Build;
use super::{BuildError, Built};
use crate::attach::{Attached, attach};
use crate::layout::{Layout, Named};
use crate::manifest::{Blob, Manifest, architecture, canonical, media};
use crate::provenance::provenance;
use crate::sbom::sbom;
use crate::spec::{Epoch, Own};

/// Search path of the launcher, which needs none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Build {
    /// Writes the layout and puts it at `output`.
    pub(super) fn assemble(self, output: &Path) -> Result<Built, BuildError> {
        let failed = |source| BuildError::Output(output.to_owned(), source);
        let parent = output
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(parent).map_err(failed)?;
        let half = tempfile::Builder::new()
            .prefix(".image-")
            .tempdir_in(parent)
            .map_err(failed)?;
        let layout = Layout::create(&half.path().join("layout"))?;
        for layer in &self.layers {
            layout.adopt(layer.blob.digest, &layer.source)?;
        }
        let config = layout.add(&canonical(&self.config()), media::CONFIG)?;
        let manifest = Manifest {
            media_type: media::MANIFEST.into(),
            config: config.clone(),
            layers: self.layers.iter().map(|layer| layer.blob.clone()).collect(),
            artifact_type: None,
            subject: None,
            annotations: HashMap::new(),
        };
        let image = layout.add_manifest(&manifest)?;
        let mut entries = vec![Named {
            manifest: image.clone(),
            name: Some(self.spec.name.clone()),
        }];
        for document in [
            Attached::sbom(sbom(&self.spec.name, &image, &self.lock, &self.system)),
            Attached::provenance(provenance(
                &self.spec,
                &image,
                &self.own_inputs(),
                &self.plan.unmeasured,
                &self.lock,
                &self.layers_made(),
            )),
        ] {
            entries.push(Named {
                manifest: attach(&layout, &image, &document)?,
                name: None,
            });
        }
        layout.name(&entries)?;
        self.check()?;
        replace(&half, output).map_err(failed)?;
        Ok(Built {
            layout: output.to_owned(),
            digest: image.digest,
            facts: self.facts,
            lock: self.lock,
            size: size(&image, &manifest),
        })
    }

    /// What of our own is in the image.
    fn own_inputs(&self) -> Vec<(String, Digest)> {
        match (&self.spec.own, &self.facts) {
            (Own::Service { template, .. }, Some(facts)) => vec![
                ("mse-enclave".to_owned(), facts.enclave.0),
                ("service.json".to_owned(), Digest::of(template)),
            ],
            _ => self.inputs.clone().into_iter().collect(),
        }
    }

    fn layers_made(&self) -> Vec<(String, Blob)> {
        self.layers
            .iter()
            .map(|layer| (layer.history.clone(), layer.blob.clone()))
            .collect()
    }

    fn config(&self) -> oci::ImageConfiguration {
        let created = timestamp(self.spec.epoch);
        let history: Vec<oci::History> = self
            .layers
            .iter()
            .map(|layer| {
                oci::HistoryBuilder::default()
                    .created(created.clone())
                    .created_by(layer.history.clone())
                    .build()
                    .expect("nothing is required")
            })
            .collect();
        let rootfs = oci::RootFsBuilder::default()
            .typ("layers")
            .diff_ids(
                self.layers
                    .iter()
                    .map(|layer| layer.diff_id.to_string())
                    .collect::<Vec<_>>(),
            )
            .build()
            .expect("all that is required is set");
        let labels: HashMap<String, String> = [
            (
                "org.opencontainers.image.title".to_owned(),
                self.spec.name.clone(),
            ),
            (
                "mse.version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
        ]
        .into();
        let (user, entry_point) = match &self.spec.own {
            Own::Service { .. } => ("0".to_owned(), LAUNCHER),
            Own::Platform(part) if part.user == 0 => ("0".to_owned(), part.entry_point.as_str()),
            Own::Platform(part) => (format!("{0}:{0}", part.user), part.entry_point.as_str()),
        };
        let config = oci::ConfigBuilder::default()
            .user(user)
            .env(vec![PATH.to_owned()])
            .entrypoint(vec![entry_point.to_owned()])
            .labels(labels)
            .build()
            .expect("nothing is required");
        oci::ImageConfigurationBuilder::default()
            .created(created)
            .architecture(oci::Arch::from(architecture()))
            .os(oci::Os::Linux)
            .config(config)
            .rootfs(rootfs)
            .history(history)
            .build()
            .expect("all that is required is set")
    }
}

/// RFC 3339.
pub(crate) fn timestamp(epoch: Epoch) -> String {
    jiff::Timestamp::from_second(epoch.0.into())
        .expect("32 bits are a time")
        .to_string()
}

fn size(image: &Blob, manifest: &Manifest) -> u64 {
    image.size + manifest.config.size + manifest.layers.iter().map(|blob| blob.size).sum::<u64>()
}

/// Puts the complete layout in the place of what is at `output`.
fn replace(half: &TempDir, output: &Path) -> std::io::Result<()> {
    let old = half.path().join("old");
    match fs::rename(output, &old) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        other => other?,
    }
    fs::rename(half.path().join("layout"), output)
}
