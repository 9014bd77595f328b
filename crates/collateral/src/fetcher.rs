//! From a platform to its collateral: memory first, then the disk, then the service.

mod set;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore};

use crate::answer::Answer;
use crate::cache::{Cache, CacheError, Kept};
use crate::document::{Document, Edition, Reading};
use crate::observer::{Event, Observer, Unobserved};
use crate::platform::Fmspc;
use crate::refresh::{Due, Renew};
use crate::source::{BaseUrl, Sources};
use crate::transport::{FetchError, Limits, SetupError, Transport};

pub use set::Fetched;

/// How a [`Fetcher`] works.
#[derive(Clone)]
pub struct Options {
    /// Which TCB evaluation Intel is asked for.
    pub edition: Edition,
    /// Where answers are kept between runs, if they are.
    pub cache: Option<PathBuf>,
    /// A document that may change is asked for again after this time, though it is not out of
    /// date yet: vendors issue new ones before the old ones end.
    pub max_age: Duration,
    /// What a request may cost.
    pub limits: Limits,
    /// CA certificates (PEM or DER) that services are accepted by, besides the system's.
    pub roots: Vec<Vec<u8>>,
    /// What time it is.
    pub clock: Clock,
    /// Who is told what happens.
    pub observer: Arc<dyn Observer>,
}

impl Default for Options {
    /// The edition in force, no disk, a day, the default limits.
    fn default() -> Self {
        Self {
            edition: Edition::Standard,
            cache: None,
            max_age: Duration::from_hours(24),
            limits: Limits::default(),
            roots: Vec::new(),
            clock: Clock::system(),
            observer: Arc::new(Unobserved),
        }
    }
}

/// What time it is: given, so that tests need not wait.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// Another one.
    pub fn of(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

/// How a document came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    /// Asked for just now.
    Fetched,
    /// Kept from before, and not out of date.
    Cached,
    /// Out of date, and no newer one could be had. An appraisal at the present time refuses it.
    Stale,
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetched => "fetched",
            Self::Cached => "cached",
            Self::Stale => "stale",
        })
    }
}

/// Fetches collateral, each document once: from several places at once, only one asks.
///
/// Nothing that it gives is trusted: collateral is input to an appraisal.
pub struct Fetcher {
    sources: Sources,
    edition: Edition,
    max_age: Duration,
    transport: Transport,
    cache: Option<Cache>,
    cache_problem: Option<String>,
    clock: Clock,
    observer: Arc<dyn Observer>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    /// A document came that is to be renewed.
    came: Notify,
    upstream: Semaphore,
}

/// A document that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is from.
    pub url: String,
    /// The answer.
    pub answer: Arc<Answer>,
    /// The answer, understood.
    pub reading: Arc<Reading>,
    /// How it came here.
    pub freshness: Freshness,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

/// The place of one document in memory. Its lock is held while the document is fetched.
struct Slot {
    document: Document,
    state: AsyncMutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// The service does not know the document; it is not asked again before this time.
    missing_until: Option<SystemTime>,
}

#[derive(Clone)]
struct Held {
    answer: Arc<Answer>,
    reading: Arc<Reading>,
    fetched: SystemTime,
    renew_at: SystemTime,
}

impl Fetcher {
    /// A fetcher from `sources`. A cache folder that cannot be used is a warning with everything
    /// that is fetched, not a failure.
    pub fn new(sources: Sources, options: Options) -> Result<Self, SetupError> {
        let bases: Vec<&BaseUrl> = sources.bases().collect();
        let transport = Transport::new(&bases, &options.roots, options.limits)?;
        let (cache, cache_problem) = match options.cache.as_deref().map(Cache::open) {
            None => (None, None),
            Some(Ok(cache)) => (Some(cache), None),
            Some(Err(error)) => {
                options.observer.see(&Event::Cache { error: &error });
                (None, Some(error.to_string()))
            }
        };
        Ok(Self {
            sources,
            edition: options.edition,
            max_age: options.max_age,
            transport,
            cache,
            cache_problem,
            clock: options.clock,
            observer: options.observer,
            slots: Mutex::default(),
            came: Notify::new(),
            upstream: Semaphore::new(MAX_REQUESTS),
        })
    }

