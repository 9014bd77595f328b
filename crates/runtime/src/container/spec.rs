//! Which service, and in what kind of container.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, NetworkingConfig, PortBinding,
};
use mse_workload::{CasKey, Resources};

use super::{EngineKind, ImageId, MeshId};

/// What launcher and enclave take besides the service: 64 MiB.
const OVERHEAD: i64 = 64 << 20;
/// The launcher, the enclave with its threads, and those that the sandbox allows the program.
const PROCESSES: i64 = 2048;
/// Nobody but this machine reaches a published port.
const LOOPBACK: &str = "127.0.0.1";
/// The folder of the simulated platform in the container.
const PLATFORM: &str = "/mse/platform";
/// Folders for volumes in the container.
const VOLUMES: &str = "/mse/volumes";
/// What the launcher writes.
const RUN: &str = "/mse/run";

/// A service in a container.
#[derive(Debug)]
pub struct ContainerSpec {
    /// The container's name.
    pub name: String,
    /// The mesh that it belongs to.
    pub mesh: MeshId,
    /// Which image.
    pub image: ImageId,
    /// `host:port` of the CAS, as the container reaches it.
    pub cas: String,
    /// Which CAS it must be.
    pub cas_key: CasKey,
    /// The session, with its namespaces.
    pub session: String,
    /// The service in it.
    pub service: String,
    /// What it may use.
    pub resources: Resources,
    /// The host's arguments.
    pub arguments: Vec<String>,
    /// The host's environment, for what the session takes from it.
    pub environment: BTreeMap<String, String>,
    /// Where its evidence comes from.
    pub tee: ContainerTee,
    /// Folders for the encrypted volumes of the session, absolute, by their names in it.
    pub volumes: BTreeMap<String, PathBuf>,
    /// Ports that are reached from this machine.
    pub ports: Vec<PublishedPort>,
    /// What it is connected to.
    pub network: Network,
    /// Names that it knows besides those of its network.
    pub hosts: BTreeMap<String, IpAddr>,
}

/// Where the evidence of a service in a container comes from.
#[derive(Clone, Debug)]
pub enum ContainerTee {
    /// The simulated platform in this folder. It protects nothing from the machine's owner.
    Simulated(PathBuf),
    /// The TEE of the machine.
    Machine,
}

/// A port of the container that is reached on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// In the container, TCP.
    pub container: u16,
    /// Of this machine, on 127.0.0.1.
    pub host: u16,
}

/// What a container is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// The engine's own bridge.
    Bridge,
    /// The network of the machine itself: no ports are published.
    Host,
    /// A network of containers.
    Named {
        /// Which.
        name: String,
        /// What the others in it call this one.
        host: String,
    },
}

impl Network {
    fn endpoint(&self) -> Option<NetworkingConfig> {
        let Self::Named { name, host } = self else {
            return None;
        };
        let endpoint = EndpointSettings {
            aliases: Some(vec![host.clone()]),
            ..EndpointSettings::default()
        };
        Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(name.clone(), endpoint)])),
        })
    }
}

impl ContainerSpec {
    pub(super) fn into_body(self, engine: EngineKind) -> ContainerCreateBody {
        let mut binds = Vec::new();
        if let ContainerTee::Simulated(folder) = &self.tee {
            binds.push(format!("{}:{PLATFORM}:ro", folder.display()));
        }
        binds.extend(
            self.volumes
                .iter()
                .map(|(name, folder)| format!("{}:{VOLUMES}/{name}:rw", folder.display())),
        );
        let ports = self.ports.iter().map(|port| {
            let binding = PortBinding {
                host_ip: Some(LOOPBACK.to_owned()),
                host_port: Some(port.host.to_string()),
            };
            (format!("{}/tcp", port.container), Some(vec![binding]))
        });
        let host = HostConfig {
            memory: Some((i64::from(self.resources.memory_mib) << 20) + OVERHEAD),
            nano_cpus: Some(i64::from(self.resources.millicores) * 1_000_000),
            pids_limit: Some(PROCESSES),
            tmpfs: Some(HashMap::from([(RUN.to_owned(), "rw,mode=0700".to_owned())])),
            binds: Some(binds),
            port_bindings: Some(ports.collect()),
            network_mode: Some(match &self.network {
                Network::Bridge => "bridge".to_owned(),
                Network::Host => "host".to_owned(),
                Network::Named { name, .. } => name.clone(),
            }),
            extra_hosts: (!self.hosts.is_empty()).then(|| {
                let hosts = self.hosts.iter();
                hosts.map(|(name, at)| format!("{name}:{at}")).collect()
            }),
            ..confinement(engine)
        };
        ContainerCreateBody {
            image: Some(self.image.to_string()),
            exposed_ports: Some(
                self.ports
                    .iter()
                    .map(|port| format!("{}/tcp", port.container))
                    .collect(),
            ),
            labels: Some(self.mesh.labels()),
            env: Some(self.variables()),
            networking_config: self.network.endpoint(),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        }
    }

