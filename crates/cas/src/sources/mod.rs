//! Values that a session keeps outside: in a key-value store over HTTPS, or on a token behind
//! PKCS#11.
//!
//! [`Sources::make`] gives all values of a session: what the CAS makes, and what it fetches, in
//! rounds, for what opens one source (a token, a PIN) may itself be made, given, or fetched.
//! [`Sources::fetch`] fetches one value, again and again where [`Fetched::refresh_after`] says so.
//!
//! The session says where a value is and what opens it. The operator of the CAS says what may be
//! reached at all ([`SourcesConfig`]): which libraries there are, and which sessions may use which
//! token.

mod config;
mod error;
mod kv;
mod pkcs11;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use mse_crypto::Zeroizing;
use mse_secrets::{Given, Kind, Value};
use mse_session::{External, Secret, SecretName, SecretSource, Session, SessionName};

pub use self::config::{KvConfig, ModuleConfig, SourcesConfig, TokenConfig};
pub use self::error::{GatherError, SourceError};
use self::kv::Kv;
use self::pkcs11::Pkcs11;
use crate::values::{Imports, Values};

/// How many values one session may keep outside: each costs somebody a request.
pub const MAX_EXTERNALS: usize = 64;
/// How many are fetched at the same time for one session.
const AT_ONCE: usize = 8;

/// What values are fetched from. One for the whole CAS.
pub struct Sources {
    kv: Kv,
    pkcs11: Pkcs11,
}

/// A secret that is kept outside.
#[derive(Clone, Copy)]
pub struct Wanted<'s> {
    /// The secret.
    pub secret: &'s Secret,
    /// Its kind.
    pub kind: Kind,
    /// Where its value is.
    pub external: &'s External,
}

impl<'s> Wanted<'s> {
    /// The secret, if it is one that is kept outside.
    pub fn of(secret: &'s Secret) -> Option<Self> {
        match (&secret.source, secret.kind) {
            (SecretSource::External(external), Some(kind)) => Some(Self {
                secret,
                kind,
                external,
            }),
            _ => None,
        }
    }

    /// All of a session, in its order. What one needs first is [`External::credential`].
    pub fn all(session: &'s Session) -> impl Iterator<Item = Self> {
        session.secrets.iter().filter_map(Self::of)
    }
}

/// A value that was fetched.
#[derive(Clone)]
pub struct Fetched {
    /// The value.
    pub value: Value,
    /// Its number, where the source counts versions.
    pub version: Option<u64>,
    /// When it is to be fetched again. None: it stays as it is.
    pub refresh_after: Option<Duration>,
}

/// All values of a session.
pub struct Gathered {
    /// The values.
    pub values: Values,
    /// Of those that were fetched: version, and when to fetch again.
    pub fetched: BTreeMap<SecretName, Freshness>,
}

/// The version of a session that another takes the place of.
#[derive(Clone, Copy)]
pub struct Before<'b> {
    /// What it said.
    pub session: &'b Session,
    /// Its values.
    pub values: &'b Values,
    /// [`Gathered::fetched`] of then, or of a later [`Sources::fetch`].
    pub fetched: &'b BTreeMap<SecretName, Freshness>,
}

impl Before<'_> {
    /// The version of a secret that is kept in the same place as now.
    fn version(&self, secret: &Secret) -> Option<u64> {
        let before = self.session.secret(&secret.name)?;
        if before.source != secret.source {
            return None;
        }
        self.fetched.get(&secret.name)?.version
    }
}

/// [`Fetched`] without the value: what is kept for the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Its number, where the source counts versions.
    pub version: Option<u64>,
    /// When it is to be fetched again. None: it stays as it is.
    pub refresh_after: Option<Duration>,
}

impl Sources {
    /// Sources as the operator allows them. No library is loaded before it is needed.
    pub fn new(config: SourcesConfig) -> Self {
        Self {
            kv: Kv::new(config.kv),
            pkcs11: Pkcs11::new(config.modules),
        }
    }

