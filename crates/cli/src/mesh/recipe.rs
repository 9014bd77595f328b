//! From a service manifest to what `mse-image` builds.

use std::path::Path;

use mse_image::{Base, ImageSpec, Kind, Programs, StepNetwork};
use mse_mesh::{Build, ServiceManifest, Toolchain};

use super::store::reference;
use crate::exit::Exit;
use crate::failure::Failure;

/// Where files of a manifest are, and what the image carries besides.
pub(crate) struct Recipe<'a> {
    /// The folder of the manifest: paths in it are below this.
    pub(crate) context: &'a Path,
    pub(crate) programs: Programs,
}

/// What is to be built. The image key, if one is needed, and the lock are for the caller to add.
pub(crate) fn spec_of(
    manifest: &ServiceManifest,
    recipe: Recipe<'_>,
) -> Result<ImageSpec, Failure> {
    let build = &manifest.build;
    refuse_what_is_not_built(build)?;
    let template = manifest
        .template()
        .canonical()
        .map_err(|error| Failure::new(Exit::InvalidConfiguration, error.to_string()))?;
    let mut spec = ImageSpec::new(
        build.name.as_str(),
        base(build)?,
        recipe.context,
        recipe.programs,
    )
    .with_template(template);
    if let Some(pwd) = &build.pwd {
        spec.pwd.clone_from(pwd);
    }
    spec.copy.clone_from(&build.copy);
    spec.requirements.clone_from(&build.requirements);
    spec.run.clone_from(&build.run);
    spec.dirs.clone_from(&build.dirs);
    spec.plains.clone_from(&build.plains);
    spec.plain_files.clone_from(&build.plain_files);
    spec.host_paths.clone_from(&build.host_paths);
    spec.network = if build.network {
        StepNetwork::On
    } else {
        StepNetwork::Off
    };
    Ok(spec)
}

fn base(build: &Build) -> Result<Base, Failure> {
    if let Some(from) = &build.from {
        return reference(from.as_str()).map(Base::Reference);
    }
    match build.kind {
        Toolchain::Python => Ok(Base::Kind(Kind::Python)),
        Toolchain::Java17 => Ok(Base::Kind(Kind::Java)),
        Toolchain::Debian => Ok(Base::Debian {
            packages: build.packages.clone(),
            without: build.without.clone(),
        }),
        Toolchain::Java8 | Toolchain::Java15 => Err(Failure::new(
            Exit::InvalidConfiguration,
            format!("`build.kind` is `{}`: Debian has no such Java", build.kind),
        )
        .with_hint("write `kind: java17`, or name an image that has it with `build.from`")),
        Toolchain::Image => Err(Failure::new(
            Exit::InvalidConfiguration,
            "`build.from` is missing: with `kind: sconify_image` it says which image is made confidential",
        )),
    }
}

/// What the language has and no build does: to leave it away in silence would look like done.
fn refuse_what_is_not_built(build: &Build) -> Result<(), Failure> {
    let refused = |field: &str, why: &str| {
        Err(Failure::new(
            Exit::InvalidConfiguration,
            format!("`build.{field}` is not served: {why}"),
        )
        .with_hint("leave it away"))
    };
    if build.policy_template.is_some() {
        return refused("gen_policy", "policies are derived from the manifest");
    }
    Ok(())
}
