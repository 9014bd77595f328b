//! A service manifest becomes an image.

use std::path::PathBuf;

use mse_image::{Base, ImageLock, Kind};
use mse_mesh::ServiceManifest;
use serde::Serialize;

use super::Apply;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::{
    ImageKeys, ImageStore, ReadyImage, Recipe, SigningKeyFile, Workshop, image_key, reference_of,
    spec_of,
};
use crate::private_file;
use crate::ui::Report;

/// A lock file is much shorter.
const MAX_LOCK: u64 = 16 * 1024 * 1024;

impl Apply {
    pub(super) async fn service(
        &self,
        scene: &Scene<'_>,
        manifest: ServiceManifest,
    ) -> Result<(), Failure> {
        let given = &self.service;
        let recipe = Recipe {
            context: self.context()?,
            programs: given.programs.find()?,
        };
        let mut spec = spec_of(&manifest, recipe)?;
        let reference = reference_of(manifest.build.to.as_str())?;
        spec.lock = given.locked.as_deref().map(lock_in).transpose()?;
        if self.dry_run {
            return scene.ui.report(&Planned {
                image: reference.to_string(),
                steps: steps(&spec),
            });
        }
        if !spec.dirs.is_empty() {
            spec.image_key = Some(match &given.image_key {
                Some(file) => image_key(file)?,
                None => ImageKeys::of(&scene.conf).for_image(&reference)?,
            });
        }
        let workshop = Workshop {
            store: ImageStore::find()?,
            registry: self.registry.open()?,
        };
        let (built, facts) = workshop.build(scene, spec, &reference).await?;
        if let Some(file) = &given.lock {
            private_file::write(file, &built.lock.to_json())?;
        }
        let ready = ReadyImage::of(&reference, &built, facts);
        if given.no_push {
            return scene.ui.report(&ready);
        }
        let key = self.signing_key(scene, &manifest);
        workshop.push(scene, &reference, &reference, &key).await?;
        scene.ui.report(&ready.pushed(&reference, &built, key))
    }

    fn signing_key(&self, scene: &Scene<'_>, manifest: &ServiceManifest) -> SigningKeyFile {
        let given = &self.service.signing_key;
        let named = manifest.build.signature.key.as_ref().map(PathBuf::from);
        SigningKeyFile(
            given
                .clone()
                .or(named)
                .unwrap_or_else(|| scene.conf.image_signing_key()),
        )
    }
}

fn lock_in(file: &std::path::Path) -> Result<ImageLock, Failure> {
    let text = private_file::read(file, MAX_LOCK)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no lock file `{}`", file.display()),
        )
    })?;
    ImageLock::from_json(text.as_bytes()).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}`: {error}", file.display()),
        )
    })
}

fn steps(spec: &mse_image::ImageSpec) -> Vec<String> {
    let mut steps = vec![format!("base: {}", base(&spec.base))];
    steps.extend(
        spec.requirements
            .iter()
            .map(|file| format!("requirements: {file}")),
    );
    steps.extend(spec.copy.iter().map(|path| format!("copy: {path}")));
    steps.extend(spec.run.iter().map(|command| format!("run: {command}")));
    steps.extend(spec.dirs.iter().map(|path| format!("encrypt: {path}")));
    steps
}

fn base(base: &Base) -> String {
    match base {
        Base::Kind(Kind::Python) => "Python, from Debian's packages".to_owned(),
        Base::Kind(Kind::Java) => "Java, from Debian's packages".to_owned(),
        Base::Debian { packages, .. } => format!("Debian's {}", packages.join(", ")),
        Base::Reference(reference) => reference.to_string(),
        Base::Layout(folder) => format!("the layout `{}`", folder.display()),
    }
}

#[derive(Serialize)]
struct Planned {
    image: String,
    steps: Vec<String>,
}

impl Report for Planned {
    fn text(&self) -> String {
        format!("Would build `{}`:\n{}", self.image, self.steps.join("\n"))
    }
}
