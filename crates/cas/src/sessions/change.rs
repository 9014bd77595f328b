//! Creating, updating and revoking sessions.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use mse_api::cas::{REVOCATION_DOMAIN, RevocationSignature, Upload};
use mse_audit::entry::{CheckName, Event, SessionOperation};
use mse_crypto::signing::VerifyingKey;
use mse_crypto::{Digest, Zeroizing};
use mse_session::{
    Diagnostic, Operation, SecretName, SecretSource, SecretStore, Session, SessionHash, SessionName,
};

use super::Sessions;
use super::access::Asker;
use super::error::SessionError;
use super::load::Loaded;
use super::upload::Received;
use super::vault::{Fetch, Held, Vault};
use crate::audit_log;
use crate::release::attestation::Requirements;
use crate::release::configuration::configuration;
use crate::release::{mounting, volumes};
use crate::sources::{Before, Gathered};
use crate::store::{NewVersion, Refused, StoreError, Write};

/// A namespace that changes so often while a session is made in it leaves it to be tried again.
const MAX_DECISIONS: usize = 8;

/// A version that was stored.
pub struct Stored {
    /// The session.
    pub name: SessionName,
    /// Its hash.
    pub hash: SessionHash,
    /// Its number.
    pub number: u64,
    /// The version before.
    pub predecessor: Option<SessionHash>,
    /// What there is to warn of.
    pub warnings: Vec<Diagnostic>,
}

impl Sessions {
    /// Stores what `asker` sent: a new session, or an update of the one that it names as its
    /// predecessor. When this returns it is durable.
    pub async fn upload(&self, upload: &Upload, asker: &Asker) -> Result<Stored, SessionError> {
        let received = self.receive(upload, asker)?;
        prove_supported(&received.session)?;
        match received.session.predecessor {
            None => self.create(received).await,
            Some(predecessor) => self.update(received, predecessor).await,
        }
    }

    /// Ends a session for good: `hash` is the version that the asker means, and that signatures are
    /// over.
    pub async fn revoke(
        &self,
        name: &SessionName,
        hash: SessionHash,
        signatures: &[RevocationSignature],
        asker: &Asker,
    ) -> Result<(), SessionError> {
        let mut asker = asker.clone();
        for given in signatures {
            asker.signers.insert(revoker(given, &hash)?);
        }
        let asker = &asker;
        let loaded = self
            .permitted(name, Operation::Update, SessionOperation::Revoke, asker)
            .await?;
        if loaded.is_revoked() {
            return Err(SessionError::Revoked(name.to_string()));
        }
        // What lets the asker do it is the version that was looked at, and no later one.
        if loaded.hash() != hash {
            return Err(SessionError::Moved {
                name: name.to_string(),
                current: loaded.hash().to_string(),
                given: hash.to_string(),
            });
        }
        let leaf = audit_log::leaf(
            Event::SessionRevoked {},
            Some((name, Some(hash))),
            asker.actor(),
        );
        let write = Write::new()
            .revoke_session(name.as_str(), Digest(hash.0))
            .audit(leaf);
        self.commit(name, write).await
    }

    async fn create(&self, received: Received) -> Result<Stored, SessionError> {
        let name = received.session.name.clone();
        let mut parent = self.may_create(&received).await?;
        let received = received.with_creator()?;
        let session = &received.session;
        let hash = session.hash();
        let made = self.make_values(session, None).await?;
        let vault = first(session, hash, &made);
        let leaf = audit_log::leaf(
            Event::SessionCreated {},
            Some((&name, Some(hash))),
            received.asker.actor(),
        );
        for _ in 0..MAX_DECISIONS {
            // Values may have taken their time: what let it be made has to be so still.
            let write = match &parent {
                Some(parent) => {
                    let (name, head) = (&parent.session.name, parent.head.hash);
                    Write::new().expect_session(name.as_str(), head)
                }
                None => Write::new(),
            };
            let write = write
                .create_session(name.as_str(), version(session, hash))
                .put_secret(Vault::id(name.as_str(), 1), vault.to_bytes())
                .audit(leaf.clone());
            let write = self.with_volume_keys(write, session).await?;
            match self.commit(&name, write).await {
                Err(SessionError::Moved { name: moved, .. }) if moved != name.as_str() => {
                    parent = self.may_create(&received).await?;
                }
                decided => {
                    decided?;
                    return Ok(Stored {
                        name,
                        hash,
                        number: 1,
                        predecessor: None,
                        warnings: received.warnings,
                    });
                }
            }
        }
        Err(SessionError::Busy(name.to_string()))
    }

