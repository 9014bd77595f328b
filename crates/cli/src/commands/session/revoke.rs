//! `mse session revoke`

use std::path::PathBuf;

use clap::Args;
use mse_api::cas::{
    Done, REVOCATION_DOMAIN, Revocation, RevocationSignature, SESSION_REVOKE, SessionState,
};
use mse_crypto::signing::SigningKey;
use mse_session::SessionHash;
use serde::Serialize;

use super::sign::read_key;
use crate::cas::CasChoice;
use crate::cli::Scene;
use crate::failure::Failure;
use crate::findings::printable;
use crate::ui::{Report, bad};

/// End a session for good: no service gets anything for it any more
///
/// Running services are told when they ask next. It cannot be undone, and the name stays taken.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse session revoke team/shop --hash $(cat session.hash)
  mse session revoke team/shop --hash $(cat session.hash) --key alice.pem --key bob.pem
  mse session revoke team/shop --hash $(cat session.hash) --yes --json")]
pub(super) struct Revoke {
    /// The session
    #[arg(value_name = "NAME")]
    name: String,
    /// The version that you mean: the current one
    #[arg(long, value_name = "HEX")]
    hash: SessionHash,
    /// A private key (PKCS#8, PEM) that the session knows a signer by; may be given several times
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    cas: CasChoice,
}

impl Revoke {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let keys: Vec<SigningKey> = self
            .key
            .iter()
            .map(|file| read_key(file))
            .collect::<Result<_, _>>()?;
        let mut cas = self.cas.open(scene).await?;
        let question = format!(
            "Revoke `{}` at `{}`, for good?",
            printable(&self.name),
            cas.name
        );
        scene.ui.agreed(self.yes, &question).await?;
        let revocation = Revocation {
            name: self.name,
            hash: self.hash.to_string(),
            signatures: keys
                .iter()
                .map(|key| RevocationSignature {
                    signer: key.public().to_pem(),
                    signature: hex::encode(key.sign(REVOCATION_DOMAIN, &self.hash.0)),
                })
                .collect(),
        };
        let Done {} = cas.post(SESSION_REVOKE, &revocation).await?;
        scene.ui.report(&Revoked {
            name: revocation.name,
            hash: revocation.hash,
            state: SessionState::Revoked,
        })
    }
}

#[derive(Serialize)]
struct Revoked {
    name: String,
    hash: String,
    state: SessionState,
}

impl Report for Revoked {
    fn text(&self) -> String {
        format!("{} {}", bad("Revoked for good:"), printable(&self.name))
    }
}
