//! New values of secrets: rotated by the CAS, or given by the owner.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use mse_api::cas::{GivenValue, Rotation};
use mse_audit::entry::SessionOperation;
use mse_crypto::signing::VerifyingKey;
use mse_secrets::{Binding, Given, Kind, OwnerValue, Validity};
use mse_session::{Operation, SecretName, SecretSource, SessionHash, SessionName};

use super::Sessions;
use super::access::Asker;
use super::error::SessionError;
use super::load::{Loaded, rotated};
use crate::store::Write;

/// A secret, without its value.
pub struct Line {
    /// Its name.
    pub name: SecretName,
    /// Its kind, as far as it is known.
    pub kind: Option<Kind>,
    /// Where the value is from: `generated`, `explicit`, `imported`, `given`.
    pub source: &'static str,
    /// Number of the current value.
    pub version: u64,
    /// Until when the one before is accepted.
    pub grace_until: Option<Timestamp>,
    /// When it is renewed by itself.
    pub renew_at: Option<Timestamp>,
}

/// The secrets of a session, without their values.
pub struct Lines {
    /// The session's current version.
    pub session_hash: SessionHash,
    /// In the order of the session.
    pub secrets: Vec<Line>,
}

impl Sessions {
    /// The secrets of a session, for who may read it or takes part in its updates.
    pub async fn secrets(&self, name: &SessionName, asker: &Asker) -> Result<Lines, SessionError> {
        Ok(lines(&*self.reading_or_taking_part(name, asker).await?))
    }

    /// Makes a new value of a generated secret. The one before stays accepted for the grace.
    pub async fn rotate(&self, rotation: &Rotation, asker: &Asker) -> Result<Lines, SessionError> {
        let (name, secret) = names(&rotation.session, &rotation.secret)?;
        let loaded = self
            .permitted(&name, Operation::Update, SessionOperation::Update, asker)
            .await?;
        if loaded.session.secret(&secret).is_none() {
            return Err(SessionError::NoSecret {
                session: name.to_string(),
                secret: secret.to_string(),
                what: "to rotate",
            });
        }
        let imports = self.imports(&loaded.session, loaded.hash(), 0).await?;
        let now = SystemTime::now();
        let value = loaded
            .values
            .remade(&loaded.session, &secret, &imports, now)?;
        self.replace(&loaded, &secret, value, rotation.grace, asker, false)
            .await?;
        Ok(lines(&*self.load(&name).await?))
    }

    /// Takes a value that the owner gives: sealed to this CAS, and signed for exactly this secret
    /// and version by a key that may update the session.
    pub async fn give(&self, given: &GivenValue, asker: &Asker) -> Result<Lines, SessionError> {
        let (name, secret) = names(&given.session, &given.secret)?;
        let current = match self.load(&name).await {
            // Whoever has nothing to do with it learns below that they have not.
            Err(SessionError::NoSession(_)) => None,
            loaded => Some(loaded?.hash()),
        };
        let owner = VerifyingKey::from_pem(&given.owner).map_err(|_| SessionError::Field {
            field: "owner",
            what: "is no public key (SPKI, PEM) of Ed25519 or P-384".into(),
        })?;
        let binding = Binding {
            owner: owner.clone(),
            session: name.to_string(),
            session_hash: current.map_or([0; 32], |hash| hash.0),
            grace: given.grace,
            secret: secret.to_string(),
            version: given.version,
        };
        let wrong = |what: String| SessionError::Field {
            field: "value",
            what,
        };
        let sealed = BASE64
            .decode(&given.value)
            .map_err(|_| wrong("is not base64".into()))?;
        let value = OwnerValue::from_bytes(&sealed)
            .and_then(|value| value.open(&self.encryption, &binding))
            .map_err(|error| wrong(error.to_string()))?;
        // Only now is the owner somebody who asks.
        let mut asker = asker.clone();
        asker.signers.insert(owner);
        let loaded = self
            .permitted(&name, Operation::Update, SessionOperation::Update, &asker)
            .await?;
        let held = held(&loaded, &secret)?;
        let next = held.value.current().number + 1;
        if given.version != next {
            return Err(SessionError::Moved {
                name: format!("{name}:{secret}"),
                current: held.value.current().number.to_string(),
                given: given.version.saturating_sub(1).to_string(),
            });
        }
        let kind = held.value.current().value.kind();
        let text = std::str::from_utf8(&value)
            .map_err(|_| wrong("is no text: write binary values as hex".into()))?;
        let value = Given::parse(kind, text)
            .map_err(|error| wrong(error.to_string()))?
            .value()
            .clone();
        self.replace(&loaded, &secret, value, given.grace, &asker, true)
            .await?;
        Ok(lines(&*self.load(&name).await?))
    }

