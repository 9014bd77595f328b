//! The engine: where it listens, and what it is.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use bollard::{API_DEFAULT_VERSION, Docker};

use super::ContainerRuntime;

/// An answer of the engine is waited for this long, in seconds: pulling and stopping take a while.
const PATIENCE: u64 = 300;

/// Names the engine, as for the tools of Docker and Podman.
const DOCKER_HOST: &str = "DOCKER_HOST";

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineAddress {
    /// A UNIX socket.
    Socket(PathBuf),
    /// Plain HTTP: whoever reaches it is root there, so it is for loopback.
    Http(String),
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "unix://{}", path.display()),
            Self::Http(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl EngineAddress {
    /// Of this user's engine: what `DOCKER_HOST` names; else the first socket that is there of
    /// Podman's for this user, Podman's for root, and Docker's.
    pub fn find() -> Result<Self, EngineError> {
        if let Some(host) = env::var_os(DOCKER_HOST).filter(|host| !host.is_empty()) {
            return Self::read(&host.to_string_lossy());
        }
        let user = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let sockets = user
            .map(|folder| folder.join("podman/podman.sock"))
            .into_iter()
            .chain(["/run/podman/podman.sock", "/var/run/docker.sock"].map(PathBuf::from));
        let looked: Vec<PathBuf> = sockets.collect();
        match looked.iter().find(|socket| socket.exists()) {
            Some(socket) => Ok(Self::Socket(socket.clone())),
            None => Err(EngineError::Nowhere(Looked(looked))),
        }
    }

    /// Reads an address as `DOCKER_HOST` has it.
    pub fn read(text: &str) -> Result<Self, EngineError> {
        match text.split_once("://") {
            Some(("unix", path)) if Path::new(path).is_absolute() => Ok(Self::Socket(path.into())),
            Some(("tcp" | "http", address)) if !address.is_empty() => {
                Ok(Self::Http(address.to_owned()))
            }
            _ => Err(EngineError::Address(text.chars().take(200).collect())),
        }
    }
}

/// Which engine it is. They differ in how a container gets a `/proc` that is not masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// Docker, or something like it.
    Docker,
    /// Podman.
    Podman,
}

impl ContainerRuntime {
    /// The engine at `address`, which must answer.
    pub async fn connect(address: &EngineAddress) -> Result<Self, EngineError> {
        let failed = |source| EngineError::NoAnswer {
            address: address.clone(),
            source,
        };
        let api = match address {
            EngineAddress::Socket(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), PATIENCE, API_DEFAULT_VERSION)
            }
            EngineAddress::Http(host) => {
                Docker::connect_with_http(&format!("http://{host}"), PATIENCE, API_DEFAULT_VERSION)
            }
        };
        // An old engine does not answer to a newer version of the API.
        let api = api
            .map_err(failed)?
            .negotiate_version()
            .await
            .map_err(failed)?;
        let version = api.version().await.map_err(failed)?;
        let is_podman = version
            .components
            .unwrap_or_default()
            .iter()
            .any(|component| component.name.contains("Podman"));
        let kind = if is_podman {
            EngineKind::Podman
        } else {
            EngineKind::Docker
        };
        Ok(Self { api, kind })
    }
}

/// Paths, for people.
#[derive(Debug)]
pub struct Looked(Vec<PathBuf>);

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}`{}`", path.display())?;
        }
        Ok(())
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No socket.
    #[error(
        "no container engine was found: `DOCKER_HOST` is not set, and there is none of {0}; start one (`systemctl --user start podman.socket`, or `podman system service --time=0`), or name it by `DOCKER_HOST=unix:///PATH`"
    )]
    Nowhere(Looked),
    /// An address of another kind.
    #[error("`{0}` is no address of a container engine: write `unix:///PATH` or `tcp://HOST:PORT`")]
    Address(String),
    /// Nobody there, or something else.
    #[error("the container engine at `{address}` does not answer: {source}")]
    NoAnswer {
        /// Where.
        address: EngineAddress,
        /// Why.
        source: bollard::errors::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_engines_tools_read_them() {
        assert_eq!(
            EngineAddress::read("unix:///run/x.sock").unwrap(),
            EngineAddress::Socket("/run/x.sock".into())
        );
        let tcp = EngineAddress::read("tcp://127.0.0.1:2375").unwrap();
        assert_eq!(tcp.to_string(), "tcp://127.0.0.1:2375");
        for bad in ["", "/run/x.sock", "unix://x.sock", "ssh://host", "tcp://"] {
            let error = EngineAddress::read(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
    }
}
