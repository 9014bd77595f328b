//! Why a volume is not used, or not any more. No message shows a name or a byte of what is in it.

use std::io;

use mse_ratls::release::{RefusalCode, ReleaseRefusal};
use mse_volume::policy::Refusal;
use mse_volume::{CommitError, CreateError, OpenError, Protection, RestoreError};
use mse_workload::launch::ServiceCheck;

use crate::sandbox::SandboxError;

/// What is wrong with which volume.
#[derive(Debug, thiserror::Error)]
#[error("the volume `{name}`: {problem}")]
pub(crate) struct VolumeError {
    pub(super) name: String,
    pub(super) problem: Problem,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Stale(#[from] Refusal),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("the last changes cannot be written: {0}")]
    Commit(#[from] CommitError),
    #[error(
        "its files are `{found}`, and the session says `{wanted}`: that is fixed when a volume is made; change the session, or make another volume"
    )]
    Protection {
        found: Protection,
        wanted: Protection,
    },
    #[error("it does not fit the service's memory: give the service more")]
    TooLarge,
    #[error("it cannot be handed to the program: {0}")]
    HandOver(#[source] io::Error),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("the CAS does not record its new state: {0}")]
    Refused(ReleaseRefusal),
    #[error(
        "its new state could not be recorded for {seconds} seconds; the changes since the last recorded one may be lost: {last}"
    )]
    NotRecorded { seconds: u64, last: String },
    #[error("the work on it broke off")]
    BrokeOff,
}

impl Problem {
    pub(super) fn of_restore(error: RestoreError) -> Self {
        match error {
            RestoreError::Target(error) if error.kind() == io::ErrorKind::StorageFull => {
                Self::TooLarge
            }
            error => error.into(),
        }
    }
}

impl VolumeError {
    pub(in crate::service) fn check(&self) -> ServiceCheck {
        match &self.problem {
            Problem::Stale(_) | Problem::Open(OpenError::NotHeld { .. } | OpenError::NoVolume) => {
                ServiceCheck::VolumeStale
            }
            Problem::Refused(refusal) => match refusal.code {
                RefusalCode::Revoked
                | RefusalCode::Attestation
                | RefusalCode::OneTimePassword
                | RefusalCode::AccessToken
                | RefusalCode::NoSuchService => ServiceCheck::Revocation,
                _ => ServiceCheck::VolumeRecord,
            },
            Problem::NotRecorded { .. } => ServiceCheck::VolumeRecord,
            Problem::Sandbox(_) | Problem::HandOver(_) => ServiceCheck::Machine,
            _ => ServiceCheck::Volume,
        }
    }
}
