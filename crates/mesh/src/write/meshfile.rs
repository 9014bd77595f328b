//! Meshfiles.

use std::num::NonZeroU16;

use mse_session::Terms;
use serde_json::Value;

use super::{Writing, manifest, text};
use crate::model::{
    Advisories, Cas, CasTrust, Connection, Destination, EnvGroup, ExtraPolicy, FileContent,
    HostTls, ImageSource, Machine, MeshFile, MeshService, MeshVolume, Meshfile, OutsideHost, Pins,
    Policy, Probe, Repository, ServiceName, ServicePort, SimulatedTrust, UploadMode,
};

pub(super) fn meshfile(mesh: &Meshfile) -> Value {
    let Meshfile {
        api_version: _,
        cas,
        policy,
        env,
        services,
        repo,
        extra_policies,
        helm_extra_values,
    } = mesh;
    let mut map = Writing::default();
    map.put("apiVersion", "mse/v1");
    map.put("kind", "mesh");
    map.put(
        "cas",
        cas.iter()
            .map(self::cas)
            .map(Value::from)
            .collect::<Vec<_>>(),
    );
    map.put("policy", self::policy(policy));
    map.put(
        "env",
        env.iter().map(group).map(Value::from).collect::<Vec<_>>(),
    );
    map.put(
        "services",
        services
            .iter()
            .map(service)
            .map(Value::from)
            .collect::<Vec<_>>(),
    );
    map.put_some("repo", repo.as_ref().map(repository));
    map.put_list("extra_policies", extra_policies.iter().map(extra_policy));
    if !helm_extra_values.is_empty() {
        map.put("helm_extra_values", helm_extra_values.clone());
    }
    map.into()
}

fn cas(cas: &Cas) -> Writing {
    let Cas {
        name,
        aliases,
        url,
        key,
        encryption_key,
        trust,
        mode,
    } = cas;
    let mut map = Writing::default();
    map.put("name", name.as_str());
    let aliases: Vec<&str> = aliases.iter().map(|role| role.as_str()).collect();
    map.put("alias", aliases);
    map.put("cas_url", url.to_string());
    map.put_shown("cas_key", key.as_ref());
    map.put_shown("cas_encryption_key", encryption_key.as_ref());
    map.put_map("trust", self::trust(trust));
    map.put_some("mode", mode.map(UploadMode::as_str));
    map
}

fn trust(trust: &CasTrust) -> Writing {
    let CasTrust {
        pins,
        tolerate,
        simulated,
    } = trust;
    let mut map = Writing::default();
    let Pins {
        mrenclave,
        mrsigner,
        isvprodid,
        isvsvn,
        software_key,
    } = pins;
    let mut pins = Writing::default();
    pins.put_list("mrenclave", mrenclave.iter().map(ToString::to_string));
    pins.put_list("mrsigner", mrsigner.iter().map(ToString::to_string));
    pins.put_some("isvprodid", *isvprodid);
    pins.put_some("isvsvn", *isvsvn);
    pins.put_shown("software_key", software_key.as_ref());
    map.put_map("pins", pins);
    let tolerances = tolerate.iter();
    map.put_list(
        "tolerate",
        tolerances.map(|one| Terms::written("what", one.what.as_str(), one.terms.as_ref())),
    );
    map.put_some(
        "simulated",
        simulated.as_ref().map(|simulated| match simulated {
            SimulatedTrust::ThisMachine => "this-machine",
            SimulatedTrust::Anchor(file) => file.as_str(),
        }),
    );
    map
}

fn policy(policy: &Policy) -> Writing {
    let Policy {
        namespace,
        image_policy_namespace,
        machines,
        tolerate,
        ignore_advisories,
        maa,
        access_policy_name,
        security_policy_name,
        attestation_policy_name,
    } = policy;
    let mut map = Writing::default();
    map.put("namespace", namespace.as_str());
    map.put_shown("image_policy_namespace", image_policy_namespace.as_ref());
    map.put_list("machines", machines.iter().map(machine));
    let tolerances = tolerate.iter();
    map.put_list(
        "tolerate",
        tolerances.map(|one| Terms::written("what", one.what.as_str(), one.terms.as_ref())),
    );
    match ignore_advisories {
        Advisories::All(terms) => {
            map.put(
                "ignore_advisories",
                Terms::written("id", "*", terms.as_ref()),
            );
        }
        Advisories::Listed(listed) => map.put_list(
            "ignore_advisories",
            listed
                .iter()
                .map(|one| Terms::written("id", &one.id, one.terms.as_ref())),
        ),
    }
    map.put_shown("maa", maa.as_ref());
    map.put_shown("access_policy_name", access_policy_name.as_ref());
    map.put_shown("security_policy_name", security_policy_name.as_ref());
    map.put_shown("attestation_policy_name", attestation_policy_name.as_ref());
    map
}