    async fn replace(
        &self,
        loaded: &Loaded,
        secret: &SecretName,
        value: mse_secrets::Value,
        grace: u64,
        asker: &Asker,
        is_given: bool,
    ) -> Result<(), SessionError> {
        if loaded.is_revoked() {
            return Err(SessionError::Revoked(loaded.session.name.to_string()));
        }
        let grace = match grace {
            0 => None,
            seconds => Some(format!("{seconds}s").parse::<Validity>().map_err(|error| {
                SessionError::Field {
                    field: "grace",
                    what: error.to_string(),
                }
            })?),
        };
        held(loaded, secret)?;
        let mut vault = loaded.vault.clone();
        let mut write = Write::new();
        if let Some(held) = vault.secrets.get_mut(secret) {
            let version = held.rotate(value, SystemTime::now(), grace);
            held.is_given = is_given;
            let name = &loaded.session.name;
            write = write.audit(rotated(name, loaded.hash(), secret, version, asker.actor()));
        }
        self.replace_vault(loaded, &vault, write).await
    }
}

fn held<'a>(
    loaded: &'a Loaded,
    secret: &SecretName,
) -> Result<&'a super::vault::Held, SessionError> {
    loaded
        .vault
        .secrets
        .get(secret)
        .ok_or_else(|| SessionError::NoSecret {
            session: loaded.session.name.to_string(),
            secret: secret.to_string(),
            what: "of its own",
        })
}

fn lines(loaded: &Loaded) -> Lines {
    let time = |time: SystemTime| Timestamp::try_from(time).ok();
    let lines = loaded
        .session
        .secrets
        .iter()
        .map(|secret| {
            let held = loaded.vault.secrets.get(&secret.name);
            let value = loaded.values.get(&secret.name);
            Line {
                name: secret.name.clone(),
                kind: secret.kind.or_else(|| value.map(mse_secrets::Value::kind)),
                source: match &secret.source {
                    _ if held.is_some_and(|held| held.is_given) => "given",
                    SecretSource::Generated(_) => "generated",
                    SecretSource::Explicit(_) => "explicit",
                    SecretSource::Imported(_) => "imported",
                    SecretSource::Vault(_) | SecretSource::External(_) => "external",
                },
                version: held.map_or(0, |held| held.value.current().number),
                grace_until: held
                    .and_then(|held| held.value.grace_until())
                    .filter(|until| *until > SystemTime::now())
                    .and_then(time),
                renew_at: value.and_then(mse_secrets::Value::renew_at).and_then(time),
            }
        })
        .collect();
    Lines {
        session_hash: loaded.hash(),
        secrets: lines,
    }
}

fn names(session: &str, secret: &str) -> Result<(SessionName, SecretName), SessionError> {
    let wrong = |field, error: mse_session::InvalidName| SessionError::Field {
        field,
        what: error.to_string(),
    };
    Ok((
        session.parse().map_err(|error| wrong("session", error))?,
        secret.parse().map_err(|error| wrong("secret", error))?,
    ))
}