    async fn update(
        &self,
        received: Received,
        predecessor: SessionHash,
    ) -> Result<Stored, SessionError> {
        let name = received.session.name.clone();
        let before = self
            .permitted(
                &name,
                Operation::Update,
                SessionOperation::Update,
                &received.asker,
            )
            .await?;
        let next = self.successor(received, &before, predecessor).await?;
        self.take(&next, &before, Write::new()).await?;
        Ok(next.stored(&before))
    }

    /// Makes an update the current version, with `write`.
    pub(super) async fn take(
        &self,
        next: &Successor,
        before: &Loaded,
        write: Write,
    ) -> Result<(), SessionError> {
        let session = &next.received.session;
        let write = next.write(write, before);
        let write = self.with_volume_keys(write, session).await?;
        self.commit(&session.name, write).await
    }

    /// With keys for the volumes that have none yet.
    async fn with_volume_keys(
        &self,
        write: Write,
        session: &Session,
    ) -> Result<Write, SessionError> {
        let mut keys = volumes::generated_keys(session).peekable();
        if keys.peek().is_none() {
            return Ok(write);
        }
        let there = self.store.secret_ids(session.name.as_str()).await?;
        let lacking = keys.filter(|id| !there.contains(id));
        Ok(lacking.fold(write, |write, id| write.put_secret(id, volumes::new_key())))
    }

    /// Checks an update, whoever has to agree to it, and makes its values.
    pub(super) async fn successor(
        &self,
        received: Received,
        before: &Loaded,
        predecessor: SessionHash,
    ) -> Result<Successor, SessionError> {
        let (received, hash) = successor_text(received, before, predecessor)?;
        let made = self.make_values(&received.session, Some(before)).await?;
        let vault = succeeded(&received.session, hash, &made, before);
        Ok(Successor {
            received,
            hash,
            vault,
        })
    }

    /// Whether who sent a new session may create one there.
    /// The namespace that lets it be made; none, and the owner may.
    async fn may_create(&self, received: &Received) -> Result<Option<Arc<Loaded>>, SessionError> {
        let (session, asker) = (&received.session, &received.asker);
        if asker.tls.is_none() && asker.signers.is_empty() {
            return Err(SessionError::Anonymous);
        }
        let forbidden = |hint: String| SessionError::Forbidden {
            operation: "create",
            name: session.name.to_string(),
            hint,
        };
        let is_owner = asker.tls == Some(self.owner);
        let parent = match session.name.parent() {
            None => None,
            Some(parent) => match self.load(&parent).await {
                Ok(loaded) => Some(loaded),
                Err(SessionError::NoSession(_)) if parent.is_root() => None,
                Err(SessionError::NoSession(_)) => {
                    return Err(SessionError::Field {
                        field: "name",
                        what: format!("the namespace `{parent}` does not exist: create that first"),
                    });
                }
                Err(error) => return Err(error),
            },
        };
        if let Some(wanted) = session.namespace_hash {
            let found = parent.as_ref().map(|parent| parent.hash());
            if found != Some(wanted) {
                return Err(SessionError::Field {
                    field: "namespace_hash",
                    what: format!(
                        "the namespace is at version {}, not at {wanted}: look at it again",
                        found.map_or("none".into(), |hash| hash.to_string())
                    ),
                });
            }
        }
        let refused = match &parent {
            // Until somebody says otherwise in the session `/`, the owner alone does.
            None if is_owner => return Ok(None),
            None => forbidden(
                "only the owner of this CAS may, until a session `/` lets others create sessions"
                    .into(),
            ),
            Some(parent) if parent.is_revoked() => {
                return Err(SessionError::Revoked(parent.session.name.to_string()));
            }
            Some(parent) if parent.allows(Operation::CreateSessions, asker) => {
                return Ok(Some(Arc::clone(parent)));
            }
            Some(parent) => forbidden(format!(
                "be named in `access_policy.create_sessions` of `{}`",
                parent.session.name
            )),
        };
        let namespace = parent
            .as_ref()
            .map_or("/", |parent| parent.session.name.as_str());
        self.note_refusal(&session.name, namespace, SessionOperation::Create, asker)
            .await;
        Err(refused)
    }