    /// Makes and fetches the values of all secrets of `session` at `now`; what [`Values::make`]
    /// does for a session that keeps nothing outside. What was kept in the same place `before` must
    /// not have become older.
    pub async fn make(
        &self,
        session: &Session,
        before: Option<Before<'_>>,
        imports: &(impl Imports + Sync),
        now: SystemTime,
    ) -> Result<Gathered, GatherError> {
        let count = Wanted::all(session).count();
        if count > MAX_EXTERNALS {
            return Err(GatherError::TooMany(count));
        }
        let made_before = before.map(|before| (before.session, before.values));
        let mut values = Values::default();
        let mut freshness = BTreeMap::new();
        loop {
            let waiting = values.advance(session, made_before, imports, now)?;
            if waiting.is_empty() {
                return Ok(Gathered {
                    values,
                    fetched: freshness,
                });
            }
            let ready: Vec<_> = waiting
                .iter()
                .filter_map(|secret| Wanted::of(secret))
                .filter(|wanted| {
                    let credential = wanted.external.credential();
                    credential.is_none_or(|name| values.get(name).is_some())
                })
                .collect();
            if ready.is_empty() {
                return Err(Values::circle(&waiting).into());
            }
            // Boxed one by one: a closure that makes them is not general enough for callers that
            // are spawned.
            let mut requests: Vec<BoxFuture<'_, _>> = Vec::with_capacity(ready.len());
            for wanted in ready {
                let known = before.and_then(|before| before.version(wanted.secret));
                requests.push(self.one(&session.name, wanted, &values, known).boxed());
            }
            let round: Vec<(SecretName, Fetched)> = stream::iter(requests)
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?;
            for (name, fetched) in round {
                let Fetched {
                    value,
                    version,
                    refresh_after,
                } = fetched;
                values.put(name.clone(), value);
                let kept = Freshness {
                    version,
                    refresh_after,
                };
                freshness.insert(name, kept);
            }
        }
    }

    /// Fetches one value for the session of this name, whose other values are there.
    ///
    /// `known` is the version that was fetched before: an older one is refused, so that who runs
    /// the store cannot bring back what was replaced.
    pub async fn fetch(
        &self,
        session: &SessionName,
        wanted: Wanted<'_>,
        values: &Values,
        known: Option<u64>,
    ) -> Result<Fetched, SourceError> {
        let credential = match wanted.external.credential() {
            Some(name) => Some(text_of(values, name)?),
            None => None,
        };
        match wanted.external {
            External::Kv(import) => {
                let token = credential.unwrap_or_default();
                let read = self.kv.read(import, &token).await?;
                if let Some(known) = known.filter(|known| read.version < *known) {
                    return Err(SourceError::Older {
                        version: read.version,
                        known,
                    });
                }
                Ok(Fetched {
                    value: typed(wanted.kind, &read.text)?,
                    version: Some(read.version),
                    refresh_after: read.refresh_after,
                })
            }
            External::Pkcs11(import) => {
                let bytes = self.pkcs11.read(session, import, credential).await?;
                let text = match wanted.kind {
                    Kind::Binary => Zeroizing::new(hex::encode(&*bytes)),
                    _ => Zeroizing::new(
                        str::from_utf8(&bytes)
                            .map_err(|_| SourceError::NotText)?
                            .to_owned(),
                    ),
                };
                Ok(Fetched {
                    value: typed(wanted.kind, &text)?,
                    version: None,
                    refresh_after: None,
                })
            }
        }
    }

    async fn one(
        &self,
        session: &SessionName,
        wanted: Wanted<'_>,
        values: &Values,
        known: Option<u64>,
    ) -> Result<(SecretName, Fetched), GatherError> {
        let name = &wanted.secret.name;
        match self.fetch(session, wanted, values, known).await {
            Ok(fetched) => Ok((name.clone(), fetched)),
            Err(source) => Err(GatherError::Fetch {
                secret: name.clone(),
                source,
            }),
        }
    }
}

/// What is fetched is checked like what an owner writes into a session.
fn typed(kind: Kind, text: &str) -> Result<Value, SourceError> {
    Ok(Given::parse(kind, text)?.value().clone())
}

/// A token or a PIN.
fn text_of(values: &Values, name: &SecretName) -> Result<Zeroizing<String>, SourceError> {
    let missing = || SourceError::Credential(name.clone());
    let value = values
        .get(name)
        .filter(|value| value.kind() == Kind::Ascii)
        .ok_or_else(missing)?;
    let format = mse_secrets::Format::parse(Kind::Ascii, "").map_err(|_| missing())?;
    let bytes = mse_secrets::render(value, format).map_err(|_| missing())?;
    let text = str::from_utf8(&bytes).map_err(|_| missing())?;
    Ok(Zeroizing::new(text.to_owned()))
}
