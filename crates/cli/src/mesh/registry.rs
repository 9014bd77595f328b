//! How registries are reached.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use mse_image::{Credentials, PlainHttp, Registry, RegistryOptions};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// How registries are reached. Logins are those of `docker login` and `podman login`.
#[derive(Args)]
pub(crate) struct RegistryArgs {
    /// A file with further authorities that vouch for registries (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "MSE_REGISTRY_CA",
        hide_env_values = true
    )]
    registry_ca: Option<PathBuf>,
    /// Speak plain HTTP with registries on this machine
    #[arg(long)]
    plain_http: bool,
}

impl RegistryArgs {
    /// The same, for another command line.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        if let Some(file) = &self.registry_ca {
            words.extend(["--registry-ca".into(), file.clone().into()]);
        }
        if self.plain_http {
            words.push("--plain-http".into());
        }
        words
    }

    pub(crate) fn open(&self) -> Result<Arc<Registry>, Failure> {
        let extra_authorities = match &self.registry_ca {
            Some(file) => Some(
                private_file::read(file, 1024 * 1024)?
                    .ok_or_else(|| {
                        Failure::new(
                            Exit::NotFound,
                            format!("there is no file `{}`", file.display()),
                        )
                    })?
                    .clone(),
            ),
            None => None,
        };
        let options = RegistryOptions {
            extra_authorities,
            credentials: Credentials::of_docker(),
            plain_http: if self.plain_http {
                PlainHttp::OnLoopback
            } else {
                PlainHttp::Never
            },
        };
        Registry::new(options)
            .map(Arc::new)
            .map_err(|error| Failure::other(error.to_string()))
    }
}