fn machine(machine: &Machine) -> Writing {
    let mut map = Writing::default();
    map.put("tee", machine.tee().as_str());
    for (key, measured) in machine.measured() {
        map.put(key, measured.to_string());
    }
    map
}

fn group(group: &EnvGroup) -> Writing {
    let mut map = Writing::default();
    map.put("service", group.scope.as_str());
    let variables = group.variables.iter().map(manifest::variable);
    map.put("env", variables.map(Value::from).collect::<Vec<_>>());
    map
}

fn service(service: &MeshService) -> Writing {
    let MeshService {
        name,
        image,
        image_policy,
        image_secrets,
        env,
        helm_chart,
        helm_extra_values,
        replicas,
        resources,
        node_selector,
        after,
        health,
        ports,
        files,
        volumes,
        connections,
    } = service;
    let mut map = Writing::default();
    map.put("name", name.as_str());
    match image {
        ImageSource::Reference(image) => map.put("image", image.as_str()),
        ImageSource::Curated(curated) => map.put("curated", curated.as_str()),
    }
    map.put_shown("image_policy", image_policy.as_ref());
    map.put_shown("image_secrets", image_secrets.as_ref());
    map.put_shown("env", env.as_ref());
    map.put_shown("helm_chart", helm_chart.as_ref());
    if !helm_extra_values.is_empty() {
        map.put("helm_extra_values", helm_extra_values.clone());
    }
    map.put_some("replicas", *replicas);
    let mut amounts = Writing::default();
    amounts.put_shown("memory", resources.memory.as_ref());
    amounts.put_shown("cores", resources.cores.as_ref());
    map.put_map("resources", amounts);
    let mut labels = Writing::default();
    for (key, value) in node_selector {
        labels.put(key, value.as_str());
    }
    map.put_map("node_selector", labels);
    map.put_list("after", after.iter().map(ServiceName::as_str));
    map.put_some("health", health.as_ref().map(probe));
    map.put_list("ports", ports.iter().map(port));
    map.put_list("files", files.iter().map(file));
    map.put_list("volumes", volumes.iter().map(volume));
    map.put_some(
        "connections",
        connections.as_ref().map(|all| {
            all.iter()
                .map(connection)
                .map(Value::from)
                .collect::<Vec<_>>()
        }),
    );
    map
}

fn probe(probe: &Probe) -> Writing {
    let mut map = manifest::health(&probe.check);
    map.put_some(
        "period",
        probe.period.map(|time| format!("{}s", time.get())),
    );
    map.put_some(
        "timeout",
        probe.timeout.map(|time| format!("{}s", time.get())),
    );
    map.put_some("failures", probe.failures);
    map
}

fn port(port: &ServicePort) -> Value {
    if port.target.is_none() && port.name.is_none() {
        return port.port.get().into();
    }
    let mut map = Writing::default();
    map.put("port", port.port.get());
    map.put_some("target", port.target.map(NonZeroU16::get));
    map.put_shown("name", port.name.as_ref());
    map.into()
}

fn file(file: &MeshFile) -> Writing {
    let mut map = Writing::default();
    map.put("path", file.path.as_str());
    match &file.content {
        FileContent::Text(content) => map.put("content", text(content)),
        FileContent::From(file) => map.put("from", file.as_str()),
    }
    map
}

fn volume(volume: &MeshVolume) -> Writing {
    let mut map = Writing::default();
    map.put("name", volume.name.as_str());
    map.put_shown("size", volume.size.as_ref());
    map.put_shown("storage_class", volume.storage_class.as_ref());
    map
}

fn connection(connection: &Connection) -> Writing {
    let mut map = Writing::default();
    match &connection.to {
        Destination::Service(name) => map.put("to", name.as_str()),
        Destination::Network(network) => map.put("network", network.to_string()),
        Destination::Host(OutsideHost { host, .. }) => {
            let shown = host.to_string();
            map.put("host", shown.trim_matches(['[', ']']));
        }
    }
    map.put_list("ports", connection.ports.iter().map(|port| port.get()));
    if let Destination::Host(OutsideHost { tls, .. }) = &connection.to {
        match tls {
            HostTls::Program => map.put("tls", "program"),
            HostTls::Shield(file) => map.put("ca", file.as_str()),
        }
    }
    map
}

fn repository(repository: &Repository) -> Writing {
    let mut map = Writing::default();
    map.put("destination", repository.destination.as_str());
    map.put_flag("squash", repository.squash);
    map.put_some("strip", (!repository.strip).then_some(false));
    map.put_some("push", (!repository.push).then_some(false));
    map.put_shown("config_id", repository.config_id.as_ref());
    map.put_shown("key_file", repository.key_file.as_ref());
    map
}

fn extra_policy(policy: &ExtraPolicy) -> Writing {
    let mut map = Writing::default();
    map.put("name", policy.name.as_str());
    map.put_some("mode", policy.mode.map(UploadMode::as_str));
    map
}
