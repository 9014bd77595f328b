//! `mse collateral bundle`

use std::path::PathBuf;

use clap::Args;
use mse_collateral::{CollateralBundle, CollateralFile, Platform};
use serde::Serialize;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::ui::{Report, counted};
use crate::verification::read_collateral_file;

/// Put collateral of several platforms into one file, for verification without a network
///
/// Takes files of `mse collateral fetch`, of `mse verify --save-collateral`, other bundles, and
/// `QuoteCollateralV3` files of other verifiers. Of two sets for one platform the newer is kept.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse collateral bundle sgx.json tdx.json snp.json -o bundle.json
  mse collateral bundle bundle.json newer.json -o bundle.json
  mse verify app.example.com --collateral bundle.json")]
pub(crate) struct Bundle {
    /// The files to put together
    #[arg(value_name = "FILES", required = true)]
    files: Vec<PathBuf>,
    /// Write the bundle to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Bundle {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut bundle = CollateralBundle::default();
        for file in &self.files {
            bundle = match read_collateral_file(file)? {
                CollateralFile::One(collateral) => bundle.with(None, *collateral),
                CollateralFile::Several(other) => bundle.merged(other),
            }
            .map_err(|error| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!("`{}`: {error}", file.display()),
                )
            })?;
        }
        private_file::write(&self.output, bundle.to_json().as_bytes())?;
        let platforms = bundle
            .entries()
            .iter()
            .map(|entry| entry.platform.clone())
            .collect();
        scene.ui.report(&Bundled {
            file: self.output,
            platforms,
        })
    }
}

#[derive(Serialize)]
struct Bundled {
    file: PathBuf,
    platforms: Vec<Platform>,
}

impl Report for Bundled {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self
            .platforms
            .iter()
            .map(|platform| format!("  {platform}"))
            .collect();
        lines.push(format!(
            "Collateral for {} has been saved at: {}",
            counted(self.platforms.len(), "platform", "platforms"),
            self.file.display()
        ));
        lines.join("\n")
    }
}
