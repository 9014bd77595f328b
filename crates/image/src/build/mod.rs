//! From a spec to an image, layer by layer.

mod assemble;
mod base;
mod cache;
mod commands;
mod context;
mod layers;
mod own;
mod plan;
mod requirements;
mod sealed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mse_workload::bundle::{CollectError, SealError};
use mse_workload::image::{ImageFacts, InvalidEntry};

pub(crate) use assemble::timestamp;
pub use cache::CacheError;
pub use context::ContextError;
pub use plan::InvalidSpec;

use crate::debian::{AptError, DebError};
use crate::digest::BlobDigest;
use crate::layout::LayoutError;
use crate::lock::ImageLock;
use crate::progress::{Cancel, CancelOnDrop, Progress};
use crate::registry::{Registry, RegistryError};
use crate::spec::{Base, ImageSpec};
use crate::step::{PythonError, StepError, WorkTreeError};
use crate::unpack::UnpackError;

/// Where and with what an image is built. None of it changes the image, but what a spec leaves
/// open.
#[derive(Clone)]
pub struct Site {
    /// A folder that later builds profit from.
    pub cache: PathBuf,
    /// Package sources of Debian, as apt reads them; the machine's own if there are none.
    pub sources: Option<PathBuf>,
    /// For bases in a registry.
    pub registry: Option<Arc<Registry>>,
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Built {
    /// The OCI layout with the image in it, and what is attached to it.
    pub layout: PathBuf,
    /// The digest of the image's manifest.
    pub digest: BlobDigest,
    /// What the image says about itself; a part of the platform says nothing.
    pub facts: Option<ImageFacts>,
    /// What the spec left open.
    pub lock: ImageLock,
    /// Bytes of all blobs.
    pub size: u64,
}

/// Builds the image into the layout `output`, which is replaced only once the image is complete.
///
/// Dropping the future, or `cancel`, stops the build; what it leaves in the cache is complete or
/// removed by the next build.
pub async fn build(
    spec: ImageSpec,
    site: Site,
    output: &Path,
    cancel: Cancel,
    progress: Progress,
) -> Result<Built, BuildError> {
    let _stop = CancelOnDrop(cancel.clone());
    let output = output.to_owned();
    let pulled = match &spec.base {
        Base::Reference(reference) => {
            let registry = site.registry.as_ref().ok_or(BuildError::NoRegistry)?;
            let pinned = spec.lock.as_ref().and_then(|lock| lock.base);
            let reference = match pinned {
                Some(digest) => reference.with_digest(digest),
                None => reference.clone(),
            };
            let layout = site.cache.join("bases");
            let image = registry.pull(&reference, &layout).await?;
            Some((layout, image))
        }
        _ => None,
    };
    tokio::task::spawn_blocking(move || {
        let mut build = layers::Build::new(spec, &site, cancel, progress)?;
        build.base(pulled)?;
        build.requirements()?;
        build.copy()?;
        build.compile()?;
        build.run()?;
        build.own()?;
        build.assemble(&output)
    })
    .await
    .map_err(|_| BuildError::Interrupted)?
}

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The spec contradicts itself.
    #[error(transparent)]
    Spec(#[from] InvalidSpec),
    /// The context is at fault.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The cache is at fault.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// apt is at fault.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A package of Debian is at fault.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// The base, or the result.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The registry of the base.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The base cannot be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A base in a registry, but no registry.
    #[error("the base is an image in a registry, but no access to registries was given")]
    NoRegistry,
    /// The requirements could not be installed.
    #[error("`requirements`: {0}")]
    Python(#[from] PythonError),
    /// pip needs Python.
    #[error(
        "`requirements` are installed with the image's Python, and the base has none: choose kind `python`, or install them in `run`"
    )]
    NoPython,
    /// The compiler failed.
    #[error("the Java sources in `copy` cannot be compiled: {0}")]
    Compile(#[source] StepError),
    /// A command failed.
    #[error("`run` step {number}, `{command}`: {source}")]
    Run {
        /// Its place, from 1.
        number: usize,
        /// The command.
        command: String,
        /// What happened.
        source: StepError,
    },
    /// A command needs a shell.
    #[error("`run` needs `/bin/sh`, which the base does not have")]
    NoShell,
    /// What a step left cannot be a layer.
    #[error(transparent)]
    WorkTree(#[from] WorkTreeError),
    /// A folder to be encrypted that is public already.
    #[error(
        "`dirs`: `{dir}` has `{path}` already in the base or from `requirements`, where everybody can read it: encrypt a folder that only `copy` and `run` fill"
    )]
    NotSecret {
        /// The folder.
        dir: String,
        /// What is in it.
        path: String,
    },
    /// A link in an encrypted folder.
    #[error("`dirs`: `{0}` is a link; only files can be encrypted: copy what it points to")]
    SecretLink(String),
    /// Nothing to encrypt.
    #[error("`dirs`: there is no file in {0}: `copy` or `run` must put one there")]
    NothingSecret(String),
    /// Files to be encrypted cannot be used.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// Encrypting failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No place in memory.
    #[error(
        "files to be encrypted are kept in memory only, and `/dev/shm` cannot be used: {0}; mount a tmpfs there"
    )]
    NoMemory(#[source] std::io::Error),
    /// A path that cannot be measured.
    #[error(transparent)]
    Measure(#[from] InvalidEntry),
    /// One of our own programs.
    #[error("`{at}` cannot be read: {1}; `./x programs` builds it", at = .0.display())]
    Program(PathBuf, #[source] std::io::Error),
    /// A layer could not be written.
    #[error("the layer `{0}` cannot be written: {1}")]
    Layer(String, #[source] std::io::Error),
    /// The result could not be put in its place.
    #[error("`{at}` cannot be written: {1}", at = .0.display())]
    Output(PathBuf, #[source] std::io::Error),
    /// The lock is of another machine.
    #[error("the lock is for `{locked}`, and this machine is `{machine}`: build without the lock")]
    Architecture {
        /// In the lock.
        locked: String,
        /// Here.
        machine: String,
    },
    /// The lock does not say what is needed.
    #[error("the lock names no {0}: it is of another spec; build once without it")]
    NotLocked(&'static str),
    /// The build was told to stop.
    #[error("the build was stopped")]
    Cancelled,
    /// The thread of the build is gone.
    #[error("the build ended in an unexpected way: this is a fault of the program")]
    Interrupted,
}
