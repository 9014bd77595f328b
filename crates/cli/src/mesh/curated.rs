//! Images of the services that come with MSE: built on this machine, when a mesh first needs them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mse_crypto::Digest;
use mse_crypto::digest::Hasher;
use mse_image::{Built, Programs, Reference};
use mse_mesh::{Curated, ImageReference};
use mse_workload::image::ImageFacts;

use super::building::Workshop;
use super::images::Pulling;
use super::recipe::{Recipe, spec_of};
use super::store::reference;
use crate::cli::Scene;
use crate::failure::Failure;

/// Debian mends something of each image about so often, in days.
const OLD: u64 = 30;

/// What an image of a curated service is called in this machine's store. Its tag is a digest over
/// everything of it that comes with MSE, so that another version of MSE builds another one; which
/// packages Debian has is as it was at the build.
pub(crate) fn name_of(curated: Curated, programs: &Programs) -> Result<Reference, Failure> {
    let mut hasher = Hasher::new();
    let mut take = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    };
    take(curated.manifest_text().as_bytes());
    for file in curated.files() {
        take(file.name.as_bytes());
        take(&[u8::from(file.executable)]);
        take(file.content.as_bytes());
    }
    for program in [&programs.launcher, &programs.enclave] {
        let digest = fs::File::open(program).and_then(Digest::of_reader);
        let digest = digest.map_err(|error| Failure::file("read", program, &error))?;
        take(&digest.0);
    }
    let tag = hasher.finish().short();
    let image = curated.manifest().build.to;
    reference(&format!("{}:{tag}", image.name()))
}

impl Workshop {
    /// The image of a curated service. It is built if it is not there, and from the packages of today
    /// if everything is to be asked for anew; else an old one is warned of.
    pub(crate) async fn curated(
        &self,
        scene: &Scene<'_>,
        curated: Curated,
        programs: &Programs,
        pulling: Pulling,
    ) -> Result<ImageReference, Failure> {
        let name = name_of(curated, programs)?;
        if pulling == Pulling::Always || self.store.get(&name)?.is_none() {
            self.build_curated(scene, curated, programs, &name).await?;
        } else if let Some(days) = self.store.age_in_days(&name).filter(|days| *days >= OLD) {
            scene.ui.warn(format!(
                "the image of `curated: {curated}` was built {days} days ago, and lacks what Debian has mended since: `mse apply --pull` builds all of a mesh again, `mse image curated build {curated}` this one"
            ));
        }
        name.to_string()
            .parse()
            .map_err(|error: mse_mesh::InvalidImageReference| Failure::other(error.to_string()))
    }

    /// Builds it from the packages that Debian has today.
    pub(crate) async fn build_curated(
        &self,
        scene: &Scene<'_>,
        curated: Curated,
        programs: &Programs,
        name: &Reference,
    ) -> Result<(Built, ImageFacts), Failure> {
        let context = tempfile::tempdir()
            .map_err(|error| Failure::other(format!("no folder for a build: {error}")))?;
        write_files(curated, context.path())?;
        let recipe = Recipe {
            context: context.path(),
            programs: programs.clone(),
        };
        let spec = spec_of(&curated.manifest(), recipe)?;
        self.build(scene, spec, name).await
    }
}

fn write_files(curated: Curated, folder: &Path) -> Result<(), Failure> {
    for file in curated.files() {
        let path = folder.join(file.name);
        let mode = if file.executable { 0o755 } else { 0o644 };
        fs::write(&path, file.content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
            .map_err(|error| Failure::file("write", &path, &error))?;
    }
    Ok(())
}
