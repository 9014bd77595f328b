//! `mse mesh ps`

use clap::Args;

use super::Which;
use super::up::Shown;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::run::Standing;

/// Show how the services of a mesh are
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse mesh ps
  mse mesh ps --json")]
pub(super) struct Ps {
    #[command(flatten)]
    which: Which,
}

impl Ps {
    pub(super) fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let folder = self.which.folder()?;
        let Some(mut state) = folder.state()? else {
            return Err(Failure::new(
                Exit::NotFound,
                format!("no mesh of `{}` has run yet", self.which.target.display()),
            )
            .with_hint("`mse mesh up` runs it"));
        };
        if !folder.is_running() {
            for service in &mut state.services {
                if !matches!(service.standing, Standing::Done | Standing::Failed) {
                    service.standing = Standing::Stopped;
                }
                service.pid = None;
            }
        }
        scene.ui.report(&Shown(state))
    }
}