    /// The edition that is asked for unless a document says otherwise.
    pub fn edition(&self) -> Edition {
        self.edition
    }

    /// One document. `about` is the machine type that it is wanted for, as far as known.
    pub async fn document(
        &self,
        document: &Document,
        about: Option<Fmspc>,
    ) -> Result<Found, FetchError> {
        let url = self
            .sources
            .url(document, about)
            .ok_or_else(|| FetchError::NoSource {
                what: what(document).to_owned(),
            })?;
        let slot = self.slot(&url, document);
        let mut state = slot.state.lock().await;
        let now = self.clock.now();
        let mut warnings: Vec<String> = self.cache_problem.iter().cloned().collect();
        if state.held.is_none() {
            state.held = self.load(&url, document, now, &mut warnings).await;
        }
        let found = |held: &Held, freshness, warnings| {
            self.observer.see(&Event::Served {
                url: &url,
                freshness,
            });
            Found {
                url: url.clone(),
                answer: Arc::clone(&held.answer),
                reading: Arc::clone(&held.reading),
                freshness,
                warnings,
            }
        };
        if let Some(held) = state
            .held
            .as_ref()
            .filter(|held| self.is_fresh(held, document, now))
        {
            return Ok(found(held, Freshness::Cached, warnings));
        }
        if state.held.is_none() && state.missing_until.is_some_and(|until| now < until) {
            return Err(FetchError::NotFound { url });
        }
        let error = match self.fetch(&url, document, &mut warnings).await {
            Ok(held) => {
                let result = found(&held, Freshness::Fetched, warnings);
                *state = State {
                    held: Some(held),
                    missing_until: None,
                };
                drop(state);
                self.came.notify_one();
                return Ok(result);
            }
            Err(error) => error,
        };
        let Some(held) = &state.held else {
            state.missing_until = error.is_not_found().then(|| now + MISSING);
            return Err(error);
        };
        let freshness = if now < held.reading.expires {
            Freshness::Cached
        } else {
            Freshness::Stale
        };
        warnings.push(format!(
            "{error}; used instead: what was kept from before ({freshness})"
        ));
        Ok(found(held, freshness, warnings))
    }

    fn is_fresh(&self, held: &Held, document: &Document, now: SystemTime) -> bool {
        let young = document.is_immutable()
            || now
                .duration_since(held.fetched)
                .is_ok_and(|age| age < self.max_age);
        young && now < held.reading.expires
    }

    /// Asks the service, and keeps the answer.
    async fn fetch(
        &self,
        url: &str,
        document: &Document,
        warnings: &mut Vec<String>,
    ) -> Result<Held, FetchError> {
        let outcome = self.ask(url, document).await;
        match &outcome {
            Ok(held) => self.observer.see(&Event::Fetched {
                url,
                expires: held.reading.expires,
            }),
            Err(error) => self.observer.see(&Event::Failed { url, error }),
        }
        let held = outcome?;
        if let Some(cache) = self.cache.clone() {
            let kept = Kept {
                answer: (*held.answer).clone(),
                fetched: held.fetched,
            };
            let (url, expires) = (url.to_owned(), held.reading.expires);
            let stored =
                tokio::task::spawn_blocking(move || cache.store(&url, &kept, expires)).await;
            if let Ok(Err(error)) = stored {
                self.warn(&error, warnings);
            }
        }
        Ok(held)
    }

    async fn ask(&self, url: &str, document: &Document) -> Result<Held, FetchError> {
        // Never closed.
        let _permit = self.upstream.acquire().await;
        let answer = self.transport.get(url, document.chain_headers()).await?;
        let reading = document
            .read(&answer)
            .map_err(|source| FetchError::Answer {
                url: url.to_owned(),
                source,
            })?;
        Ok(Held::new(answer, reading, self.clock.now(), self.max_age))
    }

