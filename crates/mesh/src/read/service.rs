//! `services` of a Meshfile.

use std::collections::BTreeMap;

use mse_yaml::{Code, Field, Fields, optional, or_default};

use super::connection::connection;
use super::{Reader, build, helm, line, list, parsed, path_below_root, ports, texts, word_of};
use crate::curated::Curated;
use crate::model::{
    FileContent, ImageReference, ImageSource, MeshFile, MeshService, MeshVolume, Resources, Scope,
    ServiceName, ServicePort, scope,
};

pub(super) fn service(r: &mut Reader, field: &Field<'_>) -> Option<MeshService> {
    let mut fields = field.map(r)?;
    let image = image(r, &mut fields, field);
    let name = name(r, &mut fields, field, image.as_ref());
    let image_policy = line(r, fields.get("image_policy"));
    let image_secrets = line(r, fields.get("image_secrets"));
    let env = line(r, fields.get("env"));
    let helm_chart = line(r, fields.get("helm_chart"));
    let helm_extra_values = or_default(fields.get("helm_extra_values"), |field| {
        helm::values(r, &field)
    });
    let replicas = optional(fields.get("replicas"), |field| {
        let replicas = field.number::<u32>(r)?;
        if replicas > 10_000 {
            r.bad_value(&field.spot, "at most 10000 replicas", "write fewer");
            return None;
        }
        Some(replicas)
    });
    let resources = or_default(fields.get("resources"), |field| resources(r, &field));
    let node_selector = or_default(fields.get("node_selector"), |field| labels(r, &field));
    let after = list(r, fields.get("after"), |r, field| {
        field.parse(r, Code::BadName)
    });
    let health = optional(fields.get("health"), |field| ports::probe(r, &field));
    let ports_field = fields.get("ports");
    let ports = list(r, ports_field.clone(), port);
    let files_field = fields.get("files");
    let files = list(r, files_field.clone(), file);
    let volumes_field = fields.get("volumes");
    let volumes = list(r, volumes_field.clone(), volume);
    let connections = optional(fields.get("connections"), |field| {
        list(r, Some(field), connection)
    });
    fields.finish(r);
    if let (Some(ports), Some(field)) = (&ports, ports_field) {
        let spots: Vec<_> = field.items(r).into_iter().map(|item| item.spot).collect();
        let numbers: Vec<_> = ports.iter().map(|port| port.port.to_string()).collect();
        r.unique("port", numbers.iter().map(String::as_str).zip(&spots));
    }
    if let (Some(files), Some(field)) = (&files, files_field) {
        let spots: Vec<_> = field.items(r).into_iter().map(|item| item.spot).collect();
        let paths = files.iter().map(|file| file.path.as_str());
        r.unique("file", paths.zip(&spots));
    }
    if let (Some(volumes), Some(field)) = (&volumes, volumes_field) {
        let spots: Vec<_> = field.items(r).into_iter().map(|item| item.spot).collect();
        let names = volumes.iter().map(|volume| volume.name.as_str());
        r.unique("volume", names.zip(&spots));
    }
    Some(MeshService {
        name: name?,
        image: image?,
        image_policy: image_policy?,
        image_secrets: image_secrets?,
        env: env?,
        helm_chart: helm_chart?,
        helm_extra_values: helm_extra_values?,
        replicas: replicas?,
        resources: resources?,
        node_selector: node_selector?,
        after: after?,
        health: health?,
        ports: ports?,
        files: files?,
        volumes: volumes?,
        connections: connections?,
    })
}

/// An image that exists, or a curated one.
fn image(r: &mut Reader, fields: &mut Fields<'_>, whole: &Field<'_>) -> Option<ImageSource> {
    let Some(curated) = fields.get("curated") else {
        if !fields.has("image") {
            r.report.error_with(
                Code::MissingKey,
                &whole.spot,
                "a service needs an image",
                "add `image: registry.example/app:1`, or `curated: redis` for one that comes with MSE",
            );
            return None;
        }
        let image = fields
            .get("image")?
            .parse::<ImageReference>(r, Code::BadValue);
        return image.map(ImageSource::Reference);
    };
    let text = curated.text(r)?;
    let known = Curated::ALL.map(Curated::as_str);
    let found = word_of(r, &curated.spot, text, "curated service", &known, |text| {
        Curated::from_word(text)
    });
    if let Some(image) = fields.get("image") {
        r.conflict(
            &image.spot,
            "`curated` says which image it is, too",
            "remove `image` or `curated`",
        );
        return None;
    }
    found.map(ImageSource::Curated)
}

