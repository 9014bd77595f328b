//! A session before it is a text.

use mse_crypto::Zeroizing;
use mse_session::{
    Compatibility, Explicit, Faults, SecretSource, Session, SessionHash, SessionName, Variables,
    check_text,
};
use serde_json::{Map, Value, json};

use super::Ownership;

/// What a session of a mesh is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionRole {
    /// It lets others be created below it. One that is there already is left as it is.
    Namespace,
    /// Who may read and change the others.
    Access,
    /// What attestation tolerates.
    Security,
    /// The measurements of an image's services.
    Image,
    /// The secrets of all services.
    Secrets,
    /// What a service is told.
    Service,
}

impl SessionRole {
    /// One word, for people and for JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Access => "access",
            Self::Security => "security",
            Self::Image => "image",
            Self::Secrets => "secrets",
            Self::Service => "service",
        }
    }
}

/// A session that is not a text yet: it lacks what only its CAS knows.
///
/// No `Debug`: it may hold values that the Meshfile gives.
#[derive(Clone)]
pub struct PlannedSession {
    /// What it is for.
    pub role: SessionRole,
    /// Its name.
    pub name: SessionName,
    /// Everything but `name`, `version`, `salt` and `predecessor`.
    pub(super) body: Map<String, Value>,
}

/// The secret that says which mesh made a session. It is public: it keeps one mesh from taking
/// another's sessions by mistake, and nobody from anything else.
pub const MADE_BY: &str = "mesh-made-by";

/// The mesh that made a session: `namespace@release`.
pub fn made_by(session: &Session) -> Option<&str> {
    let mut secrets = session.secrets.iter();
    let secret = secrets.find(|one| one.name.as_str() == MADE_BY)?;
    match &secret.source {
        SecretSource::Explicit(Explicit::Text { value, .. }) => value.as_literal(),
        _ => None,
    }
}

impl PlannedSession {
    /// The mesh that it is of, if it is one mesh's alone.
    pub fn made_by(&self) -> Option<&str> {
        let secrets = self.body.get("secrets")?.as_array()?;
        let secret = secrets.iter().find(|one| one["name"] == MADE_BY)?;
        secret["value"].as_str()
    }

    /// Writes down whose it is, and which mesh's. Namespaces may be several meshes'.
    pub(super) fn mark(&mut self, mesh: &str, owner: &Ownership) {
        let creator = match owner {
            Ownership::Sender => None,
            Ownership::Holder(key) => Some(json!({"key": key.to_string()})),
            Ownership::Signer { signer, .. } => Some(json!({"signer": signer.to_pem()})),
        };
        if let Some(creator) = creator {
            self.body.insert("creator".into(), creator);
        }
        if self.role == SessionRole::Namespace {
            return;
        }
        let secrets = self.body.entry("secrets").or_insert_with(|| json!([]));
        if let Value::Array(secrets) = secrets {
            secrets.push(json!({
                "name": MADE_BY, "kind": "ascii", "value": mesh, "export_public": true,
            }));
        }
    }

    /// The session that replaces `predecessor`. The salt keeps its hash from telling its content
    /// to who guesses it; with the same one, the same session has the same hash.
    pub fn text(
        &self,
        salt: [u8; 16],
        predecessor: Option<SessionHash>,
    ) -> Result<(Session, Zeroizing<String>), Faults> {
        let mut whole = Map::new();
        whole.insert("name".into(), json!(self.name.as_str()));
        whole.insert("version".into(), json!("0.3.12"));
        whole.insert("salt".into(), json!(hex::encode(salt)));
        if let Some(predecessor) = predecessor {
            whole.insert("predecessor".into(), json!(predecessor.to_string()));
        }
        whole.extend(self.body.clone());
        let text = Zeroizing::new(Value::Object(whole).to_string());
        let checked = check_text(&text, &Variables::replaced(), Compatibility::Strict);
        let (session, _) = checked.into_result()?;
        let text = session.to_text();
        Ok((session, text))
    }
}
