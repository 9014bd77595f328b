//! Options: from the command line, then from a TOML file with the same keys, then the defaults.
//!
//! | module | what |
//! | --- | --- |
//! | `options` | the keys of the command line and of the file |
//! | `decide` | which of them go together, and what holds for those that are not given |
//! | `kinds`, `ports`, `domain` | values of a form of their own |
//! | `error` | why options cannot be used |

mod decide;
mod domain;
mod error;
mod kinds;
mod options;
mod ports;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mse_collateral::BaseUrl;
use mse_database::Location;
use mse_runtime::kubernetes::KubernetesSettings;
use mse_runtime::process::guard::Guard;

use crate::data_dir::DataDir;
use crate::store::HardwareRecord;

pub use domain::is_domain;
pub use error::ConfigError;
pub use kinds::{LogFormat, Role, RuntimeKind};
pub use options::{Command, CommandLine};
pub use ports::{InvalidPortRange, PortRange};

/// Everything decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// A PostgreSQL database, if the store is not in the data folder.
    pub database: Option<Location>,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// What clients are told to connect to; else the address of the gateway.
    pub public_gateway: Option<String>,
    /// Apps get names below this one.
    pub domain_suffix: String,
    /// Loopback ports for apps.
    pub app_ports: PortRange,
    /// The cluster that apps run on, if it is not this machine.
    pub kubernetes: Option<ClusterConfig>,
    /// The enclave program.
    pub enclave: PathBuf,
    /// Where the Python environments of images are kept, if not in the data folder.
    pub image_cache: Option<PathBuf>,
    /// The form of the log.
    pub log_format: LogFormat,
    /// TLS of the API.
    pub api_tls: Option<KeyFiles>,
    /// The operator's own certificate for the gateway.
    pub operator_tls: Option<KeyFiles>,
    /// More hardware for the default project.
    pub hardware: Vec<HardwareRecord>,
    /// What ties enclaves to this process.
    pub guard: Guard,
    /// How long an enclave waits for its secrets.
    pub provisioning_timeout: Duration,
    /// The largest bundle, in bytes.
    pub max_bundle: u64,
    /// Where collateral of real platforms comes from, if it is served.
    pub collateral_upstream: Option<BaseUrl>,
    /// Where to tell that everything listens.
    pub ready_file: Option<PathBuf>,
}

impl Config {
    /// What clients call the API, where it listens at the address that was chosen.
    pub fn api_url(&self) -> String {
        let scheme = if self.api_tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.listen)
    }
}

/// A cluster for apps.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// How they are run there.
    pub settings: KubernetesSettings,
    /// Where this server has their bundles.
    pub bundles: SocketAddr,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Config {
    /// Where accounts, projects and apps are.
    pub fn store(&self, data: &DataDir) -> Location {
        let file = || Location::Sqlite(data.database());
        self.database.clone().unwrap_or_else(file)
    }
}

/// The account that the embedded platform makes.
pub const OWNER_EMAIL: &str = "owner@localhost";
