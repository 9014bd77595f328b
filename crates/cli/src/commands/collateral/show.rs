//! `mse collateral show`

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use mse_attest::Collateral;
use mse_collateral::facts::platform_of;
use mse_collateral::{CollateralFile, Facts, Platform};
use serde::Serialize;

use super::{documents, state};
use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::{Report, heading};
use crate::verification::read_collateral_file;

/// Show what a file with collateral says: platforms, dates, TCB evaluation numbers
///
/// Nothing is verified here: these are the documents' own words.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse collateral show collateral.json
  mse collateral show bundle.json --json")]
pub(crate) struct Show {
    /// A bundle, or collateral of one platform
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Show {
    pub(crate) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let now = Timestamp::now();
        let entries = match read_collateral_file(&self.file)? {
            CollateralFile::One(collateral) => {
                vec![Shown::of(platform_of(&collateral), &collateral, now)]
            }
            CollateralFile::Several(bundle) => bundle
                .entries()
                .iter()
                .map(|entry| Shown::of(Some(entry.platform.clone()), &entry.collateral, now))
                .collect(),
        };
        scene.ui.report(&Contents { now, entries })
    }
}

#[derive(Serialize)]
struct Contents {
    #[serde(skip)]
    now: Timestamp,
    entries: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    platform: Option<Platform>,
    documents: Vec<Document>,
}

#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    facts: Facts,
    state: &'static str,
}

impl Shown {
    fn of(platform: Option<Platform>, collateral: &Collateral, now: Timestamp) -> Self {
        let documents = Facts::of(collateral)
            .into_iter()
            .map(|facts| Document {
                state: state(&facts, now),
                facts,
            })
            .collect();
        Self {
            platform,
            documents,
        }
    }
}

impl Report for Contents {
    fn text(&self) -> String {
        if self.entries.is_empty() {
            return "The bundle is empty".to_owned();
        }
        let parts: Vec<String> = self
            .entries
            .iter()
            .map(|entry| {
                let platform = entry.platform.as_ref().map_or_else(
                    || "a platform that the collateral does not name".to_owned(),
                    ToString::to_string,
                );
                let facts: Vec<Facts> = entry
                    .documents
                    .iter()
                    .map(|document| document.facts.clone())
                    .collect();
                format!("{}\n{}", heading(platform), documents(&facts, self.now))
            })
            .collect();
        parts.join("\n\n")
    }
}
