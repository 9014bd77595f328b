//! Where the interpreter of an app comes from.

use std::error::Error;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use mse_runtime::images::{Image, SERVE_SHIM};
use mse_runtime::python::PythonEnvironment;
use mse_workload::launch;

/// Prepares the runtime of an image; tests have one that needs no network.
pub trait Environments: Send + Sync {
    /// The environment of `image`, made if it is not there yet, which may take minutes.
    fn prepare<'a>(
        &'a self,
        image: &'a Image,
    ) -> BoxFuture<'a, Result<launch::Python, Box<dyn Error + Send + Sync>>>;
}

/// The curated Python environments, made once and kept in a folder.
#[derive(Clone, Debug)]
pub struct CuratedEnvironments {
    /// The folder.
    pub cache: PathBuf,
}

impl Environments for CuratedEnvironments {
    fn prepare<'a>(
        &'a self,
        image: &'a Image,
    ) -> BoxFuture<'a, Result<launch::Python, Box<dyn Error + Send + Sync>>> {
        Box::pin(async move {
            let environment = PythonEnvironment::ensure(&self.cache, image).await?;
            Ok(launch::Python {
                interpreter: environment.python(),
                prefixes: environment.prefixes(),
                environment: environment.root().to_owned(),
                image: image.name().to_owned(),
                lock: image.lock().to_owned(),
                serve: SERVE_SHIM.to_owned(),
            })
        })
    }
}
