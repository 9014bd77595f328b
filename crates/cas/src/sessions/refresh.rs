//! Values that are kept outside of the CAS, fetched again when their time has come: in the background,
//! so that nobody waits for a store that is slow or away. Until then the value before is used.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, stream};

use mse_session::SessionName;
use tokio::time::timeout;

use super::Sessions;
use super::error::SessionError;
use super::load::rotated;
use super::vault::Fetch;
use crate::sources::{Freshness, Wanted};
use crate::store::Write;

/// So many sessions are seen to at once, each for so long: a slow store of one is not the others'.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
/// When to fetch again, if it failed, in seconds.
const AGAIN: u64 = 60;

/// Which sessions have values that are to be fetched again, and when: those that were used.
#[derive(Default)]
pub(super) struct Refresh(Mutex<BTreeMap<SessionName, u64>>);

impl Refresh {
    /// Takes in what was seen of a session: seconds since 1970.
    pub(super) fn note(&self, name: &SessionName, at: Option<u64>) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match at {
            // What was put off after a failure stays put off.
            Some(at) => {
                sessions.entry(name.clone()).or_insert(at);
            }
            None => {
                sessions.remove(name);
            }
        }
    }

    /// Takes out those whose time has come.
    fn due(&self, now: u64) -> Vec<SessionName> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = sessions.extract_if(.., |_, at| *at <= now);
        due.map(|(name, _)| name).collect()
    }

    fn put_off(&self, name: &SessionName, until: u64) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(name.clone(), until);
    }
}

impl Sessions {
    /// Fetches what is due. To be called every few seconds.
    pub async fn refresh_due(&self) {
        let now = SystemTime::now();
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let due = stream::iter(self.refresh.due(seconds));
        due.for_each_concurrent(AT_ONCE, |name| async move {
            let why = match timeout(PATIENCE, self.refresh_session(&name, now, seconds)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("it takes more than {} s", PATIENCE.as_secs()),
            };
            tracing::warn!(session = %name, why, "values that are kept outside cannot be fetched; those before are used");
            self.refresh.put_off(&name, seconds + AGAIN);
        })
        .await;
    }

    async fn refresh_session(
        &self,
        name: &SessionName,
        now: SystemTime,
        seconds: u64,
    ) -> Result<(), SessionError> {
        let loaded = self.load(name).await?;
        if loaded.is_revoked() {
            return Ok(());
        }
        let mut vault = loaded.vault.clone();
        let mut write = Write::new();
        for wanted in Wanted::all(&loaded.session) {
            let secret = &wanted.secret.name;
            let Some(held) = vault.secrets.get_mut(secret) else {
                continue;
            };
            let known = held.fetched;
            let is_due =
                known.is_some_and(|fetched| fetched.refresh_at.is_some_and(|at| at <= seconds));
            if !is_due || held.is_given {
                continue;
            }
            let version = known.and_then(|fetched| fetched.version);
            let fetched = match self
                .sources
                .fetch(name, wanted, &loaded.values, version)
                .await
            {
                Ok(fetched) => fetched,
                // The others of this session are fetched all the same.
                Err(error) => {
                    tracing::warn!(session = %name, %secret, %error, "a value that is kept outside cannot be fetched; the one before is used");
                    if let Some(fetched) = &mut held.fetched {
                        fetched.refresh_at = Some(seconds + AGAIN);
                    }
                    continue;
                }
            };
            let freshness = Freshness {
                version: fetched.version,
                refresh_after: fetched.refresh_after,
            };
            held.fetched = Some(Fetch::at(freshness, now));
            if held.value.current().value.to_bytes() != fetched.value.to_bytes() {
                let version = held.rotate(fetched.value, now, None);
                write = write.audit(rotated(name, loaded.hash(), secret, version, None));
            }
        }
        self.replace_vault(&loaded, &vault, write).await?;
        self.refresh.note(name, vault.refresh_at());
        Ok(())
    }
}
