//! `mse session keygen`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mse_crypto::signing::{Algorithm, SigningKey};
use serde::Serialize;

use super::output::create;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::text_input::shown_path;
use crate::ui::Report;

/// Make a key that signs sessions
///
/// The private key (PKCS#8, PEM) goes to a new file that only you may read; the public key (PEM)
/// is printed. Access rules name the public key as a `signer`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session keygen --output alice.pem > alice.pub
  mse session keygen --output board.pem --algorithm p384")]
pub(super) struct Keygen {
    /// The file of the private key; it is never overwritten
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The algorithm of its signatures
    #[arg(long, value_name = "NAME", value_enum, default_value = "ed25519")]
    algorithm: Choice,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    /// RFC 8032
    Ed25519,
    /// ECDSA on P-384 with SHA-384
    P384,
}

impl Keygen {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let key = SigningKey::generate(match self.algorithm {
            Choice::Ed25519 => Algorithm::Ed25519,
            Choice::P384 => Algorithm::P384,
        });
        create(&self.output, key.to_pem().as_bytes())?;
        let public = key.public();
        scene.ui.advice(&format!(
            "the private key is in `{}`: keep it where only you have it",
            shown_path(&self.output)
        ));
        scene.ui.report(&Made {
            algorithm: algorithm_name(public.algorithm()),
            public_key: public.to_pem(),
            file: self.output,
        })
    }
}

/// The name of an algorithm in results.
pub(super) fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ed25519 => "ed25519",
        Algorithm::P384 => "p384",
    }
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    algorithm: &'static str,
    public_key: String,
}

impl Report for Made {
    fn text(&self) -> String {
        self.public_key.trim_end().to_owned()
    }
}
