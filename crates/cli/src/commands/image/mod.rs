//! `mse image`

mod copy;
mod curated;
mod inspect;
mod key;
mod platform;
mod push;
mod sign;
mod source;
mod unpack;
mod verify;

use clap::{Args, Subcommand};

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;

/// Look at, check, unpack, sign and move images of services
///
/// An image is named as in a registry, or is an OCI layout: the folder that `mse apply` writes.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image inspect target/images/web
  mse image push target/images/web registry.example/team/web:1 --sign identity.pem
  mse image verify registry.example/team/web:1 --key identity.pub
  mse image unpack registry.example/team/web:1 root
  mse image curated build redis --to registry.example/team/redis:7")]
pub(crate) struct ImageCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
    Unpack(unpack::Unpack),
    Push(push::Push),
    Copy(copy::Copy),
    Sign(sign::Sign),
    Key(key::Key),
    Curated(curated::CuratedCommand),
    Platform(platform::PlatformCommand),
}

impl ImageCommand {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match self.action {
            Action::Inspect(command) => command.run(scene).await,
            Action::Verify(command) => command.run(scene).await,
            Action::Unpack(command) => command.run(scene).await,
            Action::Push(command) => command.run(scene).await,
            Action::Copy(command) => command.run(scene).await,
            Action::Sign(command) => command.run(scene).await,
            Action::Key(command) => command.run(scene),
            Action::Curated(command) => command.run(scene).await,
            Action::Platform(command) => command.run(scene).await,
        }
    }
}

/// The failure of a registry, with an exit code that says which kind it is.
fn of_registry(error: &mse_image::registry::RegistryError) -> Failure {
    use mse_image::registry::RegistryError as Error;
    let exit = match error {
        Error::NotFound(_) => Exit::NotFound,
        Error::Unauthorized(_) => Exit::NotLoggedIn,
        Error::Content { .. } | Error::Size(_) => Exit::Refused,
        Error::Failed { .. } => Exit::Platform,
        _ => Exit::Other,
    };
    Failure::new(exit, error.to_string())
}

/// The failure of a layout or of an image in it.
fn of_layout(error: &mse_image::layout::LayoutError) -> Failure {
    use mse_image::layout::LayoutError as Error;
    let exit = match error {
        Error::NoImage { .. } => Exit::NotFound,
        Error::Content { .. } | Error::Size { .. } => Exit::Refused,
        _ => Exit::Other,
    };
    Failure::new(exit, error.to_string())
}

/// The failure of unpacking.
fn of_unpack(error: &mse_image::unpack::UnpackError) -> Failure {
    use mse_image::unpack::UnpackError as Error;
    match error {
        Error::Layout(error) => of_layout(error),
        Error::Write(..) | Error::NotEmpty(_) => Failure::other(error.to_string()),
        _ => Failure::new(Exit::Refused, error.to_string()),
    }
}
