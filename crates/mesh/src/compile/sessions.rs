//! A session before it is a text.

use mse_crypto::Zeroizing;
use mse_session::{
    Compatibility, Faults, Session, SessionHash, SessionName, Variables, check_text,
};
use serde_json::{Map, Value, json};

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

impl PlannedSession {
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
