//! The sessions of images: which measurements their services must have.

use std::collections::BTreeMap;

use mse_session::SecretName;
use mse_workload::{EnclaveDigest, Measured, Measurement, ServiceWorkload, measurement};
use serde_json::{Map, Value, json};

use super::policies::{Names, guard, planned};
use super::service::Compiled;
use super::sessions::{PlannedSession, SessionRole};
use super::{CompileError, Target};
use crate::model::{Machine, Meshfile, ServiceName};

/// Where services may run.
#[derive(Clone, Copy)]
pub(super) enum Tees<'a> {
    /// On the simulated TEE, which proves nothing.
    Simulated,
    /// In these confidential virtual machines.
    Machines(&'a [Machine]),
}

impl<'a> Tees<'a> {
    pub(super) fn of(mesh: &'a Meshfile, target: &Target<'_>) -> Result<Self, CompileError> {
        match mesh.policy.machines.as_slice() {
            _ if target.simulated => Ok(Self::Simulated),
            [] => Err(CompileError::NoMachine),
            machines => Ok(Self::Machines(machines)),
        }
    }
}

/// The secret of a service's session that holds its measurements.
pub(super) const ATTESTATION: &str = "attestation_service";

/// The secret of the image's session that holds those of a service.
pub(super) fn fragment_of(service: &ServiceName) -> SecretName {
    let name = format!("{service}.measurements");
    name.parse()
        .expect("a service's name has the characters of a secret's, and at most 63")
}

/// One session for each image; in it, the measurements of each service that runs the image, given
/// to that service's session only.
pub(super) fn sessions(
    services: &[Compiled<'_>],
    tees: Tees<'_>,
    names: &Names,
) -> Result<Vec<PlannedSession>, CompileError> {
    let mut by_image: BTreeMap<&str, Vec<&Compiled<'_>>> = BTreeMap::new();
    for service in services {
        let image = service.image.reference.name();
        by_image.entry(image).or_default().push(service);
    }
    by_image
        .into_iter()
        .map(|(image, services)| {
            let mut secrets = vec![json!({
                "name": "image_latest",
                "kind": "ascii",
                "value": services[0].image.reference.as_str(),
                "export_public": true,
            })];
            if let Some(stable) = &services[0].image.stable {
                secrets.push(json!({
                    "name": "image_stable",
                    "kind": "ascii",
                    "value": stable.reference.as_str(),
                    "export_public": true,
                }));
            }
            secrets.extend(services.iter().map(|service| {
                json!({
                    "name": fragment_of(service.name()).as_str(),
                    "kind": "config-fragment",
                    "value": entries(service, tees),
                    "export": [{"session": service.session_name().as_str()}],
                })
            }));
            let mut body = Map::new();
            body.insert("secrets".into(), Value::Array(secrets));
            guard(&mut body, names);
            Ok(planned(SessionRole::Image, &names.image(image)?, body))
        })
        .collect()
}

/// One for each version that may run, on each TEE that may run it.
fn entries(service: &Compiled<'_>, tees: Tees<'_>) -> Vec<Value> {
    let now = (&service.planned.workload, service.image.facts.enclave);
    let before = service
        .stable
        .as_ref()
        .zip(service.image.stable.as_ref())
        .map(|(workload, stable)| (workload, stable.facts.enclave));
    [Some(now), before]
        .into_iter()
        .flatten()
        .flat_map(|(workload, enclave)| entries_of(workload, enclave, tees))
        .collect()
}

fn entries_of(workload: &ServiceWorkload, enclave: EnclaveDigest, tees: Tees<'_>) -> Vec<Value> {
    let digest = workload.digest();
    match tees {
        Tees::Simulated => {
            let Measurement(measured) = measurement::simulated(&enclave, &digest);
            vec![json!({"mrenclave": measured.to_string(), "simulated": true})]
        }
        Tees::Machines(machines) => machines
            .iter()
            .map(|machine| in_machine(machine, &digest.to_string()))
            .collect(),
    }
}

/// The digest alone says nothing: whoever starts a machine chooses it.
fn in_machine(machine: &Machine, workload: &str) -> Value {
    let mut rule = Map::new();
    rule.insert("workload".into(), workload.into());
    rule.insert("tee".into(), machine.tee().as_str().into());
    for (key, measured) in machine.measured() {
        rule.insert(key.into(), measured.to_string().into());
    }
    Value::Object(rule)
}
