//! Why the options cannot be used.

use std::net::SocketAddr;
use std::path::PathBuf;

use mse_runtime::kubernetes::InvalidSettings;

use super::Role;

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration `{path}` cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not as it should be. The line is not repeated: it may hold a password.
    #[error("the configuration `{path}` is not valid: line {line}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where; 1 is the first.
        line: usize,
        /// Why.
        reason: String,
    },
    /// No URL of a database. It may hold a password, so it is not repeated.
    #[error(
        "`database` is not a URL of the form `postgres://user@host:port/database`; correct it where it is given: `--database`, MSE_SERVER_DATABASE, or the file of `--config`"
    )]
    Database,
    /// A role that does not exist yet.
    #[error("the role `{0}` is not built yet; leave `--role` out: one process plays all roles")]
    Role(Role),
    /// The API would send tokens in clear over a network.
    #[error(
        "the API would listen on `{0}` without TLS, and tokens would travel in clear; give `--tls-certificate` and `--tls-key`, or listen on 127.0.0.1"
    )]
    PlainHttp(SocketAddr),
    /// One half of a pair.
    #[error("`{given}` is given without `{missing}`; give both")]
    HalfAPair {
        /// What is there.
        given: String,
        /// What is not.
        missing: String,
    },
    /// The cluster.
    #[error(transparent)]
    Kubernetes(#[from] InvalidSettings),
    /// A cluster that is not described.
    #[error("`--runtime kubernetes` needs `{missing}`; {fix}")]
    NoCluster {
        /// What is not there.
        missing: &'static str,
        /// What it should be.
        fix: &'static str,
    },
    /// A cluster that nobody asked for.
    #[error(
        "`{given}` is given, and the runtime is `process`; choose `--runtime kubernetes`, or leave it out"
    )]
    NoRuntime {
        /// What is there.
        given: &'static str,
    },
    /// No domain.
    #[error("the domain suffix `{0}` is not a domain name; use letters, digits, `-` and `.`")]
    Suffix(String),
    /// Nowhere to keep things.
    #[error("there is no home directory to keep data in; name a folder with `--data-dir`")]
    NoHome,
    /// The own program cannot be found.
    #[error(
        "the folder of this program cannot be found: {0}; name the enclave program with `--enclave`"
    )]
    NoProgram(#[source] std::io::Error),
}
