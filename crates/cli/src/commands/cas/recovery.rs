//! `mse cas recovery`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mse_crypto::Zeroizing;
use mse_crypto::hpke::KeyPair;
use mse_crypto::random;
use mse_ratls::cas::ExpectedCas;
use mse_ratls::cas::client::{CasAddress, first_contact};
use mse_ratls::cas::recovery::{
    GivenShare, MAX_SHARE, RecoveryProgress, SHARE, SHARES, SealedShare, SealedShares,
};
use mse_workload::Measurement;
use serde::Serialize;

use super::CollateralArgs;
use crate::cas::{CasName, connect};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file::{self, Creation};
use crate::trust::TrustStore;
use crate::ui::{Report, pairs};

/// How the file of a custodian's key begins.
const KEY_FILE: &str = "mse-custodian-key-1 ";

#[derive(Subcommand)]
pub(super) enum Recovery {
    Keygen(Keygen),
    Shares(Shares),
    Give(Box<Give>),
}

impl Recovery {
    pub(super) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self {
            Self::Keygen(command) => command.run(scene),
            Self::Shares(command) => command.run(scene).await,
            Self::Give(command) => Box::pin(command.run(scene)).await,
        }
    }
}

/// Make the key of somebody who keeps a share of a CAS's root key
///
/// The private key goes to a new file that only you may read; the public key is printed, and is
/// named when the CAS is created (`mse cas run --create --custodian KEY …`).
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas recovery keygen --output custodian.key")]
pub(super) struct Keygen {
    /// The file of the private key; it is never overwritten
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Keygen {
    fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let seed = random::secret_bytes::<32>();
        let pair = KeyPair::derive(&seed);
        let text = Zeroizing::new(format!(
            "{KEY_FILE}{}\n",
            *Zeroizing::new(hex::encode(*seed))
        ));
        if private_file::write_new(&self.output, text.as_bytes())? == Creation::Exists {
            return Err(Failure::new(
                Exit::Conflict,
                format!("`{}` exists, and is not overwritten", self.output.display()),
            )
            .with_hint("name another file"));
        }
        scene.ui.advice(&format!(
            "the private key is in `{}`: keep it where only you have it, and where you find it in years",
            self.output.display()
        ));
        scene.ui.report(&Made {
            public_key: hex::encode(pair.public().0),
            file: self.output,
        })
    }
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    public_key: String,
}

impl Report for Made {
    fn text(&self) -> String {
        self.public_key.clone()
    }
}

/// Fetch the shares of a CAS's root key, each sealed to its custodian
///
/// Without a custodian's private key a share is of no use to anybody: keep copies anywhere.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas recovery shares --cas prod --output ./shares")]
pub(super) struct Shares {
    /// The CAS, by the name that it was attested under
    #[arg(long, value_name = "NAME")]
    cas: CasName,
    /// The folder for the files `1.share`, `2.share` and so on
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

impl Shares {
    async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let (mut cas, _) = connect(scene, &self.cas).await?;
        let shares: SealedShares = cas.get(SHARES).await?;
        private_file::create_dir(&self.output)?;
        for share in &shares.shares {
            let json = serde_json::to_vec(share)
                .map_err(|error| Failure::other(format!("a share cannot be written: {error}")))?;
            let name = format!("{}.share", share.index);
            private_file::write(&self.output.join(name), &json)?;
        }
        scene.ui.report(&Fetched {
            key_id: shares.key_id,
            threshold: shares.threshold,
            shares: shares.shares.len(),
            folder: self.output,
        })
    }
}

#[derive(Serialize)]
struct Fetched {
    key_id: String,
    threshold: u8,
    shares: usize,
    folder: PathBuf,
}

impl Report for Fetched {
    fn text(&self) -> String {
        pairs(&[
            ("Root key", self.key_id.clone()),
            (
                "Shares",
                format!("{}, of which {} recover it", self.shares, self.threshold),
            ),
            ("Folder", self.folder.display().to_string()),
        ])
    }
}

/// Give your share of a CAS's root key to an instance that recovers it
///
/// The instance shows first what it is: it must be the very program and workload whose measurement
/// you know from before, not from whoever runs it now. Your share is then opened, and sealed to that
/// instance as from you.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas recovery give cas.example:18765 --share 1.share --key custodian.key --measurement $HEX

