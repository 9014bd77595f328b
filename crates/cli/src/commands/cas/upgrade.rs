//! `mse cas upgrade`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use mse_attest::MeasuredProgram;
use mse_crypto::Zeroizing;
use mse_crypto::signing::SigningKey;
use mse_ratls::cas::upgrade::{MAX_AUTHORIZATION, UpgradeAuthorization};
use mse_workload::{CasKey, Measurement};
use serde::Serialize;

use crate::cas::{CasName, CasPin, CasPins};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::ui::{Report, pairs};

#[derive(Subcommand)]
pub(super) enum Upgrade {
    Sign(Sign),
}

impl Upgrade {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self {
            Self::Sign(command) => command.run(scene),
        }
    }
}

/// Let another program have the root key of a CAS, as one of its approvers
///
/// Makes the file, or adds your signature to it. An instance of that program joins the CAS with the
/// file when enough approvers have signed (`mse cas run --join … --upgrade FILE`). A signature
/// cannot be taken back: look at the program first.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse cas upgrade sign upgrade.json --cas prod --measurement $HEX --key alice.pem
  mse cas upgrade sign upgrade.json --cas prod --measurement $HEX --key bob.pem")]
pub(super) struct Sign {
    /// The file with the signatures; made if it is not there
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The CAS, by the name that it was attested under
    #[arg(long, value_name = "NAME")]
    cas: CasName,
    /// The measurement of the new program with its workload (`mse cas measure`)
    #[arg(long, value_name = "HEX", required_unless_present = "program")]
    measurement: Option<Measurement>,
    /// The new program as a JSON file, for TEEs on which one measurement does not say it
    #[arg(long, value_name = "FILE", conflicts_with = "measurement")]
    program: Option<PathBuf>,
    /// Your private key (PKCS#8, PEM): Ed25519 or P-384
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

impl Sign {
    fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let pin = CasPins::of(&scene.conf).required(&self.cas)?;
        let program = self.program(&pin)?;
        let key = private_key(&self.key)?;
        let mut authorization = match read(&self.file)? {
            Some(found) => found,
            None => UpgradeAuthorization::new(pin.cas_key, program),
        };
        if authorization.cas_key != pin.cas_key || authorization.program != program {
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "`{}` is about another CAS or another program than the one that you name",
                    self.file.display()
                ),
            )
            .with_hint("compare the measurements with those who signed it, or name another file"));
        }
        authorization.sign(&key);
        let json = serde_json::to_vec_pretty(&authorization)
            .map_err(|error| Failure::other(format!("the file cannot be written: {error}")))?;
        private_file::write(&self.file, &json)?;
        scene.ui.report(&Signed {
            cas_key: pin.cas_key,
            program,
            signatures: authorization.signatures.len(),
            file: self.file,
        })
    }

    fn program(&self, pin: &CasPin) -> Result<MeasuredProgram, Failure> {
        if let Some(file) = &self.program {
            let json = private_file::read(file, MAX_AUTHORIZATION as u64)?.unwrap_or_default();
            return serde_json::from_str(&json).map_err(|error| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!("`{}` names no program: {error}", file.display()),
                )
            });
        }
        let mrenclave = self.measurement.map(|one| one.0.0).unwrap_or_default();
        match pin.tee.as_str() {
            "simulated" => Ok(MeasuredProgram::Simulated { mrenclave }),
            "sgx" => Ok(MeasuredProgram::Sgx { mrenclave }),
            other => Err(Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "on the TEE `{other}` a measurement alone does not say which program it is"
                ),
            )
            .with_hint("name all of it in a JSON file: `--program FILE`")),
        }
    }
}

fn read(file: &Path) -> Result<Option<UpgradeAuthorization>, Failure> {
    let Some(json) = private_file::read(file, MAX_AUTHORIZATION as u64)? else {
        return Ok(None);
    };
    UpgradeAuthorization::from_json(json.as_bytes())
        .map(Some)
        .map_err(|error| {
            Failure::new(
                Exit::InvalidConfiguration,
                format!("`{}`: {error}", file.display()),
            )
        })
}

fn private_key(file: &Path) -> Result<SigningKey, Failure> {
    let pem = private_file::read(file, 64 * 1024)?.map(Zeroizing::new);
    let pem = pem.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no private key `{}`", file.display()),
        )
        .with_hint("`mse session keygen` makes one")
    })?;
    SigningKey::from_pem(&pem).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}`: {error}", file.display()),
        )
    })
}

#[derive(Serialize)]
struct Signed {
    file: PathBuf,
    cas_key: CasKey,
    program: MeasuredProgram,
    signatures: usize,
}

impl Report for Signed {
    fn text(&self) -> String {
        pairs(&[
            ("CAS key", self.cas_key.to_string()),
            ("TEE", self.program.tee().as_str().to_owned()),
            ("Measurement", hex::encode(self.program.measurement())),
            ("Signatures", self.signatures.to_string()),
            ("File", self.file.display().to_string()),
        ])
    }
}
