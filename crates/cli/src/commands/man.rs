//! `mse man`

use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::{self, Scene};
use crate::failure::Failure;
use crate::ui::{ColorChoice, Report};

/// Write the manual pages
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse man ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Folder for the pages
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        fs::create_dir_all(&self.folder)
            .map_err(|error| Failure::file("create the folder", &self.folder, &error))?;
        // `mse cloud` repeats every command: one page each is enough.
        let command = cli::command(ColorChoice::Never).mut_subcommand("cloud", |cloud| {
            clap::Command::new("cloud").about(cloud.get_about().cloned().unwrap_or_default())
        });
        clap_mangen::generate_to(command, &self.folder)
            .map_err(|error| Failure::file("write the pages to", &self.folder, &error))?;
        scene.ui.report(&Written {
            folder: self.folder,
        })
    }
}

#[derive(Serialize)]
struct Written {
    folder: PathBuf,
}

impl Report for Written {
    fn text(&self) -> String {
        format!("The manual pages are in {}", self.folder.display())
    }
}
