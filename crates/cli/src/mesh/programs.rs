//! Our own programs that go into images.

use std::path::{Path, PathBuf};

use clap::Args;
use mse_image::Programs;

use crate::exit::Exit;
use crate::failure::Failure;

/// Where the programs are that images carry.
#[derive(Args)]
pub(crate) struct ImagePrograms {
    /// The folder with the static `mse-launch` and `mse-enclave` that the image carries [default:
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
        if let Some(folder) = &self.programs {
            return programs_in(folder).ok_or_else(|| {
                Failure::new(
                    Exit::NotFound,
                    format!(
                        "`{}` does not hold both `mse-launch` and `mse-enclave`",
                        folder.display()
                    ),
                )
            });
        }
        let places = default_places()?;
        places
            .iter()
            .find_map(|place| programs_in(place))
            .ok_or_else(|| {
                Failure::new(
                    Exit::NotFound,
                    "the static programs that images carry are not here",
                )
                .with_hint("in a checkout, `./x programs` builds them; else name their folder with `--programs DIR`")
            })
    }
}

fn programs_in(folder: &Path) -> Option<Programs> {
    let programs = Programs {
        launcher: folder.join("mse-launch"),
        enclave: folder.join("mse-enclave"),
    };
    (programs.launcher.is_file() && programs.enclave.is_file()).then_some(programs)
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
