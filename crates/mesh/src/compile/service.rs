//! A service: what is measured of it, and its session.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use mse_crypto::Zeroizing;
use mse_session::{
    EnvironmentName, HostArguments, Parsed, Reference, SecretName, SessionName, Template,
    VolumeName,
};
use mse_shield::policy::is_shield_variable;
use mse_workload::image::IMAGE_KEY;
use mse_workload::launch::HEALTH;
use mse_workload::{Measured, Resources, SERVICE_FORMAT, ServiceWorkload, measurement};
use serde_json::{Map, Value, json};

use super::command::CommandLine;
use super::policies::{ACCESS_POLICY, Names, SECURITY_POLICY, import, planned, policy_secret};
use super::sessions::{PlannedSession, SessionRole};
use super::shield::Shield;
use super::{CompileError, DEFAULT_RESOURCES, MeshImage, PlannedService, Target, evidence};
use crate::model::{
    FileContent, Health, MeshService, Meshfile, Millicores, Probe, Seconds, ServiceName, Volume,
    VolumeSource,
};
use crate::template::ServiceTemplate;
use crate::text::{MeshText, UndefinedMeshVariable};
use crate::values::MeshValues;

/// The only image of a service's session.
const IMAGE: &str = "app_image";
/// The working directory where neither manifest nor image has one.
const ROOT: &str = "/";

/// A service whose texts have the values of the mesh.
pub(super) struct Compiled<'a> {
    pub(super) image: &'a MeshImage,
    pub(super) planned: PlannedService,
    /// What it listens on.
    pub(super) ports: BTreeMap<NonZeroU16, Speech>,
    /// The version before, if the image names one.
    pub(super) stable: Option<ServiceWorkload>,
    command: CommandLine,
    environment: Vec<(EnvironmentName, Zeroizing<String>)>,
    files: Vec<(String, Zeroizing<String>)>,
    volumes: Vec<&'a Volume>,
    /// What its texts refer to, and where they do first.
    pub(super) uses: Vec<(Reference, String)>,
}

impl<'a> Compiled<'a> {
    pub(super) fn of(
        mesh: &Meshfile,
        service: &MeshService,
        target: &Target<'a>,
        names: &Names,
    ) -> Result<Self, CompileError> {
        let name = &service.name;
        let image = target
            .images
            .get(name)
            .ok_or_else(|| CompileError::NoImage(name.clone()))?;
        let session = names.service(name.as_str())?;
        let undefined = |error: UndefinedMeshVariable| CompileError::Undefined {
            service: name.clone(),
            error,
        };
        let template = &image.template;
        let builtin = [
            ("namespace", names.namespace.as_str()),
            ("session", session.as_str()),
            ("service_name", name.as_str()),
            ("image_name", image.reference.as_str()),
            ("session_secrets", names.secrets.as_str()),
        ];
        let values = MeshValues::for_service(mesh, name, &template.environment, builtin)
            .map_err(undefined)?;
        let resolve = |text: &MeshText, place: String| {
            values
                .resolve(text)
                .map_err(|error| undefined(error.at(place)))
        };
        let command = CommandLine::of(name, &template.command, &values)?;
        let environment = values
            .environment(&template.environment)
            .map_err(undefined)?;
        let files = files(service, template)?
            .into_iter()
            .map(|(path, content)| {
                let content = resolve(content, format!("the content of `{path}`"))?;
                Ok((path.to_owned(), content))
            })
            .collect::<Result<Vec<_>, CompileError>>()?;
        let volumes = volumes(service, template)?;
        if mesh.services.iter().any(|one| one.connections.is_some())
            && let Some((variable, _)) = environment
                .iter()
                .find(|(variable, _)| is_shield_variable(variable.as_str()))
        {
            return Err(CompileError::Text {
                service: name.clone(),
                what: format!("`{variable}`"),
                why: "the mesh has `connections`, and the network shield follows them alone; leave the variable away".into(),
            });
        }
        let mut uses = Uses::of(name);
        for word in &command.meant {
            uses.add("the command", word)?;
        }
        for (variable, value) in &environment {
            uses.add(&format!("`{variable}`"), value)?;
        }
        for (path, content) in &files {
            uses.add(&format!("the content of `{path}`"), content)?;
        }
        let program = command.meant.first().map_or("", |word| word.as_str());
        let program = program.rsplit('/').next().unwrap_or_default();
        let program = program
            .parse()
            .map_err(|_| CompileError::NoCommand(name.clone()))?;
        check_key(name, image)?;
        let workload = |facts: &mse_workload::image::ImageFacts| ServiceWorkload {
            format: SERVICE_FORMAT,
            tree: facts.root,
            base: facts.base(),
            cas_key: target.cas_key,
            session: session.to_string(),
            service: word_of(&program),
            resources: resources(service),
        };
        let of_image = workload(&image.facts);
        let ports = ports(service, template);
        Ok(Self {
            stable: image.stable.as_ref().map(|stable| workload(&stable.facts)),
            planned: PlannedService {
                name: name.clone(),
                image: image.reference.clone(),
                enclave: image.facts.enclave,
                measurement: measurement::simulated(&image.facts.enclave, &of_image.digest()),
                workload: of_image,
                session,
                service: program,
                ports: ports.keys().copied().collect(),
                health: health(service, image),
                volumes: volumes.iter().map(|one| one.name.clone()).collect(),
                values,
            },
            ports,
            image,
            command,
            environment,
            files,
            volumes,
            uses: uses.found,
        })
    }

