//! `mse scaffold`

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use mse_manifest::{CloudSection, Manifest};
use serde::Serialize;

use super::{DEFAULT_HARDWARE, DEFAULT_IMAGE, DEFAULT_PROJECT};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::ui::Report;
use crate::words::typed;

/// Make a folder with an app that can be deployed as it is
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse scaffold hello && cd hello && mse localtest && mse deploy")]
pub(crate) struct Scaffold {
    /// Name of the app and of its folder
    #[arg(value_name = "NAME")]
    name: String,
}

/// The files, except the manifest and the secrets.
const TEMPLATES: &[(&str, &str)] = &[
    ("README.md", include_str!("../templates/README.md")),
    (".gitignore", include_str!("../templates/gitignore")),
    ("mse_src/app.py", include_str!("../templates/app.py")),
    ("mse_src/.mseignore", include_str!("../templates/mseignore")),
    (
        "tests/conftest.py",
        include_str!("../templates/conftest.py"),
    ),
    (
        "tests/test_app.py",
        include_str!("../templates/test_app.py"),
    ),
];

const SECRETS: &str = include_str!("../templates/secrets.json");

impl Scaffold {
    #[expect(
        clippy::unused_async,
        reason = "all commands that may talk to a platform have one form"
    )]
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let name = self.name.trim();
        let is_plain =
            !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        if !is_plain {
            return Err(
                Failure::new(Exit::Usage, format!("`{}` cannot name a folder", self.name))
                    .with_hint("use letters, digits, `-` and `_`"),
            );
        }
        let root = PathBuf::from(name);
        let manifest = manifest(name);
        Manifest::parse(&root.join("mse.toml"), &manifest, CloudSection::Required)?;
        fs::create_dir(&root).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(Exit::Conflict, format!("File exists: `{name}`"))
                    .with_hint("choose another name, or remove it")
            }
            _ => Failure::file("create the folder", &root, &error),
        })?;
        for (path, text) in TEMPLATES {
            write(&root.join(path), &text.replace("{{name}}", name))?;
        }
        write(&root.join("mse.toml"), &manifest)?;
        private_file::write(&root.join("secrets.json"), SECRETS.as_bytes())?;
        scene.ui.report(&Scaffolded {
            name: name.to_owned(),
            files: TEMPLATES
                .iter()
                .map(|(path, _)| *path)
                .chain(["mse.toml", "secrets.json"])
                .collect(),
        })
    }
}

#[derive(Serialize)]
struct Scaffolded {
    name: String,
    files: Vec<&'static str>,
}

impl Report for Scaffolded {
    fn text(&self) -> String {
        let folder = typed(&self.name);
        format!(
            "An example app has been generated in the folder {folder}/\n\
             You can try it:   cd {folder} && mse localtest\n\
             You can run it:   cd {folder} && mse deploy"
        )
    }
}

fn manifest(name: &str) -> String {
    let name = toml::Value::from(name);
    format!(
        "name = {name}\n\
         python_application = \"app:app\"\n\
         healthcheck_endpoint = \"/health\"\n\
         tests_cmd = \"pytest\"\n\
         tests_requirements = [\"pytest\", \"requests\"]\n\
         \n\
         [cloud]\n\
         code = \"mse_src\"\n\
         tests = \"tests\"\n\
         docker = \"{DEFAULT_IMAGE}\"\n\
         project = \"{DEFAULT_PROJECT}\"\n\
         hardware = \"{DEFAULT_HARDWARE}\"\n\
         secrets = \"secrets.json\"\n"
    )
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    path.parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::file("write", path, &error))
}
