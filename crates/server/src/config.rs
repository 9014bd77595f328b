//! Options: from the command line, then from a TOML file with the same keys, then the defaults.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mse_collateral::BaseUrl;
use mse_runtime::kubernetes::{InvalidSettings, KubernetesSettings, KubernetesTable};
use mse_runtime::process::guard::Guard;
use serde::Deserialize;

use crate::store::{HardwareGrant, HardwareRecord};

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
struct Options {
    /// Which part of the platform this process is.
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Where everything is kept [default: /var/lib/mse for root, else ~/.local/share/mse-server].
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Where the API listens; port 0 takes a free one [default: 127.0.0.1:7310].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the gateway listens for the TLS connections of apps [default: 127.0.0.1:7343].
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<SocketAddr>,
    /// What clients are told to connect to instead of the address of the gateway.
    #[arg(long, value_name = "HOST:PORT")]
    public_gateway: Option<String>,
    /// Apps get names below this one [default: mse.localhost].
    #[arg(long, value_name = "DOMAIN")]
    domain_suffix: Option<String>,
    /// Loopback ports, one per app: `FROM-TO`, or `0` for any free one [default: 20000-20999].
    #[arg(long, value_name = "RANGE")]
    app_ports: Option<PortRange>,
    /// What app enclaves run on: `process` is this machine, `kubernetes` the cluster that the file's
    /// table `[kubernetes]` describes [default: process].
    #[arg(long, value_enum)]
    runtime: Option<RuntimeKind>,
    /// Where pods of the cluster get their encrypted bundles, by plain HTTP: needed with
    /// `--runtime kubernetes`.
    #[arg(long, value_name = "ADDRESS")]
    bundles: Option<SocketAddr>,
    /// How apps are run on a cluster.
    #[arg(skip)]
    kubernetes: Option<KubernetesTable>,
    /// The enclave program [default: mse-enclave beside this one].
    #[arg(long, value_name = "PATH")]
    enclave: Option<PathBuf>,
    /// Where the Python environments of images are kept [default: in the data folder].
    #[arg(long, value_name = "DIR")]
    image_cache: Option<PathBuf>,
    /// The form of this program's own log.
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// Certificate chain of the API (PEM); needed to listen on more than loopback.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Private key of the API (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Certificate chain with which the gateway terminates TLS for apps deployed with
    /// `--untrusted-ssl` (PEM) [default: one of a certificate authority made at set-up].
    #[arg(long, value_name = "FILE", requires = "operator_key")]
    operator_certificate: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "operator_certificate")]
    operator_key: Option<PathBuf>,
    /// More hardware for the default project: `NAME=COUNT:MEMORY_MIB:CORES`; may be repeated.
    #[arg(long, value_name = "GRANT")]
    #[serde(default)]
    hardware: Vec<HardwareGrant>,
    /// How long an enclave waits for its secrets, in seconds [default: 900].
    #[arg(long, value_name = "SECONDS")]
    provisioning_timeout: Option<u64>,
    /// The largest bundle, in MiB [default: 10240].
    #[arg(long, value_name = "MIB")]
    max_bundle: Option<u64>,
    /// Serve collateral of real platforms as well, from this PCCS or from Intel's service, through
    /// a cache [default: none but the simulated platform's].
    #[arg(long, value_name = "URL")]
    collateral_upstream: Option<BaseUrl>,
    /// Write a JSON file with addresses, token and process id once everything listens.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Everything decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept.
    pub data_dir: PathBuf,
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