    /// What the disk has, if it is what it should be.
    async fn load(
        &self,
        url: &str,
        document: &Document,
        now: SystemTime,
        warnings: &mut Vec<String>,
    ) -> Option<Held> {
        let cache = self.cache.clone()?;
        let path = cache.path(url);
        let asked = url.to_owned();
        let loaded = tokio::task::spawn_blocking(move || cache.load(&asked, now)).await;
        let read = match loaded {
            Ok(Ok(None)) | Err(_) => return None,
            Ok(Err(error)) => Err(error),
            Ok(Ok(Some(kept))) => match document.read(&kept.answer) {
                Ok(reading) => Ok(Held::new(kept.answer, reading, kept.fetched, self.max_age)),
                Err(source) => Err(CacheError::Document { path, source }),
            },
        };
        read.map_err(|error| self.warn(&error, warnings)).ok()
    }

    fn warn(&self, error: &CacheError, warnings: &mut Vec<String>) {
        self.observer.see(&Event::Cache { error });
        warnings.push(error.to_string());
    }

    fn slot(&self, url: &str, document: &Document) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_SLOTS && !slots.contains_key(url) {
            // Whoever asks for so many documents gets them again from the disk.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let slot = slots.entry(url.to_owned()).or_insert_with(|| {
            Arc::new(Slot {
                document: document.clone(),
                state: AsyncMutex::default(),
            })
        });
        Arc::clone(slot)
    }

    fn known_slots(&self) -> Vec<(String, Arc<Slot>)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots
            .iter()
            .map(|(url, slot)| (url.clone(), Arc::clone(slot)))
            .collect()
    }
}

impl Held {
    fn new(answer: Answer, reading: Reading, fetched: SystemTime, max_age: Duration) -> Self {
        let life = reading
            .expires
            .duration_since(fetched)
            .unwrap_or_default()
            .min(max_age.max(MIN_LIFE));
        Self {
            answer: Arc::new(answer),
            renew_at: fetched.checked_add(renewal_after(life)).unwrap_or(fetched),
            reading: Arc::new(reading),
            fetched,
        }
    }
}

/// Two thirds of a life, and up to a tenth of it earlier, so that documents which came together
/// are not renewed together.
fn renewal_after(life: Duration) -> Duration {
    let part = getrandom::u32().map_or(0.0, |random| f64::from(random) / f64::from(u32::MAX));
    life.mul_f64(2.0 / 3.0 - part / 10.0)
}

impl Renew for Fetcher {
    type Error = FetchError;

    fn schedule(&self) -> Vec<Due> {
        self.known_slots()
            .into_iter()
            .filter(|(_, slot)| !slot.document.is_immutable())
            .filter_map(|(url, slot)| {
                // What is locked is being fetched.
                let state = slot.state.try_lock().ok()?;
                let at = state.held.as_ref()?.renew_at;
                Some(Due { key: url, at })
            })
            .collect()
    }

    async fn renew(&self, key: &str) -> Result<(), FetchError> {
        let slot = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get(key).map(Arc::clone)
        };
        let Some(slot) = slot else {
            return Ok(());
        };
        // Not under the lock: who asks meanwhile gets what is there.
        let held = self.fetch(key, &slot.document, &mut Vec::new()).await?;
        slot.state.lock().await.held = Some(held);
        Ok(())
    }

    async fn changed(&self) {
        self.came.notified().await;
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }
}

/// Names the service for a message.
fn what(document: &Document) -> &'static str {
    match document {
        Document::TcbInfo { .. }
        | Document::QeIdentity { .. }
        | Document::PckCrl(_)
        | Document::RootCaCrl => "collateral for SGX and TDX",
        Document::Vcek { .. } | Document::AmdChain(..) | Document::AmdCrl(..) => {
            "certificates for SEV-SNP"
        }
    }
}

/// How long a service is not asked again for what it does not know.
const MISSING: Duration = Duration::from_secs(60);
/// Requests at once.
const MAX_REQUESTS: usize = 8;
/// Documents in memory.
const MAX_SLOTS: usize = 1024;
/// However short-lived a document is, it is not renewed all the time.
const MIN_LIFE: Duration = Duration::from_secs(60);
