//! `mse session hash`

use std::path::{Path, PathBuf};

use clap::Args;
use mse_session::SessionHash;
use serde::Serialize;

use super::source::{Loaded, Reading, Rules, one_standard_input};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::text_input::{shown_path, wrong_usage};
use crate::ui::Report;

/// Print the hash of a session: what is signed, pinned by importers, and named as predecessor
///
/// It does not depend on how the text is laid out. A CAS that gets a session over TLS adds its
/// creator unless the text names one, which is another hash.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session hash session.yml
  mse session hash session.yml --predecessor old.yml
  mse session hash session.yml --json")]
pub(super) struct Hash {
    /// The session, plain or signed; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Hash it as the version that comes after this one: its hash, or its file
    #[arg(long, value_name = "HASH|FILE")]
    predecessor: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

impl Hash {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let files = std::iter::once(&self.file).chain(&self.predecessor);
        one_standard_input(files.map(PathBuf::as_path))?;
        let rules = self.reading.rules()?;
        let Loaded { mut session, .. } = rules.load(&self.file)?;
        if let Some(predecessor) = &self.predecessor {
            let predecessor = hash_of(predecessor, &rules)?;
            match session.predecessor {
                Some(named) if named != predecessor => {
                    return Err(Failure::new(
                        Exit::InvalidConfiguration,
                        format!(
                            "`predecessor` in `{}` is {named}, and `--predecessor` is {predecessor}",
                            shown_path(&self.file)
                        ),
                    )
                    .with_hint("correct the one that is wrong"));
                }
                _ => session.predecessor = Some(predecessor),
            }
        }
        scene.ui.report(&Hashed {
            name: session.name.to_string(),
            hash: session.hash(),
            salted: session.salt.is_some(),
        })
    }
}

fn hash_of(predecessor: &Path, rules: &Rules) -> Result<SessionHash, Failure> {
    if let Some(hash) = predecessor.to_str().and_then(|text| text.parse().ok()) {
        return Ok(hash);
    }
    match rules.load(predecessor) {
        Ok(loaded) => Ok(loaded.session.hash()),
        Err(failure) if failure.exit() == Exit::NotFound => Err(wrong_usage(
            format!(
                "`--predecessor`: `{}` is neither a hash nor a file",
                shown_path(predecessor)
            ),
            "a hash has 64 hex digits: `mse session hash` prints it",
        )),
        Err(failure) => Err(failure),
    }
}

#[derive(Serialize)]
struct Hashed {
    name: String,
    hash: SessionHash,
    salted: bool,
}

impl Report for Hashed {
    fn text(&self) -> String {
        self.hash.to_string()
    }
}