/// The account that the embedded platform makes.
pub const OWNER_EMAIL: &str = "owner@localhost";

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
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source,
        })
    }

    fn or(self, file: Self) -> Self {
        Self {
            role: self.role.or(file.role),
            data_dir: self.data_dir.or(file.data_dir),
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

    fn decide(self) -> Result<Config, ConfigError> {
        if let Some(role) = self.role.filter(|role| *role != Role::All) {
            return Err(ConfigError::Role(role));
        }
        let api_tls = key_files("tls", self.tls_certificate, self.tls_key)?;
        let listen = self.listen.unwrap_or(([127, 0, 0, 1], 7310).into());
        if !listen.ip().is_loopback() && api_tls.is_none() {
            return Err(ConfigError::PlainHttp(listen));
        }
        let domain_suffix = self.domain_suffix.unwrap_or_else(|| "mse.localhost".into());
        if !is_domain(&domain_suffix) {
            return Err(ConfigError::Suffix(domain_suffix));
        }
        Ok(Config {
            kubernetes: cluster(self.runtime, self.bundles, self.kubernetes)?,
            data_dir: match self.data_dir {
                Some(path) => path,
                None => default_data_dir()?,
            },
            listen,
            gateway: self.gateway.unwrap_or(([127, 0, 0, 1], 7343).into()),
            public_gateway: self.public_gateway,
            domain_suffix,
            app_ports: self.app_ports.unwrap_or(PortRange::Within {
                first: 20_000,
                last: 20_999,
            }),
            enclave: match self.enclave {
                Some(path) => path,
                None => beside_this_program("mse-enclave")?,
            },
            image_cache: self.image_cache,
            log_format: self.log_format.unwrap_or(LogFormat::Text),
            api_tls,
            operator_tls: key_files("operator", self.operator_certificate, self.operator_key)?,
            hardware: self.hardware.into_iter().map(|grant| grant.0).collect(),
            guard: Guard::OwnProgram,
            provisioning_timeout: Duration::from_secs(self.provisioning_timeout.unwrap_or(900)),
            max_bundle: self
                .max_bundle
                .map_or(mse_workload::bundle::MAX_SIZE, |mib| {
                    mib.saturating_mul(1 << 20)
                }),
            collateral_upstream: self.collateral_upstream,
            ready_file: self.ready_file,
        })
    }
}

/// Which part of the platform a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    All,
    /// Only the API and the store; not built yet.
    Api,
    /// Only the gateway; not built yet.
    Gateway,
    /// Only the runtime; not built yet.
    Runtime,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Gateway => "gateway",
            Self::Runtime => "runtime",
        })
    }
}

/// What app enclaves run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// Processes of this machine.
    Process,
    /// Pods of a Kubernetes cluster.
    Kubernetes,
}

/// The form of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// JSON lines.
    Json,
}

/// Ports to give to apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRange {
    /// Whatever is free.
    Any,
    /// From the first to the last, both included.
    Within {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
}

impl FromStr for PortRange {
    type Err = InvalidPortRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPortRange(text.chars().take(80).collect());
        if text == "0" {
            return Ok(Self::Any);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first = first.parse().map_err(|_| invalid())?;
        let last = last.parse().map_err(|_| invalid())?;
        if first == 0 || first > last {
            return Err(invalid());
        }
        Ok(Self::Within { first, last })
    }
}

/// The text is no range of ports.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a range of ports: write `20000-20999`, one port, or `0` for any free one")]
pub struct InvalidPortRange(String);

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
    /// The file is not as it should be.
    #[error("the configuration `{path}` is not valid: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
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

