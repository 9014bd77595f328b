//! `mse init`

use std::path::{Path, PathBuf};

use clap::Args;
use dialoguer::Input;
use mse_api::AppDefaults;
use mse_manifest::{Cloud, CloudSection, Manifest};
use serde::Serialize;

use super::{DEFAULT_HARDWARE, DEFAULT_IMAGE, DEFAULT_PROJECT};
use crate::api::ApiClient;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;
use crate::ui::{Report, Ui};

const FILE: &str = "mse.toml";

/// Write an `mse.toml` for code that exists
///
/// Asks for what is not given; without a terminal, what is not given has its default.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse init
  mse init --name shop --application shop.web:app --code src")]
pub(crate) struct Init {
    /// What you call the app
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The project it belongs to
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// The machine size it runs on
    #[arg(long, value_name = "NAME")]
    hardware: Option<String>,
    /// The image it runs in
    #[arg(long, value_name = "IMAGE")]
    docker: Option<String>,
    /// Folder of the code
    #[arg(long, value_name = "DIR")]
    code: Option<String>,
    /// Folder of the tests
    #[arg(long, value_name = "DIR")]
    tests: Option<String>,
    /// What is served
    #[arg(long, value_name = "MODULE:VARIABLE")]
    application: Option<String>,
    /// Path that answers once the app is ready
    #[arg(long, value_name = "PATH")]
    healthcheck: Option<String>,
    /// JSON file that only the enclave may read
    #[arg(long, value_name = "FILE")]
    secrets: Option<String>,
    /// Overwrite an `mse.toml` that is there
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let path = PathBuf::from(FILE);
        if path.exists() && !self.force {
            return Err(
                Failure::new(Exit::Conflict, format!("there is a `{FILE}` already"))
                    .with_hint("`--force` overwrites it"),
            );
        }
        let force = self.force;
        let defaults = defaults(scene).await;
        let manifest = self.fill(scene.ui, &defaults)?;
        let text = manifest.to_toml();
        // What was typed is held to the same rules as a file.
        Manifest::parse(&path, &text, CloudSection::Required)?;
        write(&path, &text, force)?;
        scene.ui.report(&Written { path: FILE })
    }

    fn fill(self, ui: &Ui, defaults: &AppDefaults) -> Result<Manifest, Failure> {
        let ask = Asker(ui);
        let invalid = |what: &str, error: &dyn std::fmt::Display| {
            Failure::new(Exit::Usage, format!("{what} {error}"))
        };
        let name = ask.required("Name of the app", self.name, "--name")?;
        let project = ask.with_default("Project", self.project, &defaults.project)?;
        let hardware = ask.with_default("Hardware", self.hardware, &defaults.hardware)?;
        let docker = ask.with_default("Image", self.docker, &defaults.docker)?;
        let code = ask.with_default("Folder of the code", self.code, "mse_src")?;
        let tests = ask.with_default("Folder of the tests", self.tests, "tests")?;
        let application = ask.with_default("Python application", self.application, "app:app")?;
        let healthcheck = ask.with_default("Health endpoint", self.healthcheck, "/")?;
        let secrets = ask.optional("File with secrets (empty: none)", self.secrets)?;
        Ok(Manifest {
            name,
            python_application: application
                .parse()
                .map_err(|error| invalid("the Python application", &error))?,
            healthcheck_endpoint: healthcheck,
            tests_cmd: "pytest".to_owned(),
            tests_requirements: vec!["pytest".to_owned(), "requests".to_owned()],
            cloud: Some(Cloud {
                code: code.into(),
                tests: tests.into(),
                docker: docker
                    .parse()
                    .map_err(|error| invalid("the image", &error))?,
                project,
                hardware,
                secrets: secrets.map(Into::into),
                expiration_date: None,
                ssl: None,
                environment: std::collections::BTreeMap::new(),
            }),
        })
    }
}

#[derive(Serialize)]
struct Written {
    path: &'static str,
}

impl Report for Written {
    fn text(&self) -> String {
        format!(
            "Wrote {}. Try the app on this machine with `mse localtest`, then `mse deploy`",
            self.path
        )
    }
}

/// Asks on a terminal for what was not given.
struct Asker<'a>(&'a Ui);

impl Asker<'_> {
    fn required(&self, what: &str, given: Option<String>, option: &str) -> Result<String, Failure> {
        match given {
            Some(given) => Ok(given),
            None if self.0.is_interactive() => ask(Input::new().with_prompt(what)),
            None => Err(Failure::new(Exit::Usage, format!("{what} is not given"))
                .with_hint(format!("give it with `{option}`"))),
        }
    }

    fn with_default(
        &self,
        what: &str,
        given: Option<String>,
        default: &str,
    ) -> Result<String, Failure> {
        match given {
            Some(given) => Ok(given),
            None if self.0.is_interactive() => {
                ask(Input::new().with_prompt(what).default(default.to_owned()))
            }
            None => Ok(default.to_owned()),
        }
    }

    fn optional(&self, what: &str, given: Option<String>) -> Result<Option<String>, Failure> {
        match given {
            Some(given) => Ok(Some(given)),
            None if self.0.is_interactive() => {
                let answer = ask(Input::new().with_prompt(what).allow_empty(true))?;
                Ok(Some(answer).filter(|answer| !answer.trim().is_empty()))
            }
            None => Ok(None),
        }
    }
}

fn ask(input: Input<'_, String>) -> Result<String, Failure> {
    input
        .interact_text()
        .map_err(|error| Failure::new(Exit::Cancelled, format!("no answer was given: {error}")))
}

/// What the platform proposes; without one, what every platform has.
async fn defaults(scene: &Scene<'_>) -> AppDefaults {
    let proposed = match Session::required(&scene.conf).and_then(ApiClient::of) {
        Ok(api) => api.defaults().await.ok(),
        Err(_) => None,
    };
    proposed.unwrap_or_else(|| AppDefaults {
        project: DEFAULT_PROJECT.to_owned(),
        docker: DEFAULT_IMAGE.to_owned(),
        hardware: DEFAULT_HARDWARE.to_owned(),
    })
}

fn write(path: &Path, text: &str, overwrite: bool) -> Result<(), Failure> {
    use std::io::Write;

    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::file("write", path, &error))
}