    pub(super) fn name(&self) -> &ServiceName {
        &self.planned.name
    }

    pub(super) fn session_name(&self) -> &SessionName {
        &self.planned.session
    }

    pub(super) fn into_planned(self) -> PlannedService {
        self.planned
    }

    /// What its image leaves unprotected.
    pub(super) fn warn(&self, warnings: &mut Vec<String>) {
        let name = self.name();
        for path in &self.image.facts.unmeasured {
            warnings.push(format!(
                "{name}: `{path}` is not protected: the host may change it"
            ));
        }
        if let Some(stable) = &self.image.stable {
            warnings.push(format!(
                "{name}: the version before is accepted, too: {}",
                stable.reference
            ));
            for path in &stable.facts.unmeasured {
                warnings.push(format!(
                    "{name}: in the version before, `{path}` is not protected"
                ));
            }
        }
    }

    /// The secrets of the mesh that its session has to import, in order.
    pub(super) fn imports(&self) -> BTreeSet<&SecretName> {
        let used = self.uses.iter();
        used.filter_map(|(reference, _)| reference.secret())
            .collect()
    }

    /// Its session.
    pub(super) fn session(
        &self,
        shield: &Shield,
        names: &Names,
    ) -> Result<PlannedSession, CompileError> {
        let (mut environment, mut files) = (Map::new(), Vec::new());
        for (variable, value) in &self.environment {
            environment.insert(variable.as_str().to_owned(), json!(value.as_str()));
        }
        for (path, content) in &self.files {
            files.push(json!({"path": path, "content": content.as_str(), "permission": "0o600"}));
        }
        let own: Vec<_> = self.imports().into_iter().cloned().collect();
        let mut secrets = vec![
            import(ACCESS_POLICY, &names.access, &policy_secret(ACCESS_POLICY)),
            import(
                SECURITY_POLICY,
                &names.security,
                &policy_secret(SECURITY_POLICY),
            ),
            import(
                evidence::ATTESTATION,
                &names.image(self.image.reference.name())?,
                &evidence::fragment_of(self.name()),
            ),
        ];
        // The enclave makes the check: what is behind the network shield answers nobody else.
        if let Some(probe) = &self.planned.health {
            environment.insert(HEALTH.to_owned(), json!(check_text(probe)));
        }
        let rules = shield.of_service(self.name());
        for (variable, value) in rules.environment {
            environment.insert(variable, json!(value));
        }
        for (path, content) in rules.files {
            files.push(json!({"path": path, "content": content, "permission": "0o600"}));
        }
        secrets.extend(self.command.secrets());
        for name in own.iter().chain(&rules.secrets) {
            secrets.push(import(name.as_str(), &names.secrets, name));
        }
        if let Some(key) = &self.image.key {
            secrets.push(json!({
                "name": IMAGE_KEY_SECRET, "kind": "binary", "value": key.to_hex().as_str(),
            }));
            files.push(json!({
                "path": IMAGE_KEY,
                "content": format!("$$MSE::{IMAGE_KEY_SECRET}:hex$$"),
                "permission": "0o600",
            }));
        }
        let (mounted, defined) = self.volumes()?;
        let mut image = json!({"name": IMAGE, "injection_files": files});
        if !mounted.is_empty() {
            image["volumes"] = Value::Array(mounted);
        }
        let Value::Object(mut body) = json!({
            "access_policy": format!("$$MSE::{ACCESS_POLICY}$$"),
            "security": format!("$$MSE::{SECURITY_POLICY}$$"),
            "services": [{
                "name": self.planned.service.as_str(),
                "image_name": IMAGE,
                "command": self.command.words(),
                "pwd": self.image.template.pwd.as_deref().unwrap_or(ROOT),
                "environment": environment,
                "attestation": [format!("$$MSE::{}$$", evidence::ATTESTATION)],
            }],
            "images": [image],
            "secrets": secrets,
        }) else {
            unreachable!("it is a map")
        };
        if !defined.is_empty() {
            body.insert("volumes".into(), Value::Array(defined));
        }
        Ok(planned(SessionRole::Service, &self.planned.session, body))
    }

