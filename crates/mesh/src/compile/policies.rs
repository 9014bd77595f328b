//! Names, the namespace, and the policies that all other sessions import.

use std::collections::BTreeSet;

use mse_session::{SecretName, SessionName, Terms};
use serde_json::{Map, Value, json};

use super::sessions::{PlannedSession, SessionRole};
use super::{CompileError, Ownership};
use crate::model::{Advisories, Meshfile, Policy};

/// The secret in the session of the access policy.
pub(super) const ACCESS_POLICY: &str = "access_policy";
/// The secret in the session of the security policy.
pub(super) const SECURITY_POLICY: &str = "security_policy";

/// The sessions of a mesh, by name.
pub(super) struct Names {
    pub(super) namespace: SessionName,
    /// Where images have theirs.
    pub(super) images: SessionName,
    pub(super) access: SessionName,
    pub(super) security: SessionName,
    pub(super) secrets: SessionName,
}

impl Names {
    pub(super) fn of(mesh: &Meshfile) -> Result<Self, CompileError> {
        let policy = &mesh.policy;
        let namespace = &policy.namespace;
        if namespace.as_str() == "/" {
            return Err(CompileError::Name {
                name: "/".into(),
                why: "`policy.namespace` is the root; name one of your own".into(),
            });
        }
        if policy.maa.is_some() {
            return Err(CompileError::NotServed {
                field: "policy.maa",
                why: "the CAS appraises evidence itself",
            });
        }
        if policy.attestation_policy_name.is_some() {
            return Err(CompileError::NotServed {
                field: "policy.attestation_policy_name",
                why: "measurements name the session that they are for, so they are computed for each mesh; leave it away",
            });
        }
        let own = |given: &Option<SessionName>, last: &str| match given {
            Some(given) => Ok(given.clone()),
            None => below(namespace, last),
        };
        let names = Self {
            images: policy
                .image_policy_namespace
                .clone()
                .unwrap_or_else(|| namespace.clone()),
            access: own(&policy.access_policy_name, "access")?,
            security: own(&policy.security_policy_name, "security")?,
            secrets: below(namespace, "secrets")?,
            namespace: namespace.clone(),
        };
        for service in &mesh.services {
            let name = names.service(service.name.as_str())?;
            for (taken, what) in [
                (&names.access, "the access policy"),
                (&names.security, "the security policy"),
                (&names.secrets, "the secrets of the mesh"),
            ] {
                if name == *taken {
                    return Err(CompileError::Collision {
                        name: name.to_string(),
                        first: what.into(),
                        second: format!("the service `{}`", service.name),
                    });
                }
            }
        }
        Ok(names)
    }

    /// The session of a service.
    pub(super) fn service(&self, service: &str) -> Result<SessionName, CompileError> {
        below(&self.namespace, service)
    }

    /// The session of an image, by registry and repository.
    pub(super) fn image(&self, image: &str) -> Result<SessionName, CompileError> {
        let word: String = image
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        below(&self.images, &format!("image-{word}"))
    }
}

fn below(namespace: &SessionName, last: &str) -> Result<SessionName, CompileError> {
    let name = format!("{namespace}/{last}");
    name.parse()
        .map_err(|error: mse_session::InvalidName| CompileError::Name {
            name,
            why: error.to_string(),
        })
}

/// The namespaces, from the outermost, and the two policies if the Meshfile names no others.
pub(super) fn sessions(
    mesh: &Meshfile,
    names: &Names,
    owner: &Ownership,
    warnings: &mut Vec<String>,
) -> Result<Vec<PlannedSession>, CompileError> {
    let mut sessions = namespaces(&names.namespace, owner)?;
    if names.images != names.namespace {
        for session in namespaces(&names.images, owner)? {
            if sessions.iter().all(|other| other.name != session.name) {
                sessions.push(session);
            }
        }
    }
    if mesh.policy.access_policy_name.is_none() {
        let rules = rules(owner, "NONE");
        let mut body = fragment(ACCESS_POLICY, &rules, names);
        body.insert("access_policy".into(), rules);
        sessions.push(planned(SessionRole::Access, &names.access, body));
    }
    if mesh.policy.security_policy_name.is_none() {
        let mut body = fragment(SECURITY_POLICY, &security(&mesh.policy, warnings)?, names);
        guard(&mut body, names);
        sessions.push(planned(SessionRole::Security, &names.security, body));
    }
    Ok(sessions)
}

