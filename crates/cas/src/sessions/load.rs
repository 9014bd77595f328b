//! A session with all its values, as it is now: renewed where its time has come, and with what it
//! imports.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mse_audit::entry::Event;
use mse_secrets::Value;
use mse_session::{
    Compatibility, Explicit, Generated, ImportFrom, Recipient, Secret, SecretName, SecretSource,
    Session, SessionHash, SessionName, Variables, check_text,
};

use super::Sessions;
use super::cache::FRESH;
use super::error::SessionError;
use super::vault::Vault;
use crate::audit_log;
use crate::store::{Mark, SessionHead, SessionState, Write};
use crate::values::{Imports, Values, ValuesError};

/// A session as it is now.
pub struct Loaded {
    /// Its current version.
    pub head: SessionHead,
    /// What it says.
    pub session: Session,
    /// The values of its secrets, those that it imports among them.
    pub values: Values,
    /// What it imports, and is not given.
    pub missing: Vec<ValuesError>,
    pub(super) vault: Vault,
    pub(super) vault_number: u64,
    /// It and all sessions that it asks for something, each as it was then.
    seen: Vec<Seen>,
    /// When something changes without anybody's doing.
    changes_at: Option<SystemTime>,
}

#[derive(Clone, PartialEq, Eq)]
struct Seen {
    name: String,
    /// Empty: there is no such session.
    mark: Mark,
}

impl Loaded {
    /// The hash of the current version.
    pub fn hash(&self) -> SessionHash {
        SessionHash(self.head.hash.0)
    }

    /// Whether it was revoked.
    pub fn is_revoked(&self) -> bool {
        self.head.state == SessionState::Revoked
    }

    /// For how long from `now` its values stay as they are, if nobody changes them.
    pub fn settled_for(&self, now: SystemTime) -> Option<Duration> {
        Some(self.changes_at?.duration_since(now).unwrap_or_default())
    }

    /// Whether it, or something that it imports from, is the session `name`.
    pub(super) fn depends_on(&self, name: &str) -> bool {
        self.seen
            .iter()
            .any(|seen| seen.name == name && !seen.mark.is_empty())
    }

    /// What it gives to another session under this name, if it gives it.
    fn exported(&self, name: &SecretName, to: &SessionName, hash: SessionHash) -> Option<Imported> {
        let secret = self.session.secret(name)?;
        if !is_exported(secret, to, hash) {
            return None;
        }
        let value = self.values.get(name)?;
        let before = self.values.previous(name);
        let key = key_of(secret);
        let keeps_key = key.is_some_and(|key| {
            !self
                .session
                .secret(key)
                .is_some_and(|key| is_exported(key, to, hash))
        });
        let given = |value: &Value| {
            if keeps_key {
                value.public_part()
            } else {
                Some(value.clone())
            }
        };
        Some(Imported {
            value: given(value)?,
            previous: before.and_then(|(value, shown)| Some((given(value)?, shown))),
        })
    }
}

impl Sessions {
    /// The session `name` as it is now, revoked or not.
    pub async fn load(&self, name: &SessionName) -> Result<Arc<Loaded>, SessionError> {
        self.load_at(name, 0).await
    }

    fn load_at<'a>(
        &'a self,
        name: &'a SessionName,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<Loaded>, SessionError>> + Send + 'a>> {
        Box::pin(async move {
            self.store.refresh_within(FRESH).await?;
            let now = SystemTime::now();
            if let Some(loaded) = self.cache.get(name.as_str())
                && loaded.changes_at.is_none_or(|changes| now < changes)
                && self.is_as(&loaded)
            {
                return Ok(loaded);
            }
            if depth > MAX_DEPTH {
                return Err(SessionError::ImportsTooDeep(name.to_string()));
            }
            let loaded = Arc::new(self.load_whole(name, depth, now).await?);
            self.cache.keep(name.as_str(), &loaded);
            Ok(loaded)
        })
    }

    /// Whether everything is as it was when this was loaded, as far as this process knows.
    fn is_as(&self, loaded: &Loaded) -> bool {
        let mut seen = loaded.seen.iter();
        seen.all(|seen| self.mark(&seen.name) == seen.mark)
    }

    /// The state of a session and its values.
    fn mark(&self, name: &str) -> Mark {
        self.store.mark(name, Vault::CELL)
    }

    async fn load_whole(
        &self,
        name: &SessionName,
        depth: usize,
        now: SystemTime,
    ) -> Result<Loaded, SessionError> {
        for _ in 0..TRIES {
            let Some(mut loaded) = self.read_once(name, depth, now).await? else {
                continue;
            };
            if loaded.is_revoked() {
                return Ok(loaded);
            }
            match self.renew(&mut loaded, now, depth).await {
                Ok(true) => {}
                Ok(false) => return Ok(loaded),
                // With the old values it can still be used, and mended.
                Err(SessionError::Values(error)) => {
                    tracing::error!(session = %name, %error, "what is due cannot be renewed");
                    return Ok(loaded);
                }
                Err(error) => return Err(error),
            }
        }
        Err(SessionError::Busy(name.to_string()))
    }