    /// The volumes of the session's image, and those of the session.
    fn volumes(&self) -> Result<(Vec<Value>, Vec<Value>), CompileError> {
        let (mut mounted, mut defined) = (Vec::new(), Vec::new());
        for volume in &self.volumes {
            let name = volume.name.as_str();
            mounted.push(json!({"name": name, "path": volume.path}));
            let mut definition = json!({"name": name, "files": "encrypted"});
            let path = |session: &MeshText| {
                let values = &self.planned.values;
                let resolved = values.resolve(session).map(|text| text.to_string());
                resolved.map_err(|error| CompileError::Undefined {
                    service: self.name().clone(),
                    error: error.at(format!("the volume `{name}`")),
                })
            };
            match &volume.source {
                VolumeSource::Own(exports) if exports.is_empty() => {}
                VolumeSource::Own(exports) => {
                    let mut list = Vec::new();
                    for export in exports {
                        let mut to = json!({"session": path(&export.session)?});
                        if let Some(hash) = &export.session_hash {
                            to["session_hash"] = json!(hash.to_string());
                        }
                        let mut one =
                            json!({"to": to, "update_policy": export.update_policy.as_str()});
                        if let Some(alias) = &export.alias {
                            one["volume_alias"] = json!(alias.as_str());
                        }
                        list.push(one);
                    }
                    definition["export"] = Value::Array(list);
                }
                VolumeSource::Imported { session, volume } => {
                    definition = json!({
                        "name": name,
                        "import": {"session": path(session)?, "volume": volume.as_str()},
                    });
                }
            }
            defined.push(definition);
        }
        Ok((mounted, defined))
    }
}

/// The image key in the session of a service.
pub(super) const IMAGE_KEY_SECRET: &str = "image_key";

fn word_of(program: &mse_session::ServiceName) -> String {
    program.as_str().to_owned()
}

fn resources(service: &MeshService) -> Resources {
    let given = &service.resources;
    Resources {
        memory_mib: given.memory.map_or(DEFAULT_RESOURCES.memory_mib, |memory| {
            u32::try_from(memory.mebibytes()).unwrap_or(u32::MAX)
        }),
        millicores: given
            .cores
            .map_or(DEFAULT_RESOURCES.millicores, Millicores::get),
    }
}

/// The files of the image, and those of the Meshfile, which come first.
fn files<'t>(
    service: &'t MeshService,
    template: &'t ServiceTemplate,
) -> Result<Vec<(&'t str, &'t MeshText)>, CompileError> {
    let mut files: Vec<_> = template
        .injection_files
        .iter()
        .filter(|own| service.files.iter().all(|given| given.path != own.path))
        .map(|own| (own.path.as_str(), &own.content))
        .collect();
    for given in &service.files {
        let FileContent::Text(content) = &given.content else {
            return Err(CompileError::Text {
                service: service.name.clone(),
                what: format!("the file `{}`", given.path),
                why: "its content was not read".into(),
            });
        };
        files.push((&given.path, content));
    }
    Ok(files)
}