pub(super) fn planned(
    role: SessionRole,
    name: &SessionName,
    body: Map<String, Value>,
) -> PlannedSession {
    PlannedSession {
        role,
        name: name.clone(),
        body,
    }
}

/// Who may read and change a session, and who may create others in it.
fn rules(owner: &Ownership, creators: &str) -> Value {
    let reader = match owner {
        Ownership::Sender | Ownership::Holder(_) => "CREATOR".to_owned(),
        Ownership::Signer { reader, .. } => reader.to_string(),
    };
    json!({"read": [reader], "update": ["CREATOR"], "create_sessions": [creators]})
}

fn namespaces(
    innermost: &SessionName,
    owner: &Ownership,
) -> Result<Vec<PlannedSession>, CompileError> {
    let text = innermost.as_str();
    let ends = text.match_indices('/').map(|(at, _)| at);
    ends.chain([text.len()])
        .map(|end| {
            let name: SessionName =
                text[..end]
                    .parse()
                    .map_err(|error: mse_session::InvalidName| CompileError::Name {
                        name: text[..end].to_owned(),
                        why: error.to_string(),
                    })?;
            let body = Map::from_iter([("access_policy".to_owned(), rules(owner, "CREATOR"))]);
            Ok(planned(SessionRole::Namespace, &name, body))
        })
        .collect()
}

/// A session with one config-fragment that all sessions of the mesh may import.
fn fragment(name: &str, value: &Value, names: &Names) -> Map<String, Value> {
    let namespaces = BTreeSet::from([names.namespace.as_str(), names.images.as_str()]);
    let export: Vec<_> = namespaces
        .into_iter()
        .map(|namespace| json!({"namespace": namespace}))
        .collect();
    let mut body = Map::new();
    body.insert(
        "secrets".into(),
        json!([{
            "name": name,
            "kind": "config-fragment",
            "value": value,
            "export": export,
        }]),
    );
    body
}

/// What attestation of the services tolerates.
fn security(policy: &Policy, warnings: &mut Vec<String>) -> Result<Value, CompileError> {
    let mut attestation = Map::new();
    attestation.insert("mode".into(), json!("hardware"));
    let mut tolerated = Vec::new();
    for one in &policy.tolerate {
        let what = one.what.as_str();
        if one.what.is_dangerous() {
            if one.terms.is_none() {
                return Err(CompileError::TermsMissing {
                    field: "tolerate",
                    what: what.to_owned(),
                });
            }
            warnings.push(format!("policy.tolerate: `{what}` is dangerous"));
        }
        tolerated.push(Terms::written("what", what, one.terms.as_ref()));
    }
    if !tolerated.is_empty() {
        attestation.insert("tolerate".into(), Value::Array(tolerated));
    }
    let advisories = match &policy.ignore_advisories {
        Advisories::All(None) => {
            return Err(CompileError::TermsMissing {
                field: "ignore_advisories",
                what: "*".into(),
            });
        }
        Advisories::All(terms) => {
            warnings.push(
                "policy.ignore_advisories: every known hole of the hardware is accepted".into(),
            );
            vec![Terms::written("id", "*", terms.as_ref())]
        }
        Advisories::Listed(all) => all
            .iter()
            .map(|one| Terms::written("id", &one.id, one.terms.as_ref()))
            .collect(),
    };
    if !advisories.is_empty() {
        attestation.insert("ignore_advisories".into(), Value::Array(advisories));
    }
    Ok(json!({"attestation": attestation}))
}

/// Has a session be read and changed by whom the access policy says.
pub(super) fn guard(body: &mut Map<String, Value>, names: &Names) {
    body.insert(
        "access_policy".into(),
        json!(format!("$$MSE::{ACCESS_POLICY}$$")),
    );
    let import = import(ACCESS_POLICY, &names.access, &policy_secret(ACCESS_POLICY));
    if let Some(Value::Array(secrets)) = body.get_mut("secrets") {
        secrets.push(import);
    }
}

/// The name of one of the two secrets of policies.
pub(super) fn policy_secret(name: &str) -> SecretName {
    name.parse().expect("a constant that is a name")
}

/// A secret that is another session's.
pub(super) fn import(name: &str, session: &SessionName, secret: &SecretName) -> Value {
    json!({
        "name": name,
        "import": {"session": session.as_str(), "secret": secret.as_str()},
    })
}
