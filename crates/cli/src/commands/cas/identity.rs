//! `mse cas keygen` and `mse cas whoami`

use std::path::PathBuf;

use clap::Args;
use mse_session::KeyHash;
use serde::Serialize;

use crate::cas::ClientKey;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::ui::Report;

/// Make the key that CASes know you by
///
/// A P-256 key with a certificate that it signed itself, in the configuration folder, for you only
/// to read. Its hash is what owners and access rules are named by; a CAS asks for nothing else.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas keygen
  mse cas keygen --json")]
pub(super) struct Keygen {}

impl Keygen {
    #[allow(clippy::unused_self, reason = "every command is run like this")]
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let key = ClientKey::create(&scene.conf)?;
        scene.ui.advice(&format!(
            "the key is in `{}`: keep a copy where only you have it, since who loses it loses what it owns",
            key.file.display()
        ));
        scene.ui.report(&Shown::of(key))
    }
}

/// Show the hash of the key that CASes know you by
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas whoami
  mse cas measure --owner $(mse cas whoami)")]
pub(super) struct Whoami {}

impl Whoami {
    #[allow(clippy::unused_self, reason = "every command is run like this")]
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        scene
            .ui
            .report(&Shown::of(ClientKey::required(&scene.conf)?))
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(serialize_with = "as_text")]
    key_hash: KeyHash,
    file: PathBuf,
}

fn as_text<S: serde::Serializer>(hash: &KeyHash, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hash)
}

impl Shown {
    fn of(key: ClientKey) -> Self {
        Self {
            key_hash: key.hash,
            file: key.file,
        }
    }
}

impl Report for Shown {
    fn text(&self) -> String {
        self.key_hash.to_string()
    }
}
