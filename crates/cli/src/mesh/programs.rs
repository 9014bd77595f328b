//! Our own programs that go into images.

use std::path::{Path, PathBuf};

use clap::Args;
use mse_image::Programs;

use crate::exit::Exit;
use crate::failure::Failure;

/// Where the programs are that images carry.
#[derive(Args)]
pub(crate) struct ImagePrograms {
    /// The folder with the static programs that the image carries, such as `mse-launch` [default:
    /// `image-programs` beside `mse`, or what `./x programs` made]
    #[arg(
        long,
        value_name = "DIR",
        env = "MSE_IMAGE_PROGRAMS",
        hide_env_values = true
    )]
    programs: Option<PathBuf>,
}

impl ImagePrograms {
    pub(crate) fn find(&self) -> Result<Programs, Failure> {
        let folder = self.folder_with(&["mse-launch", "mse-enclave"])?;
        Ok(Programs {
            launcher: folder.join("mse-launch"),
            enclave: folder.join("mse-enclave"),
        })
    }

    /// The folder that holds all programs of these names.
    pub(crate) fn folder_with(&self, names: &[&str]) -> Result<PathBuf, Failure> {
        let lacks = |folder: &Path| {
            let mut names = names.iter();
            names.find(|name| !folder.join(name).is_file()).copied()
        };
        if let Some(folder) = &self.programs {
            return match lacks(folder) {
                None => Ok(folder.clone()),
                Some(name) => Err(Failure::new(
                    Exit::NotFound,
                    format!("`{}` does not hold `{name}`", folder.display()),
                )
                .with_hint(format!("it must hold: {}", names.join(", ")))),
            };
        }
        let mut places = default_places()?.into_iter();
        places.find(|place| lacks(place).is_none()).ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                "the static programs that images carry are not here",
            )
            .with_hint("in a checkout, `./x programs` builds them; else name their folder with `--programs DIR`")
        })
    }
}

/// Beside this program, and where cargo puts what is built for a named target.
fn default_places() -> Result<Vec<PathBuf>, Failure> {
    let program = std::env::current_exe()
        .and_then(|program| program.canonicalize())
        .map_err(|error| Failure::other(format!("this program's own place is unknown: {error}")))?;
    let own = program.parent().unwrap_or(Path::new("/"));
    let mut places = vec![own.join("image-programs")];
    if let (Some(target), Some(profile)) = (own.parent(), own.file_name()) {
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        places.push(target.join(triple).join(profile));
    }
    Ok(places)
}