/// `{path: /etc/app.conf, content: …}` or `{path: /etc/app.conf, from: app.conf}`.
fn file(r: &mut Reader, field: &Field<'_>) -> Option<MeshFile> {
    let mut fields = field.map(r)?;
    let path = fields
        .require(r, "path")
        .and_then(|field| path_below_root(r, &field));
    let content = match (fields.get("content"), fields.get("from")) {
        (Some(content), None) => texts::text(r, &content).map(FileContent::Text),
        (None, Some(from)) => build::relative_path(r, &from).map(FileContent::From),
        _ => {
            r.conflict(
                &field.spot,
                "a file has one content",
                "write `content: TEXT`, or `from: FILE` with a file beside the Meshfile",
            );
            None
        }
    };
    fields.finish(r);
    Some(MeshFile {
        path: path?,
        content: content?,
    })
}

/// The name that is said, else that of the image.
fn name(
    r: &mut Reader,
    fields: &mut Fields<'_>,
    whole: &Field<'_>,
    image: Option<&ImageSource>,
) -> Option<ServiceName> {
    let given = fields.get("name");
    let (text, at) = match &given {
        Some(field) => (field.text(r)?, field),
        None => match image? {
            ImageSource::Reference(image) => (image.short_name(), whole),
            ImageSource::Curated(curated) => (curated.as_str(), whole),
        },
    };
    match at.or_report(r, Code::BadName, scope(text))? {
        Scope::Service(name) => Some(name),
        Scope::Global | Scope::Helm => {
            let message = format!("`{text}` stands for all services in `env`");
            r.report
                .error_with(Code::BadName, &at.spot, message, "choose another name");
            None
        }
    }
}

fn resources(r: &mut Reader, field: &Field<'_>) -> Option<Resources> {
    let mut fields = field.map(r)?;
    let memory = parsed(r, fields.get("memory"), Code::BadValue);
    let cores = parsed(r, fields.get("cores"), Code::BadValue);
    fields.finish(r);
    Some(Resources {
        memory: memory?,
        cores: cores?,
    })
}

/// Labels of Kubernetes, as far as they are checked here: texts on one line.
fn labels(r: &mut Reader, field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let fields = field.map(r)?;
    let entries: Vec<_> = fields
        .all()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let read: Vec<_> = entries
        .into_iter()
        .map(|(key, value)| {
            if key.is_empty()
                || key.len() > 317
                || key.contains(|c: char| c.is_control() || c == ' ')
            {
                let message = "a label is a name such as `disk` or `example.com/disk`";
                r.report.error(Code::BadName, &value.spot, message);
                return None;
            }
            Some((key, value.line(r, 63)?))
        })
        .collect();
    read.into_iter().collect()
}

/// `443`, or `{port: 443, target: 8443, name: https}`.
fn port(r: &mut Reader, field: &Field<'_>) -> Option<ServicePort> {
    if !field.is_map() {
        return Some(ServicePort {
            port: ports::number(r, field)?,
            target: None,
            name: None,
        });
    }
    let mut fields = field.map(r)?;
    let port = fields
        .require(r, "port")
        .and_then(|field| ports::number(r, &field));
    let target = optional(fields.get("target"), |field| ports::number(r, &field));
    let name = optional(fields.get("name"), |field| ports::name(r, &field));
    fields.finish(r);
    let port = port?;
    Some(ServicePort {
        port,
        target: target?.filter(|target| *target != port),
        name: name?,
    })
}

fn volume(r: &mut Reader, field: &Field<'_>) -> Option<MeshVolume> {
    let mut fields = field.map(r)?;
    let name = fields
        .require(r, "name")
        .and_then(|field| field.parse(r, Code::BadName));
    let size = parsed(r, fields.get("size"), Code::BadValue);
    let storage_class = optional(fields.get("storage_class"), |field| field.line(r, 253));
    fields.finish(r);
    Some(MeshVolume {
        name: name?,
        size: size?,
        storage_class: storage_class?,
    })
}