    /// What `mse-launch` reads.
    fn variables(&self) -> Vec<String> {
        let mut variables = vec![
            format!("MSE_CAS={}", self.cas),
            format!("MSE_CAS_KEY={}", self.cas_key),
            format!("MSE_SESSION={}", self.session),
            format!("MSE_SERVICE={}", self.service),
            format!("MSE_MEMORY_MIB={}", self.resources.memory_mib),
            format!("MSE_MILLICORES={}", self.resources.millicores),
        ];
        if let ContainerTee::Simulated(_) = self.tee {
            variables.push("MSE_TEE=simulated".to_owned());
        }
        let arguments = (1..).zip(&self.arguments);
        variables.extend(arguments.map(|(number, value)| format!("MSE_ARG_{number}={value}")));
        let environment = self.environment.iter();
        variables.extend(environment.map(|(name, value)| format!("MSE_ENV_{name}={value}")));
        variables
    }
}

/// What the sandbox in the container is made with. The program in it has none of that;
/// `docs/services.md` says what each is for.
const RIGHTS: &[&str] = &[
    "SYS_ADMIN",
    "SETUID",
    "SETGID",
    "CHOWN",
    "DAC_OVERRIDE",
    "KILL",
];

fn confinement(engine: EngineKind) -> HostConfig {
    let host = HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(RIGHTS.iter().map(ToString::to_string).collect()),
        ..HostConfig::default()
    };
    let security = |options: &[&str]| Some(options.iter().map(ToString::to_string).collect());
    match engine {
        // Its own API mounts memory over `/tmp`, `/run` and `/var/tmp` if the root is to be
        // read-only, and hides what is measured there.
        EngineKind::Podman => HostConfig {
            security_opt: security(&["unmask=ALL", "apparmor=unconfined"]),
            ..host
        },
        // Its filter refuses `pivot_root` whatever rights there are.
        EngineKind::Docker => HostConfig {
            security_opt: security(&["seccomp=unconfined", "apparmor=unconfined"]),
            readonly_rootfs: Some(true),
            masked_paths: Some(Vec::new()),
            readonly_paths: Some(Vec::new()),
            ..host
        },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mse_workload::CasKey;

    use super::super::MESH;
    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "web".into(),
            mesh: MeshId::new("shop", Path::new("/srv/shop/run")),
            image: ImageId::read(&"0a".repeat(32)).unwrap(),
            cas: "cas:18765".into(),
            cas_key: CasKey::of(b"key"),
            session: "team/shop".into(),
            service: "web".into(),
            resources: Resources {
                memory_mib: 256,
                millicores: 500,
            },
            arguments: vec!["a".into(), "b".into()],
            environment: [("ZONE".into(), "z1".into())].into(),
            tee: ContainerTee::Simulated("/srv/tee".into()),
            volumes: [("data".into(), "/srv/data".into())].into(),
            ports: vec![PublishedPort {
                container: 443,
                host: 8443,
            }],
            network: Network::Bridge,
            hosts: BTreeMap::new(),
        }
    }

    #[test]
    fn a_container_is_told_and_given_what_its_spec_says() {
        let body = spec().into_body(EngineKind::Podman);
        let env = body.env.unwrap();
        for line in [
            "MSE_SESSION=team/shop",
            "MSE_ARG_2=b",
            "MSE_ENV_ZONE=z1",
            "MSE_TEE=simulated",
        ] {
            assert!(env.contains(&line.to_owned()), "{env:?}");
        }
        let host = body.host_config.unwrap();
        assert_eq!(host.memory, Some(320 << 20));
        assert_eq!(host.nano_cpus, Some(500_000_000));
        assert_eq!(
            host.binds.unwrap(),
            [
                "/srv/tee:/mse/platform:ro",
                "/srv/data:/mse/volumes/data:rw"
            ]
        );
        let ports = host.port_bindings.unwrap();
        let binding = &ports["443/tcp"].as_ref().unwrap()[0];
        assert_eq!(binding.host_ip.as_deref(), Some("127.0.0.1"));
        assert_eq!(binding.host_port.as_deref(), Some("8443"));
        assert_eq!(body.labels.unwrap()[MESH], "shop");
        assert_eq!(body.networking_config, None);
    }

    #[test]
    fn on_a_network_of_containers_it_has_the_name_that_others_call_it() {
        let named = ContainerSpec {
            network: Network::Named {
                name: "mse-shop".into(),
                host: "web".into(),
            },
            ..spec()
        };
        let body = named.into_body(EngineKind::Podman);
        let network = body.host_config.unwrap().network_mode;
        assert_eq!(network.as_deref(), Some("mse-shop"));
        let endpoints = body.networking_config.unwrap().endpoints_config.unwrap();
        assert_eq!(endpoints["mse-shop"].aliases, Some(vec!["web".to_owned()]));
    }

    #[test]
    fn nothing_is_simulated_unless_the_spec_says_so() {
        let machine = ContainerSpec {
            tee: ContainerTee::Machine,
            ..spec()
        };
        let body = machine.into_body(EngineKind::Docker);
        let mentions = |line: &String| line.contains("MSE_TEE");
        assert!(!body.env.unwrap().iter().any(mentions));
        let binds = body.host_config.unwrap().binds.unwrap();
        assert_eq!(binds, ["/srv/data:/mse/volumes/data:rw"]);
    }
}
