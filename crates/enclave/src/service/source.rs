//! Where the program of a service comes from: a folder on the machine's base, or an image.

use mse_workload::launch::{ServiceCheck, ServiceLaunch};
use mse_workload::{Base, ServiceWorkload};

use super::configuration::ImageKey;
use super::image::{CheckedImage, ImageError};
use super::tree::{CheckedTree, TreeError};
use super::{TREE, app_uid};
use crate::sandbox::{
    InvalidPlan, PrivateFilesWriter, Sandbox, SandboxError, SandboxPath, SandboxPlan, Spawned,
};

/// A program that had the measured digest.
pub(super) enum Source {
    Tree(CheckedTree),
    Image(CheckedImage),
}

impl Source {
    /// Reads all of it. Nobody is asked for anything before.
    pub(super) async fn check(
        launch: &ServiceLaunch,
        workload: &ServiceWorkload,
    ) -> Result<Self, SourceError> {
        match &workload.base {
            Base::Machine {} => {
                let tree = CheckedTree::read(&launch.tree, workload.tree).await?;
                Ok(Self::Tree(tree))
            }
            Base::Image { sealed, unmeasured } => {
                let uid = app_uid(launch)?;
                let image =
                    CheckedImage::copy(&launch.tree, uid, workload, *sealed, unmeasured).await?;
                Ok(Self::Image(image))
            }
            _ => Err(SourceError::Base),
        }
    }

    /// Whether the program's tree has something at `place` or below, which must not be hidden. In
    /// an image that is what volumes are for: their places are often there, and empty.
    pub(super) fn has_below(&self, place: &SandboxPath) -> bool {
        match self {
            Self::Tree(tree) => {
                let below = place.as_path().strip_prefix(TREE);
                below.is_ok_and(|below| tree.has_below(below))
            }
            Self::Image(_) => false,
        }
    }

    /// Whether there is a key if one is needed.
    pub(super) fn check_key(&self, key: Option<&ImageKey>) -> Result<(), SourceError> {
        match self {
            Self::Image(image) if image.is_sealed() && key.is_none() => {
                Err(ImageError::NoKey.into())
            }
            _ => Ok(()),
        }
    }

    /// Makes the sandbox, or what it lacks.
    pub(super) async fn spawn(&mut self, plan: &SandboxPlan) -> Result<Spawned, SourceError> {
        match self {
            Self::Tree(_) => Ok(Sandbox::new().spawn(plan).await?),
            Self::Image(image) => Ok(image.spawn(plan).await?),
        }
    }

    /// Puts the program's own files into the sandbox.
    pub(super) async fn fill(
        &self,
        files: &mut PrivateFilesWriter,
        key: Option<ImageKey>,
    ) -> Result<(), SourceError> {
        match self {
            Self::Tree(tree) => Ok(tree.copy_into(files).await?),
            Self::Image(image) => Ok(image.unseal_into(files, key).await?),
        }
    }
}

/// Why the program is not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("the program's tree: {0}")]
    Tree(#[from] TreeError),
    #[error("the image: {0}")]
    Image(#[from] ImageError),
    #[error("the workload's `base.kind` is of a later version of mse-enclave")]
    Base,
    #[error(transparent)]
    Plan(#[from] InvalidPlan),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl SourceError {
    /// The check that failed.
    pub(super) fn check(&self) -> ServiceCheck {
        match self {
            Self::Base => ServiceCheck::Launch,
            Self::Plan(_) => ServiceCheck::Configuration,
            Self::Sandbox(_) | Self::Tree(TreeError::Sandbox(_)) => ServiceCheck::Machine,
            Self::Tree(_) => ServiceCheck::Tree,
            Self::Image(error) => error.check(),
        }
    }
}
