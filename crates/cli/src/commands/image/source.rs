//! Where an image is.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use mse_image::{Credentials, Image, Layout, PlainHttp, Reference, Registry, RegistryOptions};
use tempfile::TempDir;

use super::{of_layout, of_registry};
use crate::exit::Exit;
use crate::failure::Failure;

/// How to reach registries.
#[derive(Args)]
pub(super) struct RegistryArguments {
    /// A file with certificates of further authorities, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Speak plain HTTP with a registry on this machine
    #[arg(long)]
    plain_http: bool,
}

impl RegistryArguments {
    /// Access to registries, as whom docker's `config.json` says.
    pub(super) fn registry(&self) -> Result<Registry, Failure> {
        let extra_authorities = self
            .ca
            .as_ref()
            .map(|path| {
                fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))
            })
            .transpose()?;
        Registry::new(RegistryOptions {
            extra_authorities,
            credentials: Credentials::of_docker(),
            plain_http: if self.plain_http {
                PlainHttp::OnLoopback
            } else {
                PlainHttp::Never
            },
        })
        .map_err(|error| of_registry(&error))
    }
}

/// A layout on disk, or an image in a registry.
#[derive(Clone)]
pub(super) enum Source {
    Layout(PathBuf),
    Registry(Reference),
}

impl Source {
    /// A folder that is there is a layout; everything else is a name.
    pub(super) fn of(text: &str) -> Result<Self, Failure> {
        if Path::new(text).join("oci-layout").is_file() {
            return Ok(Self::Layout(PathBuf::from(text)));
        }
        if Path::new(text).is_dir() {
            return Err(Failure::new(
                Exit::NotFound,
                format!("`{text}` is a folder, but no OCI image layout"),
            )
            .with_hint("Name the folder that `mse apply` wrote"));
        }
        reference(text).map(Self::Registry)
    }

    /// The image, in a layout; what is in a registry is pulled into a folder that goes with the
    /// result.
    pub(super) async fn load(&self, registry: &RegistryArguments) -> Result<Loaded, Failure> {
        match self {
            Self::Layout(path) => {
                let layout = Layout::open(path).map_err(|error| of_layout(&error))?;
                let image = layout.image(None).map_err(|error| of_layout(&error))?;
                Ok(Loaded {
                    layout,
                    image,
                    _folder: None,
                })
            }
            Self::Registry(reference) => {
                let folder = tempfile::tempdir()
                    .map_err(|error| Failure::file("write to", &std::env::temp_dir(), &error))?;
                let image = registry
                    .registry()?
                    .pull(reference, folder.path())
                    .await
                    .map_err(|error| of_registry(&error))?;
                let layout = Layout::open(folder.path()).map_err(|error| of_layout(&error))?;
                Ok(Loaded {
                    layout,
                    image,
                    _folder: Some(folder),
                })
            }
        }
    }
}

/// An image at hand.
pub(super) struct Loaded {
    pub(super) layout: Layout,
    pub(super) image: Image,
    _folder: Option<TempDir>,
}

/// The name of an image in a registry.
pub(super) fn reference(text: &str) -> Result<Reference, Failure> {
    text.parse()
        .map_err(|error: mse_image::reference::InvalidReference| {
            Failure::new(Exit::Usage, error.to_string())
        })
}