/// Whether the text is a domain name of ordinary labels, in lower case.
pub fn is_domain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn key_files(
    kind: &str,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<KeyFiles>, ConfigError> {
    let name = |part: &str| format!("{kind}-{part}");
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(KeyFiles { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::HalfAPair {
            given: name("certificate"),
            missing: name("key"),
        }),
        (None, Some(_)) => Err(ConfigError::HalfAPair {
            given: name("key"),
            missing: name("certificate"),
        }),
    }
}

/// All of what a cluster takes, or nothing of it.
fn cluster(
    runtime: Option<RuntimeKind>,
    bundles: Option<SocketAddr>,
    table: Option<KubernetesTable>,
) -> Result<Option<ClusterConfig>, ConfigError> {
    match runtime.unwrap_or(RuntimeKind::Process) {
        RuntimeKind::Process => match (bundles, table) {
            (Some(_), _) => Err(ConfigError::NoRuntime { given: "bundles" }),
            (_, Some(_)) => Err(ConfigError::NoRuntime {
                given: "[kubernetes]",
            }),
            (None, None) => Ok(None),
        },
        RuntimeKind::Kubernetes => {
            let table = table.ok_or(ConfigError::NoCluster {
                missing: "[kubernetes]",
                fix: "write that table into the file of `--config`: docs/kubernetes.md has all fields",
            })?;
            let bundles = bundles.ok_or(ConfigError::NoCluster {
                missing: "--bundles",
                fix: "name the address on which pods get their encrypted bundles: `--bundles 0.0.0.0:7320`",
            })?;
            Ok(Some(ClusterConfig {
                settings: table.try_into()?,
                bundles,
            }))
        }
    }
}

fn default_data_dir() -> Result<PathBuf, ConfigError> {
    use etcetera::BaseStrategy;
    if nix::unistd::geteuid().is_root() {
        return Ok("/var/lib/mse".into());
    }
    let home = etcetera::choose_base_strategy().map_err(|_| ConfigError::NoHome)?;
    Ok(home.data_dir().join("mse-server"))
}

fn beside_this_program(name: &str) -> Result<PathBuf, ConfigError> {
    let own = std::env::current_exe().map_err(ConfigError::NoProgram)?;
    Ok(own.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(arguments: &[&str]) -> Result<Config, String> {
        let all = ["mse-server", "--data-dir", "/nowhere"]
            .iter()
            .chain(arguments);
        let line = CommandLine::try_parse_from(all).map_err(|error| error.to_string())?;
        line.into_config()
            .map(|(_, config)| config)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_options_it_is_on_loopback() {
        let config = decide(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:7310");
        assert_eq!(config.gateway.to_string(), "127.0.0.1:7343");
        assert_eq!(config.max_bundle, 10 << 30);
    }

    #[test]
    fn the_api_does_not_speak_plainly_to_a_network() {
        let refused = decide(&["--listen", "0.0.0.0:7310"]).unwrap_err();
        assert!(refused.contains("--tls-certificate"), "{refused}");
        decide(&[
            "--listen",
            "0.0.0.0:7310",
            "--tls-certificate",
            "c",
            "--tls-key",
            "k",
        ])
        .unwrap();
        decide(&["--listen", "[::1]:0"]).unwrap();
    }

    #[test]
    fn roles_that_do_not_exist_are_refused_by_name() {
        decide(&["--role", "all"]).unwrap();
        let refused = decide(&["--role", "gateway"]).unwrap_err();
        assert!(
            refused.contains("`gateway`") && refused.contains("not built"),
            "{refused}"
        );
    }

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
    fn collateral_comes_over_tls_or_from_this_machine() {
        assert!(decide(&[]).unwrap().collateral_upstream.is_none());
        let url = "https://pccs.example.com:8081";
        let config = decide(&["--collateral-upstream", url]).unwrap();
        assert_eq!(config.collateral_upstream.unwrap().to_string(), url);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        std::fs::write(&file, "collateral-upstream = 'http://pccs.example.com'").unwrap();
        let refused = decide(&["--config", file.to_str().unwrap()]).unwrap_err();
        assert!(refused.contains("use `https`"), "{refused}");
    }

    #[test]
    fn a_cluster_is_described_and_asked_for_or_there_is_none() {
        assert!(decide(&[]).unwrap().kubernetes.is_none());
        let refused = decide(&["--runtime", "kubernetes"]).unwrap_err();
        assert!(refused.contains("`[kubernetes]`"), "{refused}");
        let refused = decide(&["--bundles", "127.0.0.1:0"]).unwrap_err();
        assert!(refused.contains("`--runtime kubernetes`"), "{refused}");

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let image = format!("r.example/flask@sha256:{}", "0a".repeat(32));
        let table = format!(
            "runtime = 'kubernetes'\n[kubernetes]\nnamespace = 'apps'\ntee = 'tdx'\nbundles = 'http://mse:7320'\nimages = {{ mse-flask = '{image}' }}\n"
        );
        std::fs::write(&file, &table).unwrap();
        let file_name = file.to_str().unwrap();
        let refused = decide(&["--config", file_name]).unwrap_err();
        assert!(refused.contains("`--bundles`"), "{refused}");
        let both = ["--config", file_name, "--bundles", "127.0.0.1:0"];
        let cluster = decide(&both).unwrap().kubernetes.unwrap();
        assert_eq!(cluster.settings.namespace, "apps");
        std::fs::write(&file, table.replace("'tdx'", "'simulation'")).unwrap();
        let refused = decide(&both).unwrap_err();
        assert!(
            refused.contains("`tee` of `[kubernetes]` is `simulation`"),
            "{refused}"
        );
    }

    #[test]
    fn port_ranges_are_read_strictly() {
        assert_eq!("0".parse::<PortRange>().unwrap(), PortRange::Any);
        assert_eq!(
            "7".parse::<PortRange>().unwrap(),
            PortRange::Within { first: 7, last: 7 }
        );
        for bad in ["", "0-5", "9-8", "a-b", "1-70000", "1-2-3"] {
            bad.parse::<PortRange>().unwrap_err();
        }
    }

    #[test]
    fn domains_are_ordinary() {
        for good in ["mse.localhost", "a", "x-1.example.org"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "a..b",
            "-a.b",
            "a-.b",
            "A.b",
            "a_b",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(!is_domain(bad), "{bad}");
        }
    }
}
