//! Which options go together, and what holds for those that are not given.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mse_database::Location;
use mse_runtime::kubernetes::KubernetesTable;
use mse_runtime::process::guard::Guard;
use mse_workload::launch::DatabaseUrl;

use super::options::Options;
use super::{
    ClusterConfig, Config, ConfigError, KeyFiles, LogFormat, PortRange, Role, RuntimeKind,
    is_domain,
};

impl Options {
    pub(super) fn decide(self) -> Result<Config, ConfigError> {
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
            database: self.database.as_ref().map(database).transpose()?,
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

fn database(url: &DatabaseUrl) -> Result<Location, ConfigError> {
    match url.0.parse() {
        Ok(database @ Location::Postgres(_)) => Ok(database),
        // A file is guarded by its folder's lock, so there is one place for it.
        Ok(Location::Sqlite(_)) | Err(_) => Err(ConfigError::Database),
    }
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
pub(super) mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::CommandLine;

    pub(in crate::config) fn decide(arguments: &[&str]) -> Result<Config, String> {
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
}
