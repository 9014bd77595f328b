//! `mse session verify`

use std::path::PathBuf;

use clap::Args;
use mse_crypto::signing::VerifyingKey;
use mse_session::SessionHash;
use serde::Serialize;

use super::keygen::algorithm_name;
use super::source::{Strictness, load_signed};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::Findings;
use crate::text_input::shown_path;
use crate::ui::{Report, good, heading, pairs};

/// Verify all signatures of a signed session, and list who signed
///
/// Says which keys signed, not whose they are: compare them with those that you know. Ends with 1
/// if one signature does not hold, or there is none.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session verify session.signed
  mse session verify session.signed --json")]
pub(super) struct Verify {
    /// The signed session; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    strictness: Strictness,
}

impl Verify {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let loaded = load_signed(&self.file, &self.strictness)?;
        if loaded.signers.is_empty() {
            return Err(Failure::new(
                Exit::Refused,
                format!("nobody has signed `{}`", shown_path(&self.file)),
            )
            .with_hint("`mse session sign` adds a signature"));
        }
        for warning in Findings::of(loaded.warnings).warnings {
            scene.ui.warn(warning.line());
        }
        scene.ui.report(&Verified {
            name: loaded.session.name.to_string(),
            hash: loaded.session.hash(),
            signers: loaded.signers.iter().map(Signer::of).collect(),
        })
    }
}

#[derive(Serialize)]
struct Verified {
    name: String,
    hash: SessionHash,
    signers: Vec<Signer>,
}

impl Report for Verified {
    fn text(&self) -> String {
        format!(
            "{}\n{}\n{}",
            good("Every signature holds"),
            pairs(&[
                ("Session", self.name.clone()),
                ("Hash", self.hash.to_string())
            ]),
            signers_text(&self.signers)
        )
    }
}

/// A key that signed.
#[derive(Serialize)]
pub(super) struct Signer {
    algorithm: &'static str,
    /// PEM.
    public_key: String,
}

impl Signer {
    pub(super) fn of(key: &VerifyingKey) -> Self {
        Self {
            algorithm: algorithm_name(key.algorithm()),
            public_key: key.to_pem(),
        }
    }

    /// The body of the PEM on one line: what people compare.
    pub(super) fn body(&self) -> String {
        self.public_key
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect()
    }
}

/// Signers, for people.
pub(super) fn signers_text(signers: &[Signer]) -> String {
    let rows: Vec<_> = signers
        .iter()
        .map(|signer| (signer.algorithm, signer.body()))
        .collect();
    format!("{}\n{}", heading("Signed by"), pairs(&rows))
}
