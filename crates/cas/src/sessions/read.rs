//! What people may see: texts, lists, and values that are for all.

use mse_audit::entry::Event;
use mse_crypto::{Digest, Zeroizing};
use mse_secrets::{Format, Kind};
use mse_session::{Operation, SecretName, SessionHash, SessionName};

use super::Sessions;
use super::access::Asker;
use super::error::SessionError;
use crate::audit_log;
use crate::store::{SessionHead, SessionState, SessionVersion, Write};

/// A version of a session, as who may read it sees it.
pub struct Seen {
    /// The version.
    pub version: SessionVersion,
    /// Whether it is the current one.
    pub is_current: bool,
    /// Of the session.
    pub state: SessionState,
}

/// A value for everybody.
pub struct ForAll {
    /// Its kind.
    pub kind: Kind,
    /// In the form of its kind: text, hex, PEM. Never a private key.
    pub value: Zeroizing<String>,
}

impl Sessions {
    /// A version of a session: the current one, or the one with this hash.
    pub async fn read(
        &self,
        name: &SessionName,
        hash: Option<SessionHash>,
        asker: &Asker,
    ) -> Result<Seen, SessionError> {
        let loaded = self.permitted_reading(name, asker).await?;
        let wanted = hash.unwrap_or_else(|| loaded.hash());
        let version = self
            .store
            .session_version(name.as_str(), Digest(wanted.0))
            .await?
            .ok_or_else(|| SessionError::NoSession(format!("{name} with the hash {wanted}")))?;
        // What anybody may read is not worth a line for each stranger who does.
        if asker.actor().is_some() && !loaded.is_open(Operation::Read) {
            let leaf = audit_log::leaf(
                Event::SessionRead {},
                Some((name, Some(wanted))),
                asker.actor(),
            );
            self.store.commit(Write::new().audit(leaf)).await?;
        }
        Ok(Seen {
            version,
            is_current: wanted == loaded.hash(),
            state: loaded.head.state,
        })
    }

    /// Hashes of all versions, the first one first.
    pub async fn history(
        &self,
        name: &SessionName,
        asker: &Asker,
    ) -> Result<Vec<Digest>, SessionError> {
        self.permitted_reading(name, asker).await?;
        Ok(self.store.session_history(name.as_str()).await?)
    }

    /// The sessions in a namespace, itself among them, that `asker` may list: who may list the
    /// namespace that a session is in, who may read it, and its creator.
    pub async fn list(
        &self,
        within: &SessionName,
        asker: &Asker,
    ) -> Result<Vec<(SessionName, SessionHead)>, SessionError> {
        // Each session is loaded to see who may list it: not for strangers.
        let is_stranger = asker.actor().is_none();
        if is_stranger
            && !matches!(self.load(within).await, Ok(namespace) if namespace.allows(Operation::ListSessions, asker))
        {
            return Ok(Vec::new());
        }
        let prefix = if within.is_root() {
            ""
        } else {
            within.as_str()
        };
        let mut listed = Vec::new();
        for text in self.store.session_names(prefix).await? {
            let Ok(name) = text.parse::<SessionName>() else {
                continue;
            };
            if !name.is_within(within) {
                continue;
            }
            let loaded = match self.load(&name).await {
                Ok(loaded) => loaded,
                Err(error) => {
                    tracing::warn!(session = %name, %error, "a session is left out of a list");
                    continue;
                }
            };
            let is_owner_of_all = asker.tls == Some(self.owner);
            let in_parent = match name.parent() {
                Some(parent) => match self.load(&parent).await {
                    Ok(parent) => {
                        !parent.is_revoked() && parent.allows(Operation::ListSessions, asker)
                    }
                    Err(_) => is_owner_of_all,
                },
                None => is_owner_of_all,
            };
            if in_parent || loaded.allows(Operation::Read, asker) {
                listed.push((name, loaded.head.clone()));
            }
        }
        Ok(listed)
    }

    /// The value of a secret that its session exports to all.
    pub async fn public_value(
        &self,
        name: &SessionName,
        secret: &SecretName,
    ) -> Result<ForAll, SessionError> {
        let none = || SessionError::NoSecret {
            session: name.to_string(),
            secret: secret.to_string(),
            what: "that is exported to all",
        };
        let loaded = match self.load(name).await {
            Err(SessionError::NoSession(_)) => return Err(none()),
            loaded => loaded?,
        };
        if loaded.is_revoked() {
            return Err(SessionError::Revoked(name.to_string()));
        }
        loaded
            .session
            .secret(secret)
            .filter(|secret| secret.export_public)
            .ok_or_else(none)?;
        let value = loaded.values.get(secret).ok_or_else(none)?;
        let value = if value.kind() == Kind::PrivateKey || value.private_key().is_some() {
            // The public half is what can be meant.
            value.public_part().ok_or_else(none)?
        } else {
            value.clone()
        };
        let suffix = match value.kind() {
            Kind::PgpKey => ":publickey:asciiarmored",
            _ => "",
        };
        let format = Format::parse(value.kind(), suffix).map_err(|_| none())?;
        let bytes = mse_secrets::render(&value, format).map_err(|_| none())?;
        let value_text = match std::str::from_utf8(&bytes) {
            Ok(text) if value.kind() != Kind::Binary => Zeroizing::new(text.to_owned()),
            _ => Zeroizing::new(hex::encode(&*bytes)),
        };
        Ok(ForAll {
            kind: value.kind(),
            value: value_text,
        })
    }

    /// Who takes part in updates has to see what they change.
    async fn permitted_reading(
        &self,
        name: &SessionName,
        asker: &Asker,
    ) -> Result<std::sync::Arc<super::Loaded>, SessionError> {
        self.reading_or_taking_part(name, asker).await
    }
}