    /// `None` if it changed while it was read.
    async fn read_once(
        &self,
        name: &SessionName,
        depth: usize,
        now: SystemTime,
    ) -> Result<Option<Loaded>, SessionError> {
        let text = name.as_str();
        let unknown = || SessionError::NoSession(name.to_string());
        let mark = self.mark(text);
        let head = self.store.session(text).await?.ok_or_else(unknown)?;
        let broken = |what: &str| SessionError::Broken(name.to_string(), what.to_owned());
        let version = self
            .store
            .session_version(text, head.hash)
            .await?
            .ok_or_else(|| broken("its current version is missing"))?;
        let session = parse(name, &version.text)?;
        let ids = self.store.known_secret_ids(text)?;
        let number = Vault::newest(&ids).ok_or_else(|| broken("it has no values"))?;
        let Some(bytes) = self.store.secret(&Vault::id(text, number)).await? else {
            return Ok(None);
        };
        let vault = Vault::from_bytes(&bytes)
            .ok_or_else(|| broken("its values were written by another version of MSE"))?;
        // Each part is as it was known when it was read: so they belong together if nothing became
        // known in between.
        if self.mark(text) != mark || vault.made_for.0 != head.hash.0 {
            return Ok(None);
        }
        self.refresh.note(name, vault.refresh_at());
        let imports = self
            .imports(&session, SessionHash(head.hash.0), depth)
            .await?;
        let mut values = vault.values(now);
        for (name, imported) in &imports.named {
            values = values.with(name.clone(), imported.value.clone());
            if let Some((value, is_presented)) = &imported.previous {
                values = values.with_previous(name.clone(), value.clone(), *is_presented);
            }
        }
        let grace = vault
            .secrets
            .values()
            .flat_map(|held| [held.value.grace_until(), held.presented_at()])
            .flatten();
        // What is due already is renewed right away, or tried again later.
        let renewals = vault.secrets.values().filter_map(|held| {
            let at = held.value.current().value.renew_at()?;
            Some(if at <= now { now + RENEW_AGAIN } else { at })
        });
        let changes_at = grace
            .filter(|until| *until > now)
            .chain(renewals)
            .chain(imports.changes_at)
            .min();
        let mut seen = vec![Seen {
            name: text.to_owned(),
            mark,
        }];
        seen.extend(imports.seen);
        Ok(Some(Loaded {
            head,
            session,
            values,
            missing: imports.missing,
            vault,
            vault_number: number,
            seen,
            changes_at,
        }))
    }

