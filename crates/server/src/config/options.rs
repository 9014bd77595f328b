//! The keys of the command line and of the file.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use mse_collateral::BaseUrl;
use mse_runtime::kubernetes::KubernetesTable;
use mse_workload::launch::DatabaseUrl;
use serde::Deserialize;

use super::{Config, ConfigError, LogFormat, OWNER_EMAIL, PortRange, Role, RuntimeKind};
use crate::store::HardwareGrant;

/// The control plane of MSE: API, store, gateway and runtime in one process.
///
/// Without any option it starts a working embedded platform on loopback, whose enclaves are
/// SIMULATED: they protect nothing from who owns this machine.
#[derive(Debug, Parser)]
#[command(name = "mse-server", version)]
#[command(args_conflicts_with_subcommands = false)]
pub struct CommandLine {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// A TOML file with the keys of these options; options given here win.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    options: Options,
}

/// What else than serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a new one-time login token, valid for 24 hours.
    Token {
        /// The account it logs in.
        #[arg(default_value = OWNER_EMAIL)]
        email: String,
    },
    /// Set the password of an account; it is read from MSE_PASSWORD or the terminal.
    Password {
        /// The account.
        email: String,
    },
}

/// The keys of the command line and of the file.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Options {
    /// Which part of the platform this process is.
    #[arg(long, value_enum)]
    pub(super) role: Option<Role>,
    /// Where everything is kept [default: /var/lib/mse for root, else ~/.local/share/mse-server].
    #[arg(long, value_name = "DIR", global = true)]
    pub(super) data_dir: Option<PathBuf>,
    /// A PostgreSQL database for accounts, projects and apps in place of a file in the data folder.
    /// Only one server at a time uses it.
    #[arg(
        long,
        value_name = "URL",
        env = "MSE_SERVER_DATABASE",
        hide_env_values = true,
        global = true,
        value_parser = database_url
    )]
    pub(super) database: Option<DatabaseUrl>,
    /// Where the API listens; port 0 takes a free one [default: 127.0.0.1:7310].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<SocketAddr>,
    /// Where the gateway listens for the TLS connections of apps [default: 127.0.0.1:7343].
    #[arg(long, value_name = "ADDRESS")]
    pub(super) gateway: Option<SocketAddr>,
    /// What clients are told to connect to instead of the address of the gateway.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) public_gateway: Option<String>,
    /// Apps get names below this one [default: mse.localhost].
    #[arg(long, value_name = "DOMAIN")]
    pub(super) domain_suffix: Option<String>,
    /// Loopback ports, one per app: `FROM-TO`, or `0` for any free one [default: 20000-20999].
    #[arg(long, value_name = "RANGE")]
    pub(super) app_ports: Option<PortRange>,
    /// What app enclaves run on: `process` is this machine, `kubernetes` the cluster that the file's
    /// table `[kubernetes]` describes [default: process].
    #[arg(long, value_enum)]
    pub(super) runtime: Option<RuntimeKind>,
    /// Where pods of the cluster get their encrypted bundles, by plain HTTP: needed with
    /// `--runtime kubernetes`.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) bundles: Option<SocketAddr>,
    /// How apps are run on a cluster.
    #[arg(skip)]
    pub(super) kubernetes: Option<KubernetesTable>,
    /// The enclave program [default: mse-enclave beside this one].
    #[arg(long, value_name = "PATH")]
    pub(super) enclave: Option<PathBuf>,
    /// Where the Python environments of images are kept [default: in the data folder].
    #[arg(long, value_name = "DIR")]
    pub(super) image_cache: Option<PathBuf>,
    /// The form of this program's own log.
    #[arg(long, value_enum)]
    pub(super) log_format: Option<LogFormat>,
    /// Certificate chain of the API (PEM); needed to listen on more than loopback.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_certificate: Option<PathBuf>,
    /// Private key of the API (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub(super) tls_key: Option<PathBuf>,
    /// Certificate chain with which the gateway terminates TLS for apps deployed with
    /// `--untrusted-ssl` (PEM) [default: one of a certificate authority made at set-up].
    #[arg(long, value_name = "FILE", requires = "operator_key")]
    pub(super) operator_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "operator_certificate")]
    pub(super) operator_key: Option<PathBuf>,
    /// More hardware for the default project: `NAME=COUNT:MEMORY_MIB:CORES`; may be repeated.
    #[arg(long, value_name = "GRANT")]
    #[serde(default)]
    pub(super) hardware: Vec<HardwareGrant>,
    /// How long an enclave waits for its secrets, in seconds [default: 900].
    #[arg(long, value_name = "SECONDS")]
    pub(super) provisioning_timeout: Option<u64>,
    /// The largest bundle, in MiB [default: 10240].
    #[arg(long, value_name = "MIB")]
    pub(super) max_bundle: Option<u64>,
    /// Serve collateral of real platforms as well, from this PCCS or from Intel's service, through
    /// a cache [default: none but the simulated platform's].
    #[arg(long, value_name = "URL")]
    pub(super) collateral_upstream: Option<BaseUrl>,
    /// Write a JSON file with addresses, token and process id once everything listens.
    #[arg(long, value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,
}

