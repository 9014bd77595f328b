//! `mse context`

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::app_name::AppName;
use crate::cli::Scene;
use crate::context::{ContextEntry, ContextStore, KeyInFile};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::ui::{Report, counted, local, table};

/// Work with what is kept of deployments
///
/// A context holds what verifies an app, and the key to its code: it is yours. An export leaves
/// the key out, and serves whoever has the code to verify the app. The state in the list is how the
/// deployment ended; `mse list` shows what runs.
#[derive(Args)]
#[command(
    group(clap::ArgGroup::new("action").required(true)),
    after_help = "\
Examples:
  mse context --list
  mse context --export hello
  mse context --export 3f2b8c1e-5d0a-4f6b-9a57-2c1b7e1f0a11
  mse context --export 3f2b8c1e-5d0a-4f6b-9a57-2c1b7e1f0a11 --with-key --output backup.mse
  mse context --purge"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line, and clap keeps them apart"
)]
pub(crate) struct Context {
    /// List the contexts of this machine
    #[arg(long, group = "action")]
    list: bool,
    /// Write the context of an app, by its id or name, to `context.mse`, without the key to its code
    #[arg(long, value_name = "APP", group = "action")]
    export: Option<AppName>,
    /// Remove the context of an app, and with it the key to its code; by its id only
    #[arg(long, value_name = "ID", group = "action")]
    remove: Option<Uuid>,
    /// Remove all contexts
    #[arg(long, group = "action")]
    purge: bool,
    /// Export the key to the code as well: who has it can read the code
    #[arg(long, requires = "export")]
    with_key: bool,
    /// Where to export to
    #[arg(
        long,
        value_name = "FILE",
        requires = "export",
        default_value = "context.mse"
    )]
    output: PathBuf,
    /// Overwrite the file
    #[arg(long, requires = "export")]
    force: bool,
}

impl Context {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let store = ContextStore::of(&scene.conf);
        match (&self.export, self.remove) {
            (Some(app), _) => self.export(scene, &store, app),
            (None, Some(id)) => {
                store.remove(id)?;
                scene.ui.report(&Done::Removed { id })
            }
            (None, None) if self.purge => {
                let count = store.list()?.len();
                store.purge()?;
                scene.ui.report(&Done::Purged { count })
            }
            (None, None) => scene.ui.report(&Contexts {
                contexts: store.list()?.into_iter().map(Row::of).collect(),
            }),
        }
    }

    fn export(
        &self,
        scene: &Scene<'_>,
        store: &ContextStore,
        app: &AppName,
    ) -> Result<(), Failure> {
        let key = if self.with_key {
            KeyInFile::Included
        } else {
            KeyInFile::LeftOut
        };
        let (id, context) = store.find_with_id(app)?;
        if key == KeyInFile::LeftOut && context.record.is_none() {
            return Err(Failure::new(
                Exit::InvalidConfiguration,
                "this context can be verified only with the key to the code: it was made by a tool that kept no source commitment",
            )
            .with_hint("`--with-key` exports it whole; deploying again with this `mse` makes one that needs no key"));
        }
        if self.output.exists() && !self.force {
            return Err(Failure::new(
                Exit::Conflict,
                format!("`{}` exists", self.output.display()),
            )
            .with_hint("`--force` overwrites it, `--output FILE` names another"));
        }
        private_file::write(&self.output, context.to_toml(key).as_bytes())?;
        if key == KeyInFile::Included {
            scene
                .ui
                .warn("the file holds the key to the code: who has it can read the code");
        }
        scene.ui.report(&Done::Exported {
            id: id.0,
            path: self.output.clone(),
            with_key: self.with_key,
        })
    }
}

#[derive(Serialize)]
struct Contexts {
    contexts: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    id: Uuid,
    name: Option<String>,
    state: String,
    written_at: Option<jiff::Timestamp>,
    verified: Option<bool>,
    /// Why it cannot be read.
    problem: Option<String>,
}

impl Row {
    fn of(entry: ContextEntry) -> Self {
        let ContextEntry {
            id,
            written_at,
            context,
        } = entry;
        match context {
            Ok(context) => Self {
                id,
                written_at,
                state: context
                    .record
                    .as_ref()
                    .map_or("unknown", |record| record.state.shown())
                    .to_owned(),
                verified: context.deployed().map(|deployed| deployed.verified),
                name: Some(context.config.name),
                problem: None,
            },
            Err(failure) => Self {
                id,
                written_at,
                state: "unreadable".to_owned(),
                verified: None,
                name: None,
                problem: Some(failure.message().to_owned()),
            },
        }
    }
}

impl Report for Contexts {
    fn text(&self) -> String {
        if self.contexts.is_empty() {
            return "There are no contexts on this machine".to_owned();
        }
        let rows: Vec<[String; 5]> = self
            .contexts
            .iter()
            .map(|row| {
                [
                    row.id.to_string(),
                    row.written_at.map(local).unwrap_or_default(),
                    row.state.clone(),
                    match row.verified {
                        Some(true) => "yes",
                        Some(false) => "NO",
                        None => "-",
                    }
                    .to_owned(),
                    row.name
                        .clone()
                        .or_else(|| row.problem.as_ref().map(|why| format!("[{why}]")))
                        .unwrap_or_default(),
                ]
            })
            .collect();
        table(["ID", "WRITTEN", "STATE", "VERIFIED", "NAME"], &rows)
    }
}

#[derive(Serialize)]
#[serde(tag = "done", rename_all = "kebab-case")]
enum Done {
    Removed {
        id: Uuid,
    },
    Purged {
        count: usize,
    },
    Exported {
        id: Uuid,
        path: PathBuf,
        with_key: bool,
    },
}

impl Report for Done {
    fn text(&self) -> String {
        match self {
            Self::Removed { id } => format!("The context of {id} was removed"),
            Self::Purged { count } => {
                format!(
                    "{} removed",
                    counted(*count, "context was", "contexts were")
                )
            }
            Self::Exported { id, path, with_key } => format!(
                "The context of {id} has been exported to {}, {}",
                display(path),
                if *with_key {
                    "with the key to its code"
                } else {
                    "without the key to its code"
                }
            ),
        }
    }
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