    /// Renews what is due. Whether the session has to be read again.
    async fn renew(
        &self,
        loaded: &mut Loaded,
        now: SystemTime,
        depth: usize,
    ) -> Result<bool, SessionError> {
        let is_due = |value: &Value| value.needs_renewal(now);
        let own = |name: &SecretName| loaded.vault.secrets.contains_key(name);
        if !loaded
            .values
            .iter()
            .any(|(name, value)| own(name) && is_due(value))
        {
            return Ok(false);
        }
        let name = loaded.session.name.clone();
        let imports = self.imports(&loaded.session, loaded.hash(), depth).await?;
        let renewed = loaded.values.renewed(&loaded.session, &imports, now)?;
        let mut vault = loaded.vault.clone();
        let mut write = Write::new();
        let mut count = 0;
        for (secret, value) in renewed {
            let Some(held) = vault.secrets.get_mut(&secret) else {
                continue;
            };
            // What was issued before stays valid until its end, by itself.
            let version = held.rotate(value, now, None);
            count += 1;
            write = write.audit(rotated(&name, loaded.hash(), &secret, version, None));
        }
        if count == 0 {
            return Ok(false);
        }
        match self.replace_vault(loaded, &vault, write).await {
            // If somebody else was faster: all the better.
            Ok(()) | Err(SessionError::Busy(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Stores new values in the place of those that were loaded.
    pub(super) async fn replace_vault(
        &self,
        loaded: &Loaded,
        vault: &Vault,
        write: Write,
    ) -> Result<(), SessionError> {
        let (name, number) = (&loaded.session.name, loaded.vault_number);
        let write = write
            .put_secret(Vault::id(name.as_str(), number + 1), vault.to_bytes())
            .remove_secret(Vault::id(name.as_str(), number));
        self.commit(name, write).await
    }

    /// What other sessions give to this one.
    pub(super) async fn imports(
        &self,
        session: &Session,
        hash: SessionHash,
        depth: usize,
    ) -> Result<Gathered, SessionError> {
        let mut gathered = Gathered::default();
        let mut seen = BTreeSet::new();
        for secret in &session.secrets {
            let SecretSource::Imported(from) = &secret.source else {
                continue;
            };
            let value = self
                .imported(session, hash, from, depth, &mut gathered, &mut seen)
                .await?;
            match value {
                Some(imported) => {
                    gathered.values.push((from.clone(), imported.value.clone()));
                    gathered.named.push((secret.name.clone(), imported));
                }
                None => gathered.missing.push(ValuesError::NotExported {
                    secret: secret.name.clone(),
                    session: from.session.session.to_string(),
                    exported: from.secret.clone(),
                }),
            }
        }
        Ok(gathered)
    }

    async fn imported(
        &self,
        session: &Session,
        hash: SessionHash,
        from: &ImportFrom,
        depth: usize,
        gathered: &mut Gathered,
        seen: &mut BTreeSet<String>,
    ) -> Result<Option<Imported>, SessionError> {
        if from.cas.is_some() || from.session.session == session.name {
            return Ok(None);
        }
        let name = from.session.session.as_str();
        let mark = self.mark(name);
        let exporter = match self.load_at(&from.session.session, depth + 1).await {
            Ok(exporter) => exporter,
            Err(SessionError::NoSession(_)) => {
                // Until it is there.
                if seen.insert(name.to_owned()) {
                    let name = name.to_owned();
                    gathered.seen.push(Seen { name, mark });
                }
                return Ok(None);
            }
            // The first of the circle goes without: whoever may mend it has to be able to load it.
            Err(SessionError::ImportsTooDeep(_)) if depth == 0 => {
                gathered.is_circular = true;
                return Ok(None);
            }
            Err(error @ (SessionError::ImportsTooDeep(_) | SessionError::Store(_))) => {
                return Err(error);
            }
            // What is wrong with another session must not stop this one.
            Err(error) => {
                let exporter = &from.session.session;
                tracing::warn!(session = %session.name, %exporter, %error, "nothing is imported");
                return Ok(None);
            }
        };
        gathered.is_circular |= exporter.depends_on(session.name.as_str());
        for one in &exporter.seen {
            if seen.insert(one.name.clone()) {
                gathered.seen.push(one.clone());
            }
        }
        gathered.changes_at = [gathered.changes_at, exporter.changes_at]
            .into_iter()
            .flatten()
            .min();
        let is_meant = from
            .session
            .hash
            .is_none_or(|wanted| wanted == exporter.hash());
        if exporter.is_revoked() || !is_meant {
            return Ok(None);
        }
        Ok(exporter.exported(&from.secret, &session.name, hash))
    }
}

/// A value that another session gives, with the one before while that is accepted there.
struct Imported {
    value: Value,
    previous: Option<(Value, bool)>,
}

/// What other sessions give to one.
#[derive(Default)]
pub(super) struct Gathered {
    values: Vec<(ImportFrom, Value)>,
    named: Vec<(SecretName, Imported)>,
    missing: Vec<ValuesError>,
    seen: Vec<Seen>,
    changes_at: Option<SystemTime>,
    /// Somebody that it imports from imports from it.
    pub(super) is_circular: bool,
}

impl Imports for Gathered {
    fn import(&self, from: &ImportFrom) -> Option<Value> {
        self.values
            .iter()
            .find(|(one, _)| one == from)
            .map(|(_, value)| value.clone())
    }
}

/// The entry of the audit log for a new value.
pub(super) fn rotated(
    session: &SessionName,
    hash: SessionHash,
    secret: &SecretName,
    version: u64,
    actor: Option<[u8; 32]>,
) -> Vec<u8> {
    let Ok(secret) = secret.as_str().parse() else {
        return Vec::new();
    };
    audit_log::leaf(
        Event::SecretRotated { secret, version },
        Some((session, Some(hash))),
        actor,
    )
}

/// A stored text. It was checked strictly when it came; what a later version of MSE is stricter
/// about must not lock anybody out of a session that is there.
pub(super) fn parse(name: &SessionName, text: &[u8]) -> Result<Session, SessionError> {
    let broken = |what: String| SessionError::Broken(name.to_string(), what);
    let text = std::str::from_utf8(text).map_err(|_| broken("it is no text".into()))?;
    check_text(text, &Variables::replaced(), Compatibility::Import)
        .into_result()
        .map(|(session, _)| session)
        .map_err(|faults| broken(faults.to_string()))
}

fn is_exported(secret: &Secret, to: &SessionName, hash: SessionHash) -> bool {
    secret
        .exports
        .iter()
        .any(|export| export.cas.is_none() && is_recipient(&export.to, to, hash))
}

/// Whether a session is among those that something is given to.
pub(super) fn is_recipient(recipient: &Recipient, to: &SessionName, hash: SessionHash) -> bool {
    match recipient {
        Recipient::Session(pin) => {
            pin.session == *to && pin.hash.is_none_or(|wanted| wanted == hash)
        }
        Recipient::Namespace(namespace) => to.is_within(namespace),
    }
}

/// The secret that is the private key of a certificate, where it is one of its own.
fn key_of(secret: &Secret) -> Option<&SecretName> {
    match &secret.source {
        SecretSource::Generated(Generated::Certificate(request)) => request.private_key.as_ref(),
        SecretSource::Explicit(Explicit::Text { private_key, .. }) => private_key.as_ref(),
        _ => None,
    }
}

/// When what could not be renewed is tried again.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// Imports of imports of imports.
const MAX_DEPTH: usize = 8;
/// How often a session is read that changes while it is.
const TRIES: usize = 5;
