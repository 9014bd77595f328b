//! The people of a CAS: who approves upgrades, and who can recover it.

use std::path::{Path, PathBuf};

use clap::Args;
use mse_crypto::signing::VerifyingKey;
use mse_workload::{RecoveryPolicy, UpgradePolicy};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

use super::option;

/// They are measured: whoever attests the CAS knows them.
#[derive(Args, Clone)]
pub(super) struct People {
    /// Somebody who approves of upgrades: a file with a public key (`mse session keygen`); may be
    /// given several times. Without any, no other program ever gets the root key
    #[arg(long, value_name = "FILE", requires = "approvals")]
    approver: Vec<PathBuf>,
    /// So many approvers have to sign an upgrade
    #[arg(long, value_name = "NUMBER", requires = "approver")]
    approvals: Option<u8>,
    /// Somebody who keeps a share of the root key: a public key (`mse cas recovery keygen`); may be
    /// given several times, and the order counts. Without any, nobody can recover the CAS
    #[arg(long, value_name = "KEY", requires = "custodians_needed")]
    custodian: Vec<String>,
    /// So many custodians recover the root key: at least 2
    #[arg(long, value_name = "NUMBER", requires = "custodian")]
    custodians_needed: Option<u8>,
}

impl People {
    /// What to type to mean the same.
    pub(super) fn words(&self) -> Result<Vec<String>, Failure> {
        let mut words = option("--approver", &self.approver)?;
        for (name, number) in [
            ("--approvals", self.approvals),
            ("--custodians-needed", self.custodians_needed),
        ] {
            words.extend(
                number
                    .iter()
                    .flat_map(|number| [name.to_owned(), number.to_string()]),
            );
        }
        let custodians = self.custodian.iter();
        words.extend(custodians.flat_map(|key| ["--custodian".to_owned(), key.clone()]));
        Ok(words)
    }

    pub(super) fn upgrade(&self) -> Result<Option<UpgradePolicy>, Failure> {
        let Some(threshold) = self.approvals else {
            return Ok(None);
        };
        let approvers = self.approver.iter().map(|file| public_key(file));
        Ok(Some(UpgradePolicy {
            threshold,
            approvers: approvers.collect::<Result<_, _>>()?,
        }))
    }

    pub(super) fn recovery(&self) -> Option<RecoveryPolicy> {
        Some(RecoveryPolicy {
            threshold: self.custodians_needed?,
            custodians: self.custodian.clone(),
        })
    }
}

/// In the one form in which the workload has it.
fn public_key(file: &Path) -> Result<String, Failure> {
    let pem = private_file::read(file, 64 * 1024)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no public key `{}`", file.display()),
        )
    })?;
    let key = VerifyingKey::from_pem(&pem).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("the approver `{}`: {error}", file.display()),
        )
        .with_hint("give the public key that `mse session keygen` prints")
    })?;
    Ok(key.to_pem())
}
