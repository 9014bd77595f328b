//! `mse image verify`

use std::fs;
use std::path::PathBuf;

use clap::Args;
use mse_crypto::Digest;
use mse_crypto::ecdsa::P256VerifyingKey;
use mse_image::tree::{FileSystem, Node, root_digest};
use mse_image::{BlobDigest, file_system};
use mse_workload::image::{ENCLAVE, SEALED};
use serde::Serialize;

use super::inspect::facts_of;
use super::source::{RegistryArguments, Source};
use super::{of_registry, of_unpack};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::Report;

/// Check that an image is what it says: every byte of it, and who signed it
///
/// All digests are recomputed: of the layers, of the root file system, of the enclave program and
/// of the encrypted part. With `--key`, somebody must have vouched for it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse image verify target/images/web
  mse image verify registry.example/team/web:1 --key identity.pub")]
pub(crate) struct Verify {
    /// An OCI layout, or the name of an image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The public key of who must have signed it, PEM; for images in a registry
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArguments,
}

impl Verify {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let mut source = Source::of(&self.image)?;
        let mut signed_as = None;
        if let Some(path) = &self.key {
            let Source::Registry(reference) = &source else {
                return Err(Failure::new(
                    Exit::Usage,
                    "signatures are kept in registries: name the image there, or leave out `--key`",
                ));
            };
            let text =
                fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
            let key = P256VerifyingKey::from_pem(&text).map_err(|error| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!("`{}`: {error}", path.display()),
                )
            })?;
            let verified = mse_image::sign::verify(&self.registry.registry()?, reference, &key)
                .await
                .map_err(|error| match &error {
                    mse_image::sign::SignError::Registry(error) => of_registry(error),
                    error => Failure::new(Exit::Refused, error.to_string()),
                })?;
            signed_as = Some(verified.signed_as);
            // What was vouched for is what is looked at.
            source = Source::Registry(reference.with_digest(verified.digest));
        }
        let loaded = source.load(&self.registry).await?;
        let facts = facts_of(&loaded.layout, &loaded.image, &self.image)?;
        let system =
            file_system(&loaded.layout, &loaded.image).map_err(|error| of_unpack(&error))?;
        let root = root_digest(&system, &facts.unmeasured)
            .map_err(|error| Failure::new(Exit::Refused, error.to_string()))?;
        same("root file system", Some(root), facts.root)?;
        same("enclave", file(&system, ENCLAVE), facts.enclave.0)?;
        if let Some(part) = &facts.sealed {
            let bundle = mse_image::unpack::sealed_digest(&loaded.layout, &loaded.image)
                .map_err(|error| of_unpack(&error))?;
            same("encrypted part", bundle, part.bundle)?;
        } else if file(&system, SEALED).is_some() {
            return Err(Failure::new(
                Exit::Refused,
                format!("the image has `{SEALED}`, but says that nothing in it is encrypted"),
            ));
        }
        scene.ui.report(&Checked {
            digest: loaded.image.digest,
            root,
            enclave: facts.enclave.0,
            signed_as,
        })
    }
}

fn file(system: &FileSystem, path: &str) -> Option<Digest> {
    match system.get(path) {
        Some(Node::File(file)) => Some(file.digest),
        _ => None,
    }
}

fn same(what: &str, found: Option<Digest>, said: Digest) -> Result<(), Failure> {
    if found == Some(said) {
        return Ok(());
    }
    let found = found.map_or_else(|| "missing".to_owned(), |digest| digest.to_string());
    Err(Failure::new(
        Exit::Refused,
        format!("the image says that its {what} is {said}, but it is {found}"),
    ))
}

#[derive(Serialize)]
struct Checked {
    digest: BlobDigest,
    root: Digest,
    enclave: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_as: Option<String>,
}

impl Report for Checked {
    fn text(&self) -> String {
        let signed = match &self.signed_as {
            Some(name) => format!("as {name}"),
            None => "not asked (give `--key`)".to_owned(),
        };
        format!(
            "The image is what it says.\n  Image:   {}\n  Root:    {}\n  Enclave: {}\n  Signed:  {signed}",
            self.digest, self.root, self.enclave
        )
    }
}
