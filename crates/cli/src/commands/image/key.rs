//! `mse image key`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mse_crypto::{CodeKey, Digest, Zeroizing};
use serde::Serialize;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file::{self, Creation};
use crate::ui::Report;

/// A key file is never larger: 1 KiB.
const MAX_KEY: u64 = 1024;

/// Make and compare the keys that encrypt folders (`dirs`) of images
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image key new image.key
  mse image key show image.key")]
pub(crate) struct Key {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a key, in a file that only you can read
    New {
        /// The file, which must not be there yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show the check value of a key: images say with which key they were encrypted
    Show {
        /// The file of the key
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

impl Key {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let (file, key) = match self.action {
            Action::New { file } => {
                let key = CodeKey::generate();
                if private_file::write_new(&file, key.to_hex().as_bytes())? == Creation::Exists {
                    return Err(Failure::new(
                        Exit::Conflict,
                        format!("`{}` is there already, and was left alone", file.display()),
                    )
                    .with_hint(
                        "A key that is lost takes its images with it: choose another file",
                    ));
                }
                (file, key)
            }
            Action::Show { file } => {
                let text = private_file::read(&file, MAX_KEY)?
                    .map(Zeroizing::new)
                    .ok_or_else(|| {
                        Failure::new(Exit::NotFound, format!("there is no `{}`", file.display()))
                    })?;
                let key = CodeKey::from_hex(&text).map_err(|error| {
                    Failure::new(
                        Exit::InvalidConfiguration,
                        format!("`{}`: {error}", file.display()),
                    )
                })?;
                (file, key)
            }
        };
        scene.ui.report(&Shown {
            check_value: key.check_value(),
            file,
        })
    }
}

#[derive(Serialize)]
struct Shown {
    file: PathBuf,
    check_value: Digest,
}

impl Report for Shown {
    fn text(&self) -> String {
        format!(
            "The key in `{}` has the check value: {}",
            self.file.display(),
            self.check_value
        )
    }
}
