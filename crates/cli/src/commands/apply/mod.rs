//! `mse apply`

pub(crate) mod compose;
mod mesh;
mod service;

use std::path::{Path, PathBuf};

use clap::Args;
use mse_workload::EnclaveDigest;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::mesh::{CasArgs, Documents, ImagePrograms, MeshDocument, RegistryArgs};
use crate::text_input::{VariableArgs, is_stdin};

/// Make what a service manifest or a Meshfile describes: a confidential image, or the policies of
/// an application
///
/// A service manifest (`kind: genservice`) becomes an OCI image, built without a container daemon,
/// kept on this machine, signed and pushed. A Meshfile (`kind: mesh`) becomes sessions at its CAS,
/// which is attested first, and the folder `target` with everything that `mse mesh up` and Helm
/// need. Applying again changes only what is different.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse apply -f service.yaml
  mse apply -f service.yaml --no-push
  mse apply -f mesh.yaml --release shop
  mse apply -f mesh.yaml --dry-run
  mse apply -f mesh.yaml -o yaml
  mse apply -f mesh.yaml --image-signer service-owner.pub
  mse apply -f signed-mesh.yaml --session-key board.pem
  mse apply -f mesh.yaml.template -e APP_NAMESPACE=shop-17 --cas here")]
pub(crate) struct Apply {
    /// The service manifest or Meshfile; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    filename: PathBuf,
    /// Say what would be done, and do nothing
    #[arg(short, long)]
    dry_run: bool,
    /// Where a Meshfile's results go
    #[arg(short, long, value_name = "DIR", default_value = "target")]
    target: PathBuf,
    #[command(flatten)]
    variables: VariableArgs,
    #[command(flatten)]
    registry: RegistryArgs,
    #[command(flatten)]
    service: ServiceArgs,
    #[command(flatten)]
    mesh: MeshArgs,
}

#[derive(Args)]
#[command(next_help_heading = "For service manifests")]
struct ServiceArgs {
    /// Keep the image on this machine
    #[arg(short, long)]
    no_push: bool,
    #[command(flatten)]
    programs: ImagePrograms,
    /// Build exactly what this file of an earlier build names, or fail
    #[arg(long, value_name = "FILE")]
    locked: Option<PathBuf>,
    /// Write down what the build resolved to, for `--locked`
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// The key of the encrypted part [default: one of this service's own, in the configuration
    /// folder]
    #[arg(long, value_name = "FILE")]
    image_key: Option<PathBuf>,
    /// The key that signs the image; made if it is not there [default: `signature.key` of the
    /// manifest, or `image-signing.pem` in the configuration folder]
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "For Meshfiles")]
pub(crate) struct MeshArgs {
    /// The name of this installation
    #[arg(long, value_name = "NAME", default_value = "mesh")]
    release: String,
    #[command(flatten)]
    cas: CasArgs,
    /// Also write the objects of the chart, for `kubectl apply`, to the folder `manifests`
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Manifests>,
    /// Use the images on this machine, and ask no registry
    #[arg(long, conflicts_with = "pull")]
    no_pull: bool,
    /// Ask the registry also for images that are on this machine, and build those of curated services
    /// again from the packages that Debian has now
    #[arg(long)]
    pull: bool,
    /// The public key (PEM) of whoever must have signed the images that come from a registry, now or
    /// before
    #[arg(long, value_name = "FILE")]
    image_signer: Option<PathBuf>,
    /// Accept images with this enclave program, by its SHA-256, besides the one that is installed
    /// here; may be given several times
    #[arg(long, value_name = "HEX")]
    accept_enclave: Vec<EnclaveDigest>,
    /// The namespace of the sessions, instead of the Meshfile's
    #[arg(long, value_name = "NAME")]
    policy_namespace: Option<mse_session::SessionName>,
    /// The key that signs the policies where `cas.mode` is `SignedManifest`; the public one is enough
    /// where nothing is signed
    #[arg(long, value_name = "FILE")]
    session_key: Option<PathBuf>,
    /// Take over sessions that another mesh made, or that were written by hand
    #[arg(long)]
    take_over: bool,
    /// The last day of dangerous tolerances for which the Meshfile gives no end
    #[arg(long, value_name = "DAY")]
    tolerate_until: Option<mse_session::Until>,
}

/// The form of Kubernetes objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Manifests {
    /// A file of YAML for each service
    Yaml,
}

impl Apply {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let documents = Documents {
            variables: &self.variables,
        };
        match documents.read(scene, &self.filename)? {
            MeshDocument::Service(manifest) => self.service(scene, *manifest).await,
            MeshDocument::Mesh(mesh) => self.mesh(scene, *mesh).await,
        }
    }

    fn context(&self) -> Result<&Path, Failure> {
        context(&self.filename)
    }
}

/// The folder that paths in a document are below.
pub(crate) fn context(document: &Path) -> Result<&Path, Failure> {
    if is_stdin(document) {
        return Ok(Path::new("."));
    }
    match document.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(Failure::new(Exit::Usage, "the file has no folder")),
    }
}
