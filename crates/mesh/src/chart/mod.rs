//! A Helm chart that runs a compiled mesh on Kubernetes.
//!
//! ```text
//! Chart.yaml  values.yaml  values.schema.json
//! templates/_helpers.tpl  templates/NOTES.txt
//! charts/<service>/Chart.yaml, values.yaml, values.schema.json, templates/*.yaml
//! ```
//!
//! The templates are the same files for every mesh and service ([`templates`]); what is different is
//! in the values. Everything in a chart is public: a pod is told which session to ask for, and where,
//! and nothing of what the CAS will say.
//!
//! | module | what |
//! | --- | --- |
//! | [`service`] | the values of a service's chart |
//! | [`ports`] | under which ports it is reached |
//! | [`network`] | who may connect to whom |
//! | [`probes`] | how it is looked at |
//! | [`global`] | the values that all services share |
//! | [`extra`] | values that the Meshfile adds |
//! | [`schema`] | what values may be |
//! | [`manifests`] | the objects themselves, without Helm |
//! | [`templates`] | the files that are always the same |

mod error;
mod extra;
mod global;
mod manifests;
mod network;
mod ports;
mod probes;
mod schema;
mod service;
mod templates;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

pub use self::error::ChartError;
use self::extra::Extra;
use self::service::ServiceChart;
use crate::compile::{MeshImage, PlannedService};
use crate::model::{Meshfile, ServiceName};

/// The version of all charts: what they hold is known by the digests in them.
const VERSION: &str = "0.1.0";

/// A mesh that is to be installed.
pub struct Installation<'a> {
    /// What is installed.
    pub mesh: &'a Meshfile,
    /// As it was compiled.
    pub services: &'a [PlannedService],
    /// The images, by the services that run them.
    pub images: &'a BTreeMap<ServiceName, MeshImage>,
    /// `host:port` of the CAS, as far as the mesh builder knows it.
    pub cas: &'a str,
    /// The name of the mesh: the chart's.
    pub name: &'a str,
    /// Whether services may run on the simulated TEE, which proves nothing. It is the default then;
    /// of any other mesh it is no possible value.
    pub simulated: bool,
}

/// The files of a chart.
#[derive(Debug, PartialEq, Eq)]
pub struct Chart {
    /// In the order of their paths.
    pub files: Vec<ChartFile>,
    /// What of the Meshfile has no effect.
    pub warnings: Vec<String>,
}

/// A file of a chart.
#[derive(Debug, PartialEq, Eq)]
pub struct ChartFile {
    /// Relative to the chart's folder: `charts/web/values.yaml`.
    pub path: String,
    /// UTF-8.
    pub content: Vec<u8>,
}

impl Chart {
    /// The chart of `installation`. The same input gives the same bytes.
    pub fn of(installation: &Installation<'_>) -> Result<Self, ChartError> {
        if !is_release(installation.name) {
            return Err(ChartError::Release(installation.name.to_owned()));
        }
        let mut warnings = Vec::new();
        let extra = Extra::of(installation.mesh, &mut warnings);
        let services = ServiceChart::all(installation, &mut warnings)?;
        let mut files = umbrella(installation, &services, &extra)?;
        for service in &services {
            files.extend(of_service(installation, service)?);
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Self { files, warnings })
    }
}

/// The objects that Helm makes of the chart if it is given no other values, for `kubectl apply`: one
/// file for each service. They belong to the installation that has the mesh's name.
pub fn manifests(installation: &Installation<'_>) -> Result<Vec<ChartFile>, ChartError> {
    // The chart says what has no effect.
    let mut unsaid = Vec::new();
    let extra = Extra::of(installation.mesh, &mut unsaid);
    let global = extra.over(extra::GLOBAL, global::values(installation));
    let mut files = Vec::new();
    for service in ServiceChart::all(installation, &mut unsaid)? {
        let values = extra.over(&service.name, service.values);
        let objects = manifests::Service {
            name: &service.name,
            release: installation.name,
            global: &global,
            values: &values,
        };
        let mut content = String::new();
        for object in objects.objects()? {
            content.push_str("---\n");
            content.push_str(&document(&object)?);
        }
        files.push(text(&format!("{}.yaml", service.name), &content));
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn umbrella(
    installation: &Installation<'_>,
    services: &[ServiceChart],
    extra: &Extra,
) -> Result<Vec<ChartFile>, ChartError> {
    let dependencies: Vec<_> = services
        .iter()
        .map(|one| json!({"name": one.name, "version": VERSION, "repository": ""}))
        .collect();
    let about = json!({
        "apiVersion": "v2",
        "name": installation.name,
        "description": format!("The confidential mesh {}", installation.mesh.policy.namespace),
        "type": "application",
        "version": VERSION,
        "dependencies": dependencies,
    });
    let mut values = Map::new();
    let global = extra.over(extra::GLOBAL, global::values(installation));
    values.insert(extra::GLOBAL.to_owned(), global);
    for service in services {
        values.insert(service.name.clone(), extra.of_service(&service.name));
    }
    let labels: Vec<_> = services.iter().map(|one| one.name.as_str()).collect();
    Ok(vec![
        yaml("Chart.yaml", "", &about)?,
        yaml("values.yaml", templates::VALUES, &values)?,
        json_file(
            "values.schema.json",
            &schema::umbrella(&labels, installation.simulated),
        ),
        text("templates/_helpers.tpl", templates::HELPERS),
        text("templates/NOTES.txt", templates::NOTES),
    ])
}

fn of_service(
    installation: &Installation<'_>,
    service: &ServiceChart,
) -> Result<Vec<ChartFile>, ChartError> {
    let folder = format!("charts/{}", service.name);
    let at = |file: &str| format!("{folder}/{file}");
    let about = json!({
        "apiVersion": "v2",
        "name": service.name,
        "description": format!("The service {} of the mesh {}", service.name, installation.name),
        "type": "application",
        "version": VERSION,
    });
    let schema = schema::service(&service.workload, installation.simulated);
    let mut files = vec![
        yaml(&at("Chart.yaml"), "", &about)?,
        yaml(
            &at("values.yaml"),
            templates::SERVICE_VALUES,
            &service.values,
        )?,
        json_file(&at("values.schema.json"), &schema),
    ];
    for (name, content) in templates::SERVICE {
        files.push(text(&at(&format!("templates/{name}")), content));
    }
    Ok(files)
}

fn yaml(path: &str, comment: &str, value: &impl Serialize) -> Result<ChartFile, ChartError> {
    Ok(text(path, &format!("{comment}{}", document(value)?)))
}

fn document(value: &impl Serialize) -> Result<String, ChartError> {
    // Digests are longer than a line, and would be folded.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    Ok(serde_saphyr::to_string_with_options(value, options)?)
}

fn json_file(path: &str, value: &Value) -> ChartFile {
    text(path, &format!("{value:#}\n"))
}

fn text(path: &str, content: &str) -> ChartFile {
    ChartFile {
        path: path.to_owned(),
        content: content.as_bytes().to_vec(),
    }
}

/// What Helm takes as the name of a release: ours is also the chart's.
fn is_release(name: &str) -> bool {
    name.len() <= 53 && is_label(name)
}

/// A name that all objects of Kubernetes may have.
fn is_label(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests;
