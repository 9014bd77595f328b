//! Which TEE there is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mse_runtime::process::Quoting;
use mse_simtee::Platform;
use mse_tee::attester::{Choice, ChoiceError, Machine, Wish};

use crate::environment::Tee;

/// What gives the enclave its evidence.
pub(crate) struct Evidence {
    /// As `mse-enclave` knows it.
    pub(crate) attester: &'static str,
    /// The launcher's part of it.
    pub(crate) quoting: Quoting,
}

impl Evidence {
    /// What `tee` names, or the machine has. Nothing is simulated unless it is said: whoever
    /// expects a TEE must not get less.
    pub(crate) async fn find(tee: Option<Tee>, platform: &Path) -> Result<Self, TeeError> {
        let kind = match tee {
            Some(Tee::Simulated) => return Self::simulated(platform),
            Some(Tee::Gramine) => Choice::Gramine,
            Some(Tee::Tsm) => Choice::Tsm,
            None => Choice::Auto,
        };
        let wish = Wish {
            kind,
            privilege_level: None,
        };
        let attester = Machine::at(Path::new("/")).attester(wish, None).await?;
        Ok(Self {
            attester: attester.name(),
            quoting: Quoting::None,
        })
    }

    fn simulated(folder: &Path) -> Result<Self, TeeError> {
        eprintln!(
            "warning: SIMULATED: no hardware protects this service; whoever owns this machine can read everything it is told"
        );
        let platform = Platform::open(folder).map_err(|error| TeeError::Platform {
            folder: folder.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            attester: "simulated",
            quoting: Quoting::Simulated(Arc::new(platform)),
        })
    }
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TeeError {
    #[error(
        "`MSE_TEE` is `simulated`, and there is no simulated platform at `{folder}`: {reason}; mount its folder there"
    )]
    Platform { folder: PathBuf, reason: String },
    #[error(
        "{0}; `MSE_TEE=simulated` simulates one, which protects nothing from the machine's owner"
    )]
    NoTee(#[from] ChoiceError),
}