Exit codes, besides those of every command: 1 it is not the CAS that is expected.")]
pub(super) struct Give {
    /// Where the instance is
    #[arg(value_name = "HOST:PORT")]
    address: CasAddress,
    /// Your share
    #[arg(long, value_name = "FILE")]
    share: PathBuf,
    /// Your private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The measurement that the CAS has always had
    #[arg(long, value_name = "HEX")]
    measurement: Measurement,
    #[command(flatten)]
    collateral: CollateralArgs,
}

impl Give {
    async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let share = sealed_share(&self.share)?;
        let key = custodian_key(&self.key)?;
        let trust = TrustStore::of(&scene.conf).policy(scene.global.simulated.as_deref())?;
        let expected = ExpectedCas {
            policy: trust.policy,
            measurement: Some(self.measurement),
            owner: None,
            cas_key: None,
        };
        let collateral = self.collateral.source(scene).await?;
        let step = scene.ui.step(format!("Asking {} for proof", self.address));
        let contact = first_contact(&self.address, None).await?;
        let (mut instance, attested) =
            Box::pin(contact.attest_recovering(&expected, &collateral.source))
                .await
                .map_err(|error| collateral.explain(error))?;
        step.done("It is the program that was expected, and waits for shares");
        if attested.description.simulated {
            scene.ui.warn(
                "SIMULATED: no hardware protects this CAS; whoever owns its machine can read every share that it is given",
            );
        }
        let waits = attested.description.recovering.as_ref();
        let (key_id, to) = waits
            .and_then(|waits| Some((waits.key_id.as_str(), waits.share_key()?)))
            .ok_or_else(|| Failure::new(Exit::Platform, "the instance takes no shares"))?;
        if key_id != share.key_id {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "the share is of root key {}, and the instance waits for those of {}",
                    share.key_id.escape_debug(),
                    key_id.escape_debug()
                ),
            )
            .with_hint("give it to an instance of its own CAS"));
        }
        let text = share.open(&key).map_err(|error| {
            Failure::new(
                Exit::InvalidConfiguration,
                format!("`{}`: {error}", self.share.display()),
            )
        })?;
        let given = GivenShare::seal(&text, &key, &to, &instance.binding())
            .map_err(|error| Failure::other(error.to_string()))?;
        let progress: RecoveryProgress = instance.post(SHARE, &given).await?;
        scene.ui.report(&Given(progress))
    }
}

fn sealed_share(file: &Path) -> Result<SealedShare, Failure> {
    let json = private_file::read(file, MAX_SHARE as u64)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no share `{}`", file.display()),
        )
        .with_hint(
            "it is in the folder `recovery` of the CAS, or where `mse cas recovery shares` put it",
        )
    })?;
    SealedShare::from_json(json.as_bytes()).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}`: {error}", file.display()),
        )
    })
}

fn custodian_key(file: &Path) -> Result<KeyPair, Failure> {
    let invalid = |what: &str| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}`: {what}", file.display()),
        )
        .with_hint("name the file that `mse cas recovery keygen` made")
    };
    let text = private_file::read(file, 1024)?.map(Zeroizing::new);
    let text = text.ok_or_else(|| invalid("there is no such key"))?;
    let mut seed = Zeroizing::new([0; 32]);
    text.strip_prefix(KEY_FILE)
        .and_then(|digits| hex::decode_to_slice(digits.trim_end(), seed.as_mut()).ok())
        .ok_or_else(|| invalid("this is no key of a custodian"))?;
    Ok(KeyPair::derive(&seed))
}

#[derive(Serialize)]
struct Given(RecoveryProgress);

impl Report for Given {
    fn text(&self) -> String {
        let Self(progress) = self;
        let given = progress.given.len();
        let now = if progress.recovered {
            "the root key is there again: the CAS goes on".to_owned()
        } else {
            let missing = usize::from(progress.threshold).saturating_sub(given);
            format!("{missing} more are needed")
        };
        let repeated = if progress.repeated {
            "This share had been given before.\n"
        } else {
            ""
        };
        format!(
            "{repeated}{given} of {} shares were given; {now}",
            progress.threshold
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_custodians_key_is_read_back_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let seed = [7; 32];
        std::fs::write(&file, format!("{KEY_FILE}{}\n", hex::encode(seed))).unwrap();
        let read = custodian_key(&file).ok().unwrap();
        assert_eq!(read.public(), KeyPair::derive(&seed).public());
        for bad in ["", "mse-custodian-key-2 00", "mse-custodian-key-1 00"] {
            std::fs::write(&file, bad).unwrap();
            assert!(custodian_key(&file).is_err(), "{bad}");
        }
    }
}
