//! A service manifest.

use mse_session::EnvironmentName;
use mse_yaml::{Code, Field, Fields, optional, or_default};

use super::{Reader, build, header, list, parsed, path_below_root, ports, secret, texts, volume};
use crate::model::{
    Environment, GlobalVariable, InjectionFile, LocalVariable, Port, Secrets, ServiceManifest,
};
use crate::template::ServiceTemplate;

/// Reads a manifest; None: the report says why.
pub(crate) fn manifest(r: &mut Reader, root: &Field<'_>) -> Option<ServiceManifest> {
    let mut fields = root.map(r)?;
    let api_version = header::api_version(r, &mut fields);
    let requirements = fields.get_legacy("requirements");
    let build = fields
        .require(r, "build")
        .and_then(|field| build::build(r, &field, requirements));
    let configuration = Configuration::read(r, &mut fields);
    fields.finish(r);
    Some(ServiceManifest {
        api_version: api_version?,
        build: build?,
        environment: configuration.environment?,
        secrets: configuration.secrets?,
        injection_files: configuration.injection_files?,
        listen: configuration.listen?,
    })
}

/// Reads a template, which [`ServiceTemplate::canonical`] wrote.
pub(crate) fn template(r: &mut Reader, root: &Field<'_>) -> Option<ServiceTemplate> {
    let mut fields = root.map(r)?;
    fields.get("format");
    let name = fields
        .require(r, "name")
        .and_then(|field| field.parse(r, Code::BadName));
    let command = fields
        .require(r, "command")
        .and_then(|field| texts::command(r, &field));
    let pwd = optional(fields.get("pwd"), |field| super::clean_path(r, &field));
    let volumes = list(r, fields.get("volumes"), volume::volume);
    let health = optional(fields.get("health"), |field| ports::health(r, &field));
    let stable = parsed(r, fields.get("stable"), Code::BadValue);
    let configuration = Configuration::read(r, &mut fields);
    fields.finish(r);
    Some(ServiceTemplate {
        name: name?,
        command: command?,
        pwd: pwd?,
        environment: configuration.environment?,
        secrets: configuration.secrets?,
        injection_files: configuration.injection_files?,
        volumes: volumes?,
        listen: configuration.listen?,
        health: health?,
        stable: stable?,
    })
}

/// What manifests and templates have in common.
struct Configuration {
    environment: Option<Environment>,
    secrets: Option<Secrets>,
    injection_files: Option<Vec<InjectionFile>>,
    listen: Option<Vec<Port>>,
}

impl Configuration {
    fn read(r: &mut Reader, fields: &mut Fields<'_>) -> Self {
        let environment = environment(r, fields);
        let secrets = or_default(fields.get("secrets"), |field| secret::secrets(r, &field));
        let files_field = fields.get("injection_files");
        let injection_files = list(r, files_field.clone(), injection_file);
        if let (Some(files), Some(field)) = (&injection_files, files_field) {
            let spots: Vec<_> = field.items(r).into_iter().map(|item| item.spot).collect();
            r.unique(
                "file",
                files.iter().map(|file| file.path.as_str()).zip(&spots),
            );
        }
        let listen = list(r, fields.get("listen"), ports::port);
        match &secrets {
            Some(secrets) => texts::check_references(r, secrets),
            // One fault is reported once.
            None => r.used.clear(),
        }
        Self {
            environment,
            secrets,
            injection_files,
            listen,
        }
    }
}

fn environment(r: &mut Reader, fields: &mut Fields<'_>) -> Option<Environment> {
    let section = fields.get("environment");
    let flat = fields.get_legacy("env");
    match (section, flat) {
        (Some(_), Some(flat)) => {
            r.conflict(
                &flat.spot,
                "`env` is of a draft, and `environment` is there, too",
                "move these variables into `environment`",
            );
            None
        }
        (Some(section), None) => {
            let mut fields = section.map(r)?;
            let (local_field, global_field) = (fields.get("local"), fields.get("global"));
            let local = list(r, local_field.clone(), local);
            let global = list(r, global_field.clone(), global);
            fields.finish(r);
            let environment = Environment {
                local: local?,
                global: global?,
            };
            let spots: Vec<_> = [local_field, global_field]
                .into_iter()
                .flatten()
                .flat_map(|field| field.items(r))
                .map(|item| item.spot)
                .collect();
            let names = environment.local.iter().map(|one| one.name.as_str());
            let names = names.chain(environment.global.iter().map(|one| one.name.as_str()));
            r.unique("variable", names.zip(&spots));
            Some(environment)
        }
        (None, Some(flat)) => {
            r.legacy(
                &flat.spot,
                "`env` is of a draft",
                "write `environment: {local: […], global: […]}`",
            );
            flat_environment(r, &flat)
        }
        (None, None) => Some(Environment::default()),
    }
}

/// Variables with a value are the manifest's, those without the Meshfile's.
fn flat_environment(r: &mut Reader, field: &Field<'_>) -> Option<Environment> {
    let variables = list(r, Some(field.clone()), global)?;
    let mut environment = Environment::default();
    for GlobalVariable { name, default } in variables {
        match default {
            Some(value) => environment.local.push(LocalVariable { name, value }),
            None => environment.global.push(GlobalVariable {
                name,
                default: None,
            }),
        }
    }
    Some(environment)
}

pub(super) fn variable_name(r: &mut Reader, fields: &mut Fields<'_>) -> Option<EnvironmentName> {
    let Some(field) = fields.get_renamed(r, "name", "key") else {
        // It says what is missing.
        fields.require(r, "name");
        return None;
    };
    field.parse(r, Code::BadName)
}

fn local(r: &mut Reader, field: &Field<'_>) -> Option<LocalVariable> {
    let mut fields = field.map(r)?;
    let name = variable_name(r, &mut fields);
    let value_field = fields.require(r, "value");
    let value = value_field.as_ref().and_then(|field| texts::text(r, field));
    fields.finish(r);
    let variable = LocalVariable {
        name: name?,
        value: value?,
    };
    if let Some(field) = value_field
        && sounds_secret(variable.name.as_str())
        && variable
            .value
            .as_literal()
            .is_some_and(|text| !text.is_empty() && !text.contains("$$"))
    {
        secret::constant(r, &field, &format!("the value of `{}`", variable.name));
    }
    Some(variable)
}

/// Whether the values of such variables are secrets, as a rule.
fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    [
        "PASSWORD",
        "PASSWD",
        "SECRET",
        "TOKEN",
        "PRIVATE_KEY",
        "API_KEY",
    ]
    .iter()
    .any(|word| name.ends_with(word))
}

fn global(r: &mut Reader, field: &Field<'_>) -> Option<GlobalVariable> {
    let mut fields = field.map(r)?;
    let name = variable_name(r, &mut fields);
    let default = optional(fields.get("value"), |field| texts::text(r, &field));
    fields.finish(r);
    Some(GlobalVariable {
        name: name?,
        default: default?,
    })
}

fn injection_file(r: &mut Reader, field: &Field<'_>) -> Option<InjectionFile> {
    let mut fields = field.map(r)?;
    let path = fields
        .require(r, "path")
        .and_then(|field| path_below_root(r, &field));
    let content_field = fields.require(r, "content");
    let content = content_field
        .as_ref()
        .and_then(|field| texts::text(r, field));
    fields.finish(r);
    let file = InjectionFile {
        path: path?,
        content: content?,
    };
    if let Some(field) = content_field
        && file
            .content
            .as_literal()
            .is_some_and(|text| text.contains("PRIVATE KEY-----"))
    {
        secret::constant(r, &field, "a private key");
    }
    Some(file)
}
