//! `mse image platform`

mod part;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mse_image::{Built, Layout, Reference};
use serde::Serialize;

use self::part::Part;
use super::sign::sign;
use super::source::reference;
use super::{of_layout, of_registry};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::{ImagePrograms, ImageStore, RegistryArgs, Workshop};
use crate::ui::{Report, good, table};

/// The images that the platform itself is made of on Kubernetes (deploy/helm/mse)
///
/// They are built on this machine without a container engine, from Debian's packages, static
/// programs of MSE, and for runtimes of apps their locked Python packages. The same of these make
/// the same digest.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image platform list
  mse image platform build
  mse image platform build --push registry.example/mse > images.yaml")]
pub(super) struct PlatformCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    List(List),
    Build(Build),
}

impl PlatformCommand {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::List(command) => command.run(scene),
            Action::Build(command) => command.run(scene).await,
        }
    }
}

/// List the images: what is in them
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image platform list")]
struct List {}

impl List {
    fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let Self {} = self;
        scene
            .ui
            .report(&Listed(Part::all().into_iter().map(Shown::of).collect()))
    }
}

/// Build the images, each into an OCI layout, and push them into a registry
///
/// With `--push`, what is printed are values for the chart: `helm install --values images.yaml`.
/// SBOM and provenance are attached.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image platform build
  mse image platform build mse-server mse-flask --output ./layouts
  mse image platform build --push registry.example/mse --sign identity.pem > images.yaml")]
struct Build {
    /// Which [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<Part>,
    /// The folder for the layouts: `DIR/NAME`
    #[arg(long, value_name = "DIR", default_value = "target/images")]
    output: PathBuf,
    /// Push them as `REGISTRY/NAME`, with this version of MSE as the tag
    #[arg(long, value_name = "REGISTRY")]
    push: Option<String>,
    /// Sign what is pushed with the key in this file, which is made if it is not there
    #[arg(long, value_name = "FILE", requires = "push")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    programs: ImagePrograms,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Build {
    async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let parts = if self.names.is_empty() {
            Part::all()
        } else {
            self.names.clone()
        };
        // Before the first of them is built, which takes time.
        for part in &parts {
            refuse_other(&self.output.join(part.name()))?;
        }
        let places = parts
            .iter()
            .map(|part| self.place_of(*part))
            .collect::<Result<Vec<_>, _>>()?;
        let workshop = Workshop {
            store: ImageStore::find()?,
            registry: self.registry.open()?,
        };
        let mut all = Vec::new();
        for (part, place) in parts.into_iter().zip(places) {
            let built = self.build(scene, &workshop, part).await?;
            let pushed = match place {
                Some(place) => Some(self.push(scene, &workshop, &built, &place).await?),
                None => None,
            };
            all.push(Done {
                part,
                name: part.name(),
                digest: built.digest.to_string(),
                size: built.size,
                layout: built.layout,
                image: pushed.map(|image| image.to_string()),
            });
        }
        scene.ui.report(&AllDone(all))
    }

    fn place_of(&self, part: Part) -> Result<Option<Reference>, Failure> {
        let place = |registry: &String| {
            let (registry, name) = (registry.trim_end_matches('/'), part.name());
            reference(&format!("{registry}/{name}:{}", env!("CARGO_PKG_VERSION")))
        };
        self.push.as_ref().map(place).transpose()
    }

    async fn build(
        &self,
        scene: &Scene<'_>,
        workshop: &Workshop,
        part: Part,
    ) -> Result<Built, Failure> {
        let programs = self.programs.folder_with(part.programs())?;
        let context = tempfile::tempdir()
            .map_err(|error| Failure::other(format!("no folder for a build: {error}")))?;
        let spec = part.spec(&programs, context.path())?;
        let layout = self.output.join(part.name());
        workshop.build_at(scene, spec, part.name(), &layout).await
    }

    async fn push(
        &self,
        scene: &Scene<'_>,
        workshop: &Workshop,
        built: &Built,
        to: &Reference,
    ) -> Result<Reference, Failure> {
        let layout = Layout::open(&built.layout).map_err(|error| of_layout(&error))?;
        let image = layout.image(None).map_err(|error| of_layout(&error))?;
        let step = scene.ui.step(format!("Pushing `{to}`"));
        let pushed = workshop.registry.push(&layout, &image, to).await;
        let digest = pushed.map_err(|error| {
            of_registry(&error).and(&format!("it is built: `{}`", built.layout.display()))
        })?;
        let pinned = to.with_digest(digest);
        if let Some(key) = &self.sign {
            sign(&workshop.registry, &pinned, key).await?;
        }
        step.done(&format!("Pushed `{to}`"));
        Ok(pinned)
    }
}

/// What is at `place` is replaced, and may be somebody's work.
fn refuse_other(place: &Path) -> Result<(), Failure> {
    if !place.exists() || place.join("oci-layout").is_file() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!("`{}` is there, and is no image", place.display()),
    )
    .with_hint("name another folder with `--output DIR`"))
}

#[derive(Serialize)]
struct Listed(Vec<Shown>);

#[derive(Serialize)]
struct Shown {
    name: &'static str,
    programs: &'static [&'static str],
    description: &'static str,
}

impl Shown {
    fn of(part: Part) -> Self {
        Self {
            name: part.name(),
            programs: part.programs(),
            description: part.description(),
        }
    }
}

impl Report for Listed {
    fn text(&self) -> String {
        let row = |one: &Shown| {
            let programs = one.programs.join(" ");
            [one.name.to_owned(), programs, one.description.to_owned()]
        };
        let rows: Vec<_> = self.0.iter().map(row).collect();
        table(["NAME", "PROGRAMS", "FOR"], &rows)
    }
}

#[derive(Serialize)]
struct AllDone(Vec<Done>);

#[derive(Serialize)]
struct Done {
    #[serde(skip)]
    part: Part,
    name: &'static str,
    digest: String,
    size: u64,
    layout: PathBuf,
    /// In the registry, by its digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
}

impl AllDone {
    /// Values of the chart, if the images are where a cluster can pull them from.
    fn values(&self) -> Option<String> {
        let mut lines = vec!["# Images of MSE: values of deploy/helm/mse.".to_owned()];
        let mut runtimes = Vec::new();
        for one in &self.0 {
            let image = one.image.as_ref()?;
            match one.part {
                Part::Server => lines.push(format!("server:\n  image: {image}")),
                Part::Cas => lines.push(format!("cas:\n  image: {image}")),
                Part::Runtime(_) => runtimes.push(format!("    {}: {image}", one.name)),
            }
        }
        if !runtimes.is_empty() {
            lines.push("apps:\n  images:".to_owned());
            lines.append(&mut runtimes);
        }
        Some(lines.join("\n"))
    }
}

impl Report for AllDone {
    fn text(&self) -> String {
        self.values().unwrap_or_else(|| {
            let rows: Vec<_> = self
                .0
                .iter()
                .map(|one| {
                    let layout = one.layout.display().to_string();
                    let size = format!("{} KiB", one.size.div_ceil(1024));
                    [one.name.to_owned(), one.digest.clone(), size, layout]
                })
                .collect();
            format!(
                "{}\n{}",
                good("The images are built"),
                table(["NAME", "DIGEST", "SIZE", "LAYOUT"], &rows)
            )
        })
    }
}