    /// Values for a session, and a proof that with them each service can be told what it says.
    async fn make_values(
        &self,
        session: &Session,
        before: Option<&Loaded>,
    ) -> Result<Gathered, SessionError> {
        let now = SystemTime::now();
        let imports = self.imports(session, session.hash(), 0).await?;
        if imports.is_circular {
            return Err(SessionError::ImportsTooDeep(session.name.to_string()));
        }
        let fetched = before.map(|before| before.vault.freshness());
        let before = before
            .zip(fetched.as_ref())
            .map(|(before, fetched)| Before {
                session: &before.session,
                values: &before.values,
                fetched,
            });
        let made = self.sources.make(session, before, &imports, now).await?;
        let values = &made.values;
        for service in &session.services {
            mounting::mounts(self, session, session.hash(), service, values)
                .await
                .map_err(|source| SessionError::Volumes {
                    service: service.name.to_string(),
                    source: Box::new(source),
                })?;
            if service.command.is_some() {
                configuration(session, session.hash(), service, values, Vec::new()).map_err(
                    |source| SessionError::Configuration {
                        service: service.name.to_string(),
                        source,
                    },
                )?;
            }
            Requirements::of(session, service, values).map_err(|source| {
                SessionError::Attestation {
                    service: service.name.to_string(),
                    source,
                }
            })?;
        }
        Ok(made)
    }

    /// The session `name`, if `asker` may do this with it.
    pub(super) async fn permitted(
        &self,
        name: &SessionName,
        operation: Operation,
        what: SessionOperation,
        asker: &Asker,
    ) -> Result<Arc<Loaded>, SessionError> {
        let word = match what {
            SessionOperation::Create => "create",
            SessionOperation::Read => "read",
            SessionOperation::Update => "update",
            SessionOperation::Revoke => "revoke",
            SessionOperation::Approve => "approve an update of",
        };
        let forbidden = || SessionError::Forbidden {
            operation: word,
            name: name.to_string(),
            hint: format!(
                "be named in its `access_policy.{}`; `mse cas whoami` prints your key",
                operation.as_str()
            ),
        };
        let loaded = match self.load(name).await {
            Err(SessionError::NoSession(_)) => return Err(forbidden()),
            loaded => loaded?,
        };
        if !loaded.allows(operation, asker) {
            self.note_refusal(name, name.as_str(), what, asker).await;
            return Err(forbidden());
        }
        Ok(loaded)
    }

    /// Tells the audit log of somebody who is known and may not. Strangers are not worth a line:
    /// they could write as many as they like.
    ///
    /// `place` is the session or namespace that there is: a name that the asker made up would have
    /// an allowance of its own.
    async fn note_refusal(
        &self,
        name: &SessionName,
        place: &str,
        operation: SessionOperation,
        asker: &Asker,
    ) {
        if asker.actor().is_none() || !self.refusals.admit(place) {
            return;
        }
        let Ok(check) = "access-policy".parse::<CheckName>() else {
            return;
        };
        let leaf = audit_log::leaf(
            Event::SessionRefused { check, operation },
            Some((name, None)),
            asker.actor(),
        );
        audit_log::note(&self.store, leaf).await;
    }

    /// Commits what changes `name`.
    pub(super) async fn commit(
        &self,
        name: &SessionName,
        write: Write,
    ) -> Result<(), SessionError> {
        let Err(error) = self.store.commit(write).await else {
            return Ok(());
        };
        Err(match error {
            StoreError::Refused(Refused::SessionExists { name, .. }) => SessionError::Exists(name),
            StoreError::Refused(Refused::Revoked { name }) => SessionError::Revoked(name),
            StoreError::Refused(Refused::HeadMoved { name, given, head }) => SessionError::Moved {
                name,
                current: head.to_string(),
                given: given.to_string(),
            },
            // Its values were renewed or rotated meanwhile.
            StoreError::Refused(Refused::SecretExists { .. } | Refused::NoSecret { .. }) => {
                SessionError::Busy(name.to_string())
            }
            error => SessionError::Store(error),
        })
    }
}

/// An update that is in order, whoever has to agree to it.
pub(super) struct Successor {
    pub(super) received: Received,
    pub(super) hash: SessionHash,
    vault: Vault,
}

impl Successor {
    /// Makes it the current version.
    fn write(&self, write: Write, before: &Loaded) -> Write {
        let name = &self.received.session.name;
        let predecessor = before.head.hash;
        let leaf = audit_log::leaf(
            Event::SessionUpdated { predecessor },
            Some((name, Some(self.hash))),
            self.received.asker.actor(),
        );
        write
            .update_session(
                name.as_str(),
                predecessor,
                version(&self.received.session, self.hash),
            )
            .put_secret(
                Vault::id(name.as_str(), before.vault_number + 1),
                self.vault.to_bytes(),
            )
            .remove_secret(Vault::id(name.as_str(), before.vault_number))
            .audit(leaf)
    }

