//! Service manifests, and their templates.

use std::convert::Infallible;

use mse_session::{SecretName, UpdatePolicy};
use serde_json::Value;

use super::{Writing, text};
use crate::model::{
    Build, Environment, Health, InjectionFile, LocalVariable, Port, SecretDefinition, Secrets,
    ServiceManifest, Volume, VolumeExport, VolumeSource,
};
use crate::template::{FORMAT, ServiceTemplate};

pub(super) fn manifest(manifest: &ServiceManifest) -> Value {
    let ServiceManifest {
        api_version: _,
        build,
        environment,
        secrets,
        injection_files,
        listen,
    } = manifest;
    let mut map = Writing::default();
    map.put("apiVersion", "mse/v1");
    map.put("kind", "genservice");
    map.put("build", self::build(build));
    configuration(&mut map, environment, secrets, injection_files, listen);
    map.into()
}

pub(crate) fn template(template: &ServiceTemplate) -> Value {
    let ServiceTemplate {
        name,
        command,
        pwd,
        environment,
        secrets,
        injection_files,
        volumes,
        listen,
        health,
        stable,
    } = template;
    let mut map = Writing::default();
    map.put("format", FORMAT);
    map.put("name", name.as_str());
    map.put("command", text(command));
    map.put_shown("pwd", pwd.as_ref());
    map.put_list("volumes", volumes.iter().map(volume));
    map.put_some("health", health.as_ref().map(self::health));
    map.put_shown("stable", stable.as_ref());
    configuration(&mut map, environment, secrets, injection_files, listen);
    map.into()
}

fn configuration(
    map: &mut Writing,
    environment: &Environment,
    secrets: &Secrets,
    files: &[InjectionFile],
    listen: &[Port],
) {
    map.put("environment", self::environment(environment));
    map.put_map("secrets", self::secrets(secrets));
    map.put_list("injection_files", files.iter().map(injection_file));
    map.put_list("listen", listen.iter().map(port));
}

fn build(build: &Build) -> Writing {
    let Build {
        name,
        kind,
        packages,
        without,
        from,
        to,
        pwd,
        command,
        copy,
        requirements,
        run,
        binaries,
        dirs,
        fs_dirs,
        fs_files,
        plains,
        plain_files,
        host_paths,
        volumes,
        signature,
        stable,
        policy_template,
        network,
        health,
    } = build;
    let mut map = Writing::default();
    map.put("name", name.as_str());
    map.put("kind", kind.as_str());
    map.put_list("packages", packages.iter().cloned());
    map.put_list("without", without.iter().cloned());
    map.put_shown("from", from.as_ref());
    map.put("to", to.as_str());
    map.put_shown("pwd", pwd.as_ref());
    map.put("command", text(command));
    map.put_list("copy", copy.iter().cloned());
    map.put_shown("requirements", requirements.as_ref());
    for (key, list) in [
        ("run", run),
        ("binaries", binaries),
        ("dirs", dirs),
        ("fs_dirs", fs_dirs),
        ("fs_files", fs_files),
        ("plains", plains),
        ("plain_files", plain_files),
        ("host_paths", host_paths),
    ] {
        map.put_list(key, list.iter().cloned());
    }
    map.put_list("volumes", volumes.iter().map(volume));
    let mut signing = Writing::default();
    signing.put_shown("key", signature.key.as_ref());
    map.put_map("signature", signing);
    map.put_shown("stable", stable.as_ref());
    let mut policy = Writing::default();
    policy.put_shown("policy", policy_template.as_ref());
    map.put_map("gen_policy", policy);
    map.put_flag("network", *network);
    map.put_some("health", health.as_ref().map(self::health));
    map
}

fn environment(environment: &Environment) -> Writing {
    let mut map = Writing::default();
    map.put_list("local", environment.local.iter().map(variable));
    map.put_list(
        "global",
        environment.global.iter().map(|one| {
            let mut map = Writing::default();
            map.put("name", one.name.as_str());
            map.put_some("value", one.default.as_ref().map(text));
            map
        }),
    );
    map
}

pub(super) fn variable(variable: &LocalVariable) -> Writing {
    let mut map = Writing::default();
    map.put("name", variable.name.as_str());
    map.put("value", text(&variable.value));
    map
}

fn secrets(secrets: &Secrets) -> Writing {
    let mut map = Writing::default();
    map.put_list("global", secrets.global.iter().map(definition));
    map.put_list("import", secrets.import.iter().map(SecretName::as_str));
    map
}

fn definition(secret: &SecretDefinition) -> Value {
    match secret.to_value(|one| Ok::<_, Infallible>(text(one))) {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn injection_file(file: &InjectionFile) -> Writing {
    let mut map = Writing::default();
    map.put("path", file.path.as_str());
    map.put("content", text(&file.content));
    map
}

fn port(port: &Port) -> Value {
    let Some(name) = &port.name else {
        return port.port.get().into();
    };
    let mut map = Writing::default();
    map.put("port", port.port.get());
    map.put("name", name.as_str());
    map.into()
}

pub(super) fn health(health: &Health) -> Writing {
    let mut map = Writing::default();
    match health {
        Health::Http { path, port } => {
            let mut http = Writing::default();
            http.put("path", path.as_str());
            http.put("port", port.get());
            map.put("http", http);
        }
        Health::Tcp { port } => map.put("tcp", port.get()),
    }
    map
}

fn volume(volume: &Volume) -> Writing {
    let mut map = Writing::default();
    map.put("name", volume.name.as_str());
    map.put("path", volume.path.as_str());
    match &volume.source {
        VolumeSource::Own(exports) => map.put_list("export", exports.iter().map(export)),
        VolumeSource::Imported {
            session,
            volume: name,
        } => {
            let mut import = Writing::default();
            import.put("session", text(session));
            import.put("volume", name.as_str());
            map.put("import", import);
        }
    }
    map.put_flag("optional", volume.optional);
    map
}

fn export(export: &VolumeExport) -> Writing {
    let mut map = Writing::default();
    map.put("session", text(&export.session));
    map.put_shown("session_hash", export.session_hash.as_ref());
    if export.update_policy != UpdatePolicy::default() {
        map.put("update_policy", export.update_policy.as_str());
    }
    map.put_shown("volume_alias", export.alias.as_ref());
    map
}