impl CommandLine {
    /// Reads the file, if one is named, and decides everything.
    pub fn into_config(self) -> Result<(Option<Command>, Config), ConfigError> {
        let file = match &self.config {
            Some(path) => Options::from_file(path)?,
            None => Options::default(),
        };
        Ok((self.command, self.options.or(file).decide()?))
    }
}

impl Options {
    fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            ConfigError::Parse {
                path: path.to_owned(),
                line: 1 + before.unwrap_or_default().matches('\n').count(),
                reason: error.message().to_owned(),
            }
        })
    }

    fn or(self, file: Self) -> Self {
        Self {
            role: self.role.or(file.role),
            data_dir: self.data_dir.or(file.data_dir),
            database: self.database.or(file.database),
            listen: self.listen.or(file.listen),
            gateway: self.gateway.or(file.gateway),
            public_gateway: self.public_gateway.or(file.public_gateway),
            domain_suffix: self.domain_suffix.or(file.domain_suffix),
            app_ports: self.app_ports.or(file.app_ports),
            runtime: self.runtime.or(file.runtime),
            bundles: self.bundles.or(file.bundles),
            kubernetes: self.kubernetes.or(file.kubernetes),
            enclave: self.enclave.or(file.enclave),
            image_cache: self.image_cache.or(file.image_cache),
            log_format: self.log_format.or(file.log_format),
            tls_certificate: self.tls_certificate.or(file.tls_certificate),
            tls_key: self.tls_key.or(file.tls_key),
            operator_certificate: self.operator_certificate.or(file.operator_certificate),
            operator_key: self.operator_key.or(file.operator_key),
            hardware: if self.hardware.is_empty() {
                file.hardware
            } else {
                self.hardware
            },
            provisioning_timeout: self.provisioning_timeout.or(file.provisioning_timeout),
            max_bundle: self.max_bundle.or(file.max_bundle),
            collateral_upstream: self.collateral_upstream.or(file.collateral_upstream),
            ready_file: self.ready_file.or(file.ready_file),
        }
    }
}

/// A value of the command line or the environment. What is wrong with it is said later, by an error
/// that does not repeat it.
#[allow(
    clippy::unnecessary_wraps,
    reason = "the form of a parser of the command line"
)]
fn database_url(text: &str) -> Result<DatabaseUrl, Infallible> {
    Ok(DatabaseUrl(text.to_owned().into()))
}

/// In the file these two are written as on the command line.
macro_rules! deserialize_from_str {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    )*};
}
deserialize_from_str!(PortRange, HardwareGrant);

#[cfg(test)]
mod tests {
    use crate::config::PortRange;
    use crate::config::decide::tests::decide;

    #[test]
    fn the_file_has_the_same_keys_and_the_command_line_wins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        std::fs::write(
            &file,
            "listen = '127.0.0.1:1'\napp-ports = '30000-30009'\nhardware = ['8g-x=2:8192:4']\n",
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let config = decide(&["--config", file, "--listen", "127.0.0.1:2"]).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(
            config.app_ports,
            PortRange::Within {
                first: 30_000,
                last: 30_009
            }
        );
        assert_eq!(config.hardware[0].name, "8g-x");

        std::fs::write(folder.path().join("server.toml"), "lisen = '127.0.0.1:1'").unwrap();
        let refused = decide(&["--config", file]).unwrap_err();
        assert!(refused.contains("lisen"), "{refused}");
    }

    #[test]
    fn a_database_is_given_in_three_places_and_its_password_is_told_nobody() {
        assert!(decide(&[]).unwrap().database.is_none());
        let url = "postgres://mse:hunter2@db.example/mse";
        let config = decide(&["--database", url]).unwrap();
        let database = config.database.clone().unwrap();
        assert_eq!(database.to_string(), "postgres://db.example/mse");
        assert!(!format!("{config:?}").contains("hunter2"));

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let decide_file = |text: &str| {
            std::fs::write(&file, text).unwrap();
            decide(&["--config", file.to_str().unwrap()])
        };
        let config = decide_file(&format!("database = '{url}'")).unwrap();
        assert!(config.database.is_some());

        for wrong in [
            "mysql://mse:hunter2@db.example/mse",
            "postgres://mse:hunter2@db.example:port/mse",
            "/var/lib/hunter2.db",
            "",
        ] {
            for refused in [
                decide(&["--database", wrong]).unwrap_err(),
                decide_file(&format!("database = '{wrong}'")).unwrap_err(),
            ] {
                assert!(refused.contains("--database"), "{refused}");
                assert!(!refused.contains("hunter2"), "{refused}");
            }
        }
        for wrong in [
            format!("\ndatabase = '{url}"),
            format!("\ndatabas = '{url}'"),
            format!("\ndatabase = ['{url}']"),
            format!("\nlisten = '{url}'"),
        ] {
            let refused = decide_file(&wrong).unwrap_err();
            assert!(refused.contains("line 2"), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
