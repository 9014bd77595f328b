//! `mse image sign`

use std::path::{Path, PathBuf};

use clap::Args;
use mse_crypto::ecdsa::P256SigningKey;
use mse_image::{BlobDigest, Reference, Registry};
use serde::Serialize;

use super::of_registry;
use super::source::{RegistryArguments, reference};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file::{self, Creation};
use crate::ui::Report;

/// A key file is never larger: 16 KiB.
const MAX_KEY: u64 = 16 * 1024;

/// Vouch for an image in a registry; `cosign verify` reads the signature as well
///
/// The key file is made if it is not there, readable by you alone; the public half lies beside it,
/// with the ending `.pub`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image sign registry.example/team/web:1 --key identity.pem
  cosign verify --key identity.pub --insecure-ignore-tlog registry.example/team/web:1")]
pub(crate) struct Sign {
    /// The name of an image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The private key, PEM (PKCS#8, ECDSA on P-256)
    #[arg(long, value_name = "FILE", default_value = "identity.pem")]
    key: PathBuf,
    #[command(flatten)]
    registry: RegistryArguments,
}

impl Sign {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let reference = reference(&self.image)?;
        let digest = sign(&self.registry.registry()?, &reference, &self.key).await?;
        scene.ui.report(&Signed {
            image: reference.with_digest(digest).to_string(),
            digest,
            key: self.key,
        })
    }
}

/// Signs with the key in the file `key`, which is made if it is not there.
pub(super) async fn sign(
    registry: &Registry,
    reference: &Reference,
    key: &Path,
) -> Result<BlobDigest, Failure> {
    let key = read_or_make(key)?;
    mse_image::sign::sign(registry, reference, &key)
        .await
        .map_err(|error| match &error {
            mse_image::sign::SignError::Registry(error) => of_registry(error),
            error => Failure::other(error.to_string()),
        })
}

fn read_or_make(path: &Path) -> Result<P256SigningKey, Failure> {
    let public = path.with_extension("pub");
    let fresh = P256SigningKey::generate();
    if !path.exists()
        && private_file::write_new(path, fresh.to_pem().as_bytes())? == Creation::Written
    {
        private_file::write(&public, fresh.public().to_pem().as_bytes())?;
        return Ok(fresh);
    }
    let text = private_file::read(path, MAX_KEY)?
        .map(mse_crypto::Zeroizing::new)
        .ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no `{}`", path.display())))?;
    P256SigningKey::from_pem(&text).map_err(|error| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}`: {error}", path.display()),
        )
    })
}

#[derive(Serialize)]
struct Signed {
    image: String,
    digest: BlobDigest,
    key: PathBuf,
}

impl Report for Signed {
    fn text(&self) -> String {
        format!("Signed with `{}`: {}", self.key.display(), self.image)
    }
}
