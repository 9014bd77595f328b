//! The side of `mse-enclave`: a sandbox that has a root and waits for everything else.

use super::{CopiedRoot, RootPlan};
use crate::sandbox::launcher::{Begun, Sandbox, SandboxError, Spawned};
use crate::sandbox::plan::SandboxPlan;
use crate::sandbox::wire::Kind;

/// A sandbox that has a copy of an image's root file system, in which nothing runs yet. Dropping
/// it takes all of that away.
pub struct RootedSandbox {
    begun: Begun,
    copied: CopiedRoot,
}

impl Sandbox {
    /// Begins a sandbox with a copy of the root file system that `root` names.
    ///
    /// Call it within a tokio runtime.
    pub async fn with_root(&self, root: &RootPlan) -> Result<RootedSandbox, SandboxError> {
        let mut begun = self.begin().await?;
        begun.send(Kind::Root, root).await?;
        let copied = begun.progress.rooted().await?;
        Ok(RootedSandbox { begun, copied })
    }
}

impl RootedSandbox {
    /// What its root holds. Nothing of the host's can change it any more.
    pub fn copied(&self) -> &CopiedRoot {
        &self.copied
    }

    /// Makes the rest of the sandbox, which then waits for its private files. The plan's base is
    /// [`crate::sandbox::RootBase::Image`].
    pub async fn spawn(self, plan: &SandboxPlan) -> Result<Spawned, SandboxError> {
        plan.validate()?;
        self.begun.plan(plan).await
    }
}