    pub(super) fn stored(self, before: &Loaded) -> Stored {
        Stored {
            name: self.received.session.name.clone(),
            hash: self.hash,
            number: before.head.number + 1,
            predecessor: Some(before.hash()),
            warnings: self.received.warnings,
        }
    }
}

/// Refuses what the language has and this CAS has not: what is asked for and not done would be
/// taken for done.
pub(super) fn prove_supported(session: &Session) -> Result<(), SessionError> {
    let unsupported = |field, what| Err(SessionError::Unsupported { field, what });
    if session.secret_store != SecretStore::Cas {
        return unsupported("secret_config.store_in", "a vault for values");
    }
    for secret in &session.secrets {
        if secret.exports.iter().any(|export| export.cas.is_some()) {
            return unsupported("export", "to give secrets to another CAS");
        }
        if matches!(&secret.source, SecretSource::Imported(from) if from.cas.is_some()) {
            return unsupported("import", "to get secrets from another CAS");
        }
    }
    Ok(())
}

pub(super) fn version(session: &Session, hash: SessionHash) -> NewVersion {
    NewVersion {
        hash: Digest(hash.0),
        text: Zeroizing::new(session.to_text().as_bytes().to_vec()),
        created_at: Timestamp::now(),
    }
}

/// Who signed a revocation of the version with this hash.
fn revoker(given: &RevocationSignature, hash: &SessionHash) -> Result<VerifyingKey, SessionError> {
    let field = |field, what: &str| SessionError::Field {
        field,
        what: what.into(),
    };
    let key = VerifyingKey::from_pem(&given.signer)
        .map_err(|_| field("signer", "is no public key (SPKI, PEM) of Ed25519 or P-384"))?;
    let wrong = || {
        field(
            "signature",
            "does not hold for the revocation of this version",
        )
    };
    let signature = hex::decode(&given.signature).map_err(|_| wrong())?;
    key.verify(REVOCATION_DOMAIN, &hash.0, &signature)
        .map_err(|_| wrong())?;
    Ok(key)
}

/// An update as it would be stored: whoever has to agree to it, and whatever its values will be.
pub(super) fn successor_text(
    received: Received,
    before: &Loaded,
    predecessor: SessionHash,
) -> Result<(Received, SessionHash), SessionError> {
    let name = before.session.name.to_string();
    if before.is_revoked() {
        return Err(SessionError::Revoked(name));
    }
    if before.hash() != predecessor {
        return Err(SessionError::Moved {
            name,
            current: before.hash().to_string(),
            given: predecessor.to_string(),
        });
    }
    let received = received.with_creator_of(&before.session)?;
    let hash = received.session.hash();
    Ok((received, hash))
}

/// The values of a new session.
fn first(session: &Session, hash: SessionHash, made: &Gathered) -> Vault {
    let now = SystemTime::now();
    let own = made.values.iter().filter(|(name, _)| is_own(session, name));
    let secrets = own.map(|(name, value)| {
        let held = Held {
            fetched: fetch(made, name, now),
            ..Held::new(value.clone())
        };
        (name.clone(), held)
    });
    Vault {
        made_for: hash,
        secrets: secrets.collect(),
    }
}

/// The values of an update: a value that is another than before is a new version, one that is kept
/// keeps its number and its predecessor, and what the owner gave stays in the place of a text that
/// did not change.
fn succeeded(session: &Session, hash: SessionHash, made: &Gathered, before: &Loaded) -> Vault {
    let now = SystemTime::now();
    let mut vault = first(session, hash, made);
    let source = |session: &Session, name: &SecretName| {
        session.secret(name).map(|secret| secret.source.clone())
    };
    for (name, next) in &mut vault.secrets {
        let Some(old) = before.vault.secrets.get(name) else {
            continue;
        };
        let value = next.value.current().value.clone();
        let same = old.value.current().value.to_bytes() == value.to_bytes();
        let stays = old.is_given && source(session, name) == source(&before.session, name);
        next.value = old.value.clone();
        if same || stays {
            next.is_given = old.is_given;
            next.presented_at = old.presented_at;
        } else {
            next.rotate(value, now, None);
        }
    }
    vault
}

fn fetch(made: &Gathered, name: &SecretName, now: SystemTime) -> Option<Fetch> {
    let freshness = made.fetched.get(name)?;
    Some(Fetch::at(*freshness, now))
}

/// Whether the value is this session's, and not another's.
fn is_own(session: &Session, name: &SecretName) -> bool {
    session
        .secret(name)
        .is_some_and(|secret| !matches!(secret.source, SecretSource::Imported(_)))
}