/// Those that are always there, and those that the Meshfile names.
fn volumes<'t>(
    service: &MeshService,
    template: &'t ServiceTemplate,
) -> Result<Vec<&'t Volume>, CompileError> {
    let has = |name: &VolumeName| template.volumes.iter().any(|own| own.name == *name);
    if let Some(unknown) = service.volumes.iter().find(|given| !has(&given.name)) {
        return Err(CompileError::Text {
            service: service.name.clone(),
            what: format!("the volume `{}`", unknown.name),
            why: match template.volumes.first() {
                Some(own) => format!("its image has none of that name; it has `{}`", own.name),
                None => "its image has no volume".into(),
            },
        });
    }
    let is_named = |own: &Volume| service.volumes.iter().any(|given| given.name == own.name);
    let own = template.volumes.iter();
    Ok(own.filter(|own| !own.optional || is_named(own)).collect())
}

/// What a program speaks at a port, by the port's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// It is not said to be TLS.
    Plain,
    /// TLS: the port is called `https` or `tls…`.
    Tls,
}

/// What a service listens on, by its manifest and by the Meshfile.
fn ports(service: &MeshService, template: &ServiceTemplate) -> BTreeMap<NonZeroU16, Speech> {
    let listens = template.listen.iter();
    let listens = listens.map(|one| (one.port, one.name.as_deref()));
    let opened = service
        .ports
        .iter()
        .map(|one| (one.target.unwrap_or(one.port), one.name.as_deref()));
    let mut ports = BTreeMap::new();
    for (port, name) in listens.chain(opened) {
        // One name is enough.
        if name.is_some_and(|name| name == "https" || name.starts_with("tls")) {
            ports.insert(port, Speech::Tls);
        } else {
            ports.entry(port).or_insert(Speech::Plain);
        }
    }
    ports
}

fn health(service: &MeshService, image: &MeshImage) -> Option<Probe> {
    let of_image = || image.template.health.clone().map(Probe::from);
    service.health.clone().or_else(of_image)
}

/// As the enclave reads it.
fn check_text(probe: &Probe) -> String {
    let sign = match &probe.check {
        Health::Http { path, port } => format!("http:{port}{path}"),
        Health::Tcp { port } => format!("tcp:{port}"),
    };
    let seconds = |name: &str, time: Option<Seconds>| {
        let seconds = time.map(Seconds::get);
        seconds.map(|seconds| format!("{name}={seconds}s"))
    };
    let pace = [
        seconds("period", probe.period),
        seconds("timeout", probe.timeout),
        probe
            .failures
            .map(|failures| format!("failures={failures}")),
    ];
    let words: Vec<_> = [sign]
        .into_iter()
        .chain(pace.into_iter().flatten())
        .collect();
    words.join(" ")
}

/// An encrypted image has its key, and no other has one.
fn check_key(name: &ServiceName, image: &MeshImage) -> Result<(), CompileError> {
    match (&image.facts.sealed, &image.key) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(CompileError::NoImageKey(name.clone())),
        (Some(sealed), Some(key)) if key.check_value() == sealed.key_check => Ok(()),
        (Some(_), Some(_)) => Err(CompileError::OtherImageKey(name.clone())),
    }
}

/// Collects what texts refer to.
struct Uses<'a> {
    service: &'a ServiceName,
    found: Vec<(Reference, String)>,
}

impl<'a> Uses<'a> {
    fn of(service: &'a ServiceName) -> Self {
        Self {
            service,
            found: Vec::new(),
        }
    }

    fn add(&mut self, place: &str, text: &str) -> Result<(), CompileError> {
        let parsed = Template::parse(text, HostArguments::Literal);
        let Parsed { template, .. } = parsed.map_err(|error| CompileError::Text {
            service: self.service.clone(),
            what: place.to_owned(),
            why: error.to_string(),
        })?;
        for reference in template.references() {
            if self.found.iter().all(|(known, _)| known != reference) {
                self.found.push((reference.clone(), place.to_owned()));
            }
        }
        Ok(())
    }
}
