//! `mse session encrypt`

use std::path::{Path, PathBuf};

use clap::Args;
use mse_crypto::hpke::PublicKey;
use mse_session::{EncryptedSession, SessionHash, SignedSession};
use serde::Serialize;

use super::output::Output;
use super::source::Reading;
use super::verify::{Signer, signers_text};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::printable;
use crate::private_file;
use crate::text_input::{shown_path, wrong_usage};
use crate::ui::{Report, good, pairs};

/// A key in hex, and some white space.
const MAX_KEY_BYTES: u64 = 4096;

/// Encrypt a session so that only one CAS can read it
///
/// Take the key from a CAS that you have attested: whoever has its private half reads the session.
/// Who encrypted it is not proven; sign it before. A new session has to say whose it is, by `creator`:
/// whoever carries it to the CAS does not become its owner.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session encrypt session.signed --to cas.key --output session.sealed
  mse session encrypt session.yml --to 8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")]
pub(super) struct Encrypt {
    /// The session, plain or signed; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The X25519 key of the CAS: 64 hex digits, or a file that has them
    #[arg(long, value_name = "HEX|FILE")]
    to: PathBuf,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    reading: Reading,
}

impl Encrypt {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let cas = cas_key(&self.to)?;
        let loaded = self.reading.rules()?.load(&self.file)?;
        let session = loaded.session;
        if session.creator.is_none() && session.predecessor.is_none() {
            scene.ui.warn(
                "the session names no `creator`: no CAS takes it as a new one; write `creator: {key: …}` (`mse cas whoami` prints yours), or `creator: {signer: …}` and sign it",
            );
        }
        let signed = loaded
            .signed
            .unwrap_or_else(|| SignedSession::new(&session));
        let encrypted = EncryptedSession::seal(&cas, &signed).map_err(|error| {
            Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "the session cannot be encrypted to `{}`: {error}",
                    hex::encode(cas.0)
                ),
            )
            .with_hint("take the key that the CAS itself gives")
        })?;
        self.output.write(&encrypted.to_json(), None)?;
        match self.output.file() {
            None => Ok(()),
            Some(file) => scene.ui.report(&Encrypted {
                file: file.to_owned(),
                name: session.name.to_string(),
                hash: session.hash(),
                cas_key: hex::encode(cas.0),
                signers: loaded.signers.iter().map(Signer::of).collect(),
            }),
        }
    }
}

fn cas_key(to: &Path) -> Result<PublicKey, Failure> {
    if let Some(key) = to.to_str().and_then(key_of_hex) {
        return Ok(key);
    }
    let text = private_file::read(to, MAX_KEY_BYTES)?.ok_or_else(|| {
        wrong_usage(
            format!(
                "`--to`: `{}` is neither a key nor a file",
                printable(&to.display().to_string())
            ),
            "the X25519 key of a CAS has 64 hex digits",
        )
    })?;
    key_of_hex(text.trim()).ok_or_else(|| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`--to`: `{}` has no key", shown_path(to)),
        )
        .with_hint("the X25519 key of a CAS has 64 hex digits, and nothing else is in the file")
    })
}

fn key_of_hex(text: &str) -> Option<PublicKey> {
    let bytes = hex::decode(text).ok()?;
    Some(PublicKey(bytes.try_into().ok()?))
}

#[derive(Serialize)]
struct Encrypted {
    file: PathBuf,
    name: String,
    hash: SessionHash,
    cas_key: String,
    signers: Vec<Signer>,
}

impl Report for Encrypted {
    fn text(&self) -> String {
        let mut text = format!(
            "{} {}\n{}",
            good("The encrypted session has been saved at:"),
            shown_path(&self.file),
            pairs(&[
                ("Session", self.name.clone()),
                ("Hash", self.hash.to_string()),
                ("For the CAS", self.cas_key.clone()),
            ])
        );
        if !self.signers.is_empty() {
            text.push('\n');
            text.push_str(&signers_text(&self.signers));
        }
        text
    }
}
