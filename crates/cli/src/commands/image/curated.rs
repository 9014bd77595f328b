//! `mse image curated`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mse_mesh::{Curated, ServiceManifest};
use serde::Serialize;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::{
    ImagePrograms, ImageStore, ReadyImage, RegistryArgs, SigningKeyFile, Workshop, curated,
    reference_of,
};
use crate::ui::{Report, print, table};

/// Services that a Meshfile may name without a manifest of its own
///
/// `curated: redis` in a Meshfile is all that `mse apply` needs: it builds the image from Debian's
/// packages when this machine does not have it, and anew with `--pull`. These commands are for clusters, which pull images
/// from a registry, and for whoever wants to see what is in them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image curated list
  mse image curated show redis > service.yaml
  mse image curated build redis
  mse image curated build redis --to registry.example/team/redis:7")]
pub(super) struct CuratedCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Build(Build),
}

impl CuratedCommand {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::List(command) => command.run(scene),
            Action::Show(command) => command.run(scene),
            Action::Build(command) => command.run(scene).await,
        }
    }
}

/// List the curated services: what they are built from, and what a mesh may say about them
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image curated list
  mse image curated list --json")]
struct List {}

impl List {
    fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let Self {} = self;
        scene
            .ui
            .report(&Listed(Curated::ALL.into_iter().map(Shown::of).collect()))
    }
}

/// Show the manifest of a curated service, or the files beside it
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image curated show mariadb
  mse image curated show mariadb --file my.cnf")]
struct Show {
    /// Which
    #[arg(value_name = "NAME", value_parser = named)]
    name: Curated,
    /// A file of its build context, instead of the manifest
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
}

impl Show {
    fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let text = match &self.file {
            None => self.name.manifest_text(),
            Some(wanted) => {
                let files = self.name.files();
                let found = files.iter().find(|file| file.name == wanted);
                found
                    .ok_or_else(|| {
                        let names: Vec<_> = files.iter().map(|file| file.name).collect();
                        Failure::new(
                            Exit::NotFound,
                            format!("`{}` has no file `{wanted}`", self.name),
                        )
                        .with_hint(format!("it has: {}", names.join(", ")))
                    })?
                    .content
            }
        };
        if scene.ui.is_json() {
            return scene.ui.report(&Text { text });
        }
        print(text.trim_end())
    }
}

/// Build the image of a curated service, from the packages that Debian has today
///
/// The image is kept on this machine, where meshes use it from the next `mse apply` on. With `--to`
/// it is pushed and signed as well.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image curated build redis
  mse image curated build redis --to registry.example/team/redis:7")]
struct Build {
    /// Which
    #[arg(value_name = "NAME", value_parser = named)]
    name: Curated,
    /// Push it as this image, for `image:` in the Meshfiles of clusters
    #[arg(long, value_name = "IMAGE")]
    to: Option<String>,
    /// The key that signs the image; made if it is not there [default: `image-signing.pem` in the
    /// configuration folder]
    #[arg(long, value_name = "FILE", requires = "to")]
    signing_key: Option<PathBuf>,
    #[command(flatten)]
    programs: ImagePrograms,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Build {
    async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let to = self.to.as_deref().map(reference_of).transpose()?;
        let programs = self.programs.find()?;
        let workshop = Workshop {
            store: ImageStore::find()?,
            registry: self.registry.open()?,
        };
        let here = curated::name_of(self.name, &programs)?;
        let (built, facts) = workshop
            .build_curated(scene, self.name, &programs, &here)
            .await?;
        let ready = ReadyImage::of(&here, &built, facts);
        let Some(to) = &to else {
            return scene.ui.report(&ready);
        };
        let key = self
            .signing_key
            .unwrap_or_else(|| scene.conf.image_signing_key());
        let key = SigningKeyFile(key);
        workshop.push(scene, &here, to, &key).await?;
        scene.ui.report(&ready.pushed(to, &built, key))
    }
}

fn named(text: &str) -> Result<Curated, String> {
    text.parse().map_err(|error| format!("{error}"))
}

#[derive(Serialize)]
struct Listed(Vec<Shown>);

/// What a mesh may say about a curated service.
#[derive(Serialize)]
struct Shown {
    name: &'static str,
    packages: Vec<String>,
    ports: Vec<u16>,
    /// Optional: data is in memory without.
    volumes: Vec<String>,
    /// To import.
    secrets: Vec<String>,
    variables: Vec<Variable>,
    /// That a Meshfile may replace.
    files: Vec<String>,
}

#[derive(Serialize)]
struct Variable {
    name: String,
    default: Option<String>,
}

impl Shown {
    fn of(curated: Curated) -> Self {
        let ServiceManifest {
            build,
            environment,
            secrets,
            injection_files,
            listen,
            ..
        } = curated.manifest();
        Self {
            name: curated.as_str(),
            packages: build.packages,
            ports: listen.iter().map(|one| one.port.get()).collect(),
            volumes: build.volumes.iter().map(|v| v.name.to_string()).collect(),
            secrets: secrets.global.iter().map(|s| s.name.to_string()).collect(),
            variables: environment
                .global
                .iter()
                .map(|one| Variable {
                    name: one.name.to_string(),
                    default: one.default.as_ref().map(|text| text.to_text().to_string()),
                })
                .collect(),
            files: injection_files.into_iter().map(|file| file.path).collect(),
        }
    }
}

impl Report for Listed {
    fn text(&self) -> String {
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|one| {
                let ports: Vec<_> = one.ports.iter().map(ToString::to_string).collect();
                let variables: Vec<_> = one.variables.iter().map(|v| v.name.clone()).collect();
                [
                    one.name.to_owned(),
                    one.packages.join(" "),
                    ports.join(" "),
                    one.volumes.join(" "),
                    one.secrets.join(" "),
                    variables.join(" "),
                ]
            })
            .collect();
        table(
            [
                "NAME",
                "PACKAGES",
                "PORTS",
                "VOLUME",
                "SECRETS",
                "VARIABLES",
            ],
            &rows,
        )
    }
}

#[derive(Serialize)]
struct Text {
    text: &'static str,
}

impl Report for Text {
    fn text(&self) -> String {
        self.text.to_owned()
    }
}
