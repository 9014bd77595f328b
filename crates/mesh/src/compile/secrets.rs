//! The session with the secrets of all services.

use std::collections::{BTreeMap, BTreeSet};

use mse_session::{HostArguments, SecretName, SessionName, Template};
use serde_json::{Map, Value, json};

use super::policies::{ACCESS_POLICY, Names, SECURITY_POLICY, guard, planned};
use super::service::{Compiled, IMAGE_KEY_SECRET};
use super::sessions::{PlannedSession, SessionRole};
use super::shield::{self, Shield};
use super::{CompileError, evidence};
use crate::model::SecretDefinition;

/// What the sessions of services call their own imports.
const RESERVED: [&str; 4] = [
    ACCESS_POLICY,
    SECURITY_POLICY,
    evidence::ATTESTATION,
    IMAGE_KEY_SECRET,
];

/// Checks who defines, imports and uses what, and gives the session: each secret is exported to
/// those that use it, and to nobody else. None if there is no secret.
pub(super) fn session(
    services: &[Compiled<'_>],
    shield: &Shield,
    names: &Names,
) -> Result<Option<PlannedSession>, CompileError> {
    let defined = definitions(services)?;
    let mut takers = takers(services, &defined)?;
    let mut secrets = Vec::new();
    for (name, definition) in &defined {
        let values = &definition.by.planned.values;
        let lookup = |variable: &str| values.get(variable);
        let secret = definition.what.to_session(lookup);
        let mut secret = secret.map_err(|error| CompileError::Undefined {
            service: definition.by.name().clone(),
            error,
        })?;
        check_definition(definition, &secret, &defined)?;
        if let Some(takers) = takers.remove(name) {
            secret["export"] = exports(takers);
        }
        secrets.push(secret);
    }
    secrets.extend(shield.secrets());
    if secrets.is_empty() {
        return Ok(None);
    }
    let mut body = Map::new();
    body.insert("secrets".into(), Value::Array(secrets));
    guard(&mut body, names);
    Ok(Some(planned(SessionRole::Secrets, &names.secrets, body)))
}

/// To these sessions.
pub(super) fn exports<'a>(takers: impl IntoIterator<Item = &'a SessionName>) -> Value {
    let takers = takers.into_iter();
    takers
        .map(|session| json!({"session": session.as_str()}))
        .collect()
}

/// A secret, and which service defines it.
struct Defined<'a> {
    what: &'a SecretDefinition,
    by: &'a Compiled<'a>,
}

fn definitions<'a>(
    services: &'a [Compiled<'_>],
) -> Result<BTreeMap<&'a SecretName, Defined<'a>>, CompileError> {
    let mut defined: BTreeMap<&SecretName, Defined<'_>> = BTreeMap::new();
    for by in services {
        for what in &by.image.template.secrets.global {
            let name = what.name.as_str();
            if RESERVED.contains(&name) || name.starts_with(shield::PREFIX) {
                return Err(CompileError::Reserved {
                    service: by.name().clone(),
                    secret: what.name.clone(),
                });
            }
            match defined.get(&what.name) {
                // Several services may run one image.
                Some(other) if other.what != what => {
                    return Err(CompileError::DefinedTwice {
                        secret: what.name.clone(),
                        first: other.by.name().clone(),
                        second: by.name().clone(),
                    });
                }
                Some(_) => {}
                None => {
                    defined.insert(&what.name, Defined { what, by });
                }
            }
        }
    }
    Ok(defined)
}

/// A definition refers to what its service defines or imports, and to nothing else: all of them
/// stand in one session, beside those of the other services and the mesh's own.
fn check_definition(
    definition: &Defined<'_>,
    resolved: &Value,
    defined: &BTreeMap<&SecretName, Defined<'_>>,
) -> Result<(), CompileError> {
    let Defined { what, by } = definition;
    let place = format!("the secret `{}`", what.name);
    let mut used: Vec<SecretName> = [&what.parameters.private_key, &what.parameters.issuer]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    for text in texts(resolved) {
        let parsed = Template::parse(text, HostArguments::Literal);
        let parsed = parsed.map_err(|error| CompileError::Text {
            service: by.name().clone(),
            what: place.clone(),
            why: error.to_string(),
        })?;
        let references = parsed.template.references();
        used.extend(references.filter_map(|reference| reference.secret().cloned()));
    }
    for secret in used {
        if !knows(by, &secret) || !defined.contains_key(&secret) {
            return Err(CompileError::NotImported {
                service: by.name().clone(),
                place,
                secret,
            });
        }
    }
    Ok(())
}

/// Whether a service defines or imports a secret.
fn knows(service: &Compiled<'_>, secret: &SecretName) -> bool {
    let known = &service.image.template.secrets;
    known.global.iter().any(|own| own.name == *secret) || known.import.contains(secret)
}

/// All texts of a value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(entries) => entries.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The sessions that use each secret.
fn takers<'a>(
    services: &'a [Compiled<'_>],
    defined: &BTreeMap<&'a SecretName, Defined<'a>>,
) -> Result<BTreeMap<&'a SecretName, BTreeSet<&'a SessionName>>, CompileError> {
    let mut takers: BTreeMap<&SecretName, BTreeSet<&SessionName>> = BTreeMap::new();
    for service in services {
        for name in &service.image.template.secrets.import {
            if !defined.contains_key(name) {
                let names: Vec<_> = defined.keys().map(|name| name.as_str()).collect();
                return Err(CompileError::NotDefined {
                    service: service.name().clone(),
                    secret: name.clone(),
                    near: mse_yaml::did_you_mean(name.as_str(), &names),
                });
            }
        }
        for (reference, place) in &service.uses {
            let Some(name) = reference.secret() else {
                continue;
            };
            let found = defined.get_key_value(name);
            let Some((name, definition)) = found.filter(|_| knows(service, name)) else {
                return Err(CompileError::NotImported {
                    service: service.name().clone(),
                    place: place.clone(),
                    secret: name.clone(),
                });
            };
            let session = service.session_name();
            takers.entry(name).or_default().insert(session);
            // Whoever gets a certificate's key gets it by the certificate.
            let key = definition.what.parameters.private_key.as_ref();
            if let Some((key, _)) = key.and_then(|key| defined.get_key_value(key))
                && shows_key(reference.suffix())
            {
                takers.entry(key).or_default().insert(session);
            }
        }
    }
    Ok(takers)
}

/// Whether a form of a certificate has its private key in it.
fn shows_key(suffix: &str) -> bool {
    suffix == ".key" || suffix.contains("privatekey") || suffix.contains("private-key")
}
