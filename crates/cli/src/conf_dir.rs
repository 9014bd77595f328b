//! Where `mse` keeps what it must remember, and what it can make again.

use std::env;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::private_file;

/// The folder for configuration: `MSE_CONF_PATH`, or `~/.config/mse` (`%APPDATA%\mse` on
/// Windows), where the tools before this one had it.
#[derive(Debug, Clone)]
pub(crate) struct ConfDir(PathBuf);

impl ConfDir {
    /// Finds the folder; nothing is created yet.
    pub(crate) fn find() -> Result<Self, Failure> {
        if let Some(path) = env::var_os("MSE_CONF_PATH").filter(|path| !path.is_empty()) {
            return Ok(Self(path.into()));
        }
        default_conf_dir().map(Self)
    }

    /// The file with the login.
    pub(crate) fn login_file(&self) -> PathBuf {
        self.0.join("login.toml")
    }

    /// The folder with a folder per deployment.
    pub(crate) fn contexts(&self) -> PathBuf {
        self.0.join("context")
    }

    /// The folder with the trust anchors.
    pub(crate) fn trust(&self) -> PathBuf {
        self.0.join("trust")
    }

    /// The folder of this machine's simulated platform, which runs services.
    pub(crate) fn simulated_platform(&self) -> PathBuf {
        self.0.join("simulated-platform")
    }

    /// The folder with a file for each CAS that was attested.
    pub(crate) fn cas_pins(&self) -> PathBuf {
        self.0.join("cas")
    }

    /// The file with the key that CASes know the user by.
    pub(crate) fn cas_client(&self) -> PathBuf {
        self.0.join("cas-client.pem")
    }

    /// The file with the key that signs images.
    pub(crate) fn image_signing_key(&self) -> PathBuf {
        self.0.join("image-signing.pem")
    }

    /// Makes sure that the folder exists.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        if self.0.is_dir() {
            return Ok(());
        }
        private_file::create_dir(&self.0)
    }

    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl AsRef<Path> for ConfDir {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// The folder for what can be made again: `MSE_CACHE_PATH`, or `$XDG_CACHE_HOME/mse`.
pub(crate) fn cache_dir() -> Result<PathBuf, Failure> {
    if let Some(path) = env::var_os("MSE_CACHE_PATH").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    use etcetera::BaseStrategy;
    etcetera::choose_base_strategy()
        .map(|strategy| strategy.cache_dir().join("mse"))
        .map_err(|_| no_home("MSE_CACHE_PATH"))
}

#[cfg(not(windows))]
fn default_conf_dir() -> Result<PathBuf, Failure> {
    etcetera::home_dir()
        .map(|home| home.join(".config").join("mse"))
        .map_err(|_| no_home("MSE_CONF_PATH"))
}

#[cfg(windows)]
fn default_conf_dir() -> Result<PathBuf, Failure> {
    env::var_os("APPDATA")
        .map(|data| PathBuf::from(data).join("mse"))
        .ok_or_else(|| no_home("MSE_CONF_PATH"))
}

fn no_home(variable: &str) -> Failure {
    Failure::other("your home folder cannot be found").with_hint(format!(
        "name a folder with the environment variable `{variable}`"
    ))
}
