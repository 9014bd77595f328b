//! What happens, for logs and metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::Serialize;

use crate::cache::CacheError;
use crate::fetcher::Freshness;
use crate::transport::FetchError;

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A service answered.
    Fetched {
        /// What was asked for.
        url: &'a str,
        /// When the answer is out of date.
        expires: SystemTime,
    },
    /// A service did not answer, or not well.
    Failed {
        /// What was asked for.
        url: &'a str,
        /// Why.
        error: &'a FetchError,
    },
    /// A document was given to who wanted it.
    Served {
        /// Where it is from.
        url: &'a str,
        /// How it came here.
        freshness: Freshness,
    },
    /// The cache could not be used.
    Cache {
        /// Why.
        error: &'a CacheError,
    },
}

/// Who is told.
pub trait Observer: Send + Sync {
    /// Called within the work: it must not block.
    fn see(&self, event: &Event<'_>);
}

/// Nobody.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn see(&self, _: &Event<'_>) {}
}

/// Counts, for a metrics endpoint, and logs what went wrong.
#[derive(Debug, Default)]
pub struct Counters {
    fetched: AtomicU64,
    failed: AtomicU64,
    cached: AtomicU64,
    stale: AtomicU64,
    cache_problems: AtomicU64,
}

/// The counts at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Answers of services that were used.
    pub fetched: u64,
    /// Requests to services that failed for good.
    pub failed: u64,
    /// Documents served from memory or disk.
    pub cached: u64,
    /// Documents served though they were out of date.
    pub stale: u64,
    /// Cache entries that could not be read or written.
    pub cache_problems: u64,
}

impl Counters {
    /// The counts now.
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            fetched: of(&self.fetched),
            failed: of(&self.failed),
            cached: of(&self.cached),
            stale: of(&self.stale),
            cache_problems: of(&self.cache_problems),
        }
    }
}

impl Observer for Counters {
    fn see(&self, event: &Event<'_>) {
        let counter = match event {
            Event::Fetched { url, expires } => {
                tracing::debug!(url, ?expires, "collateral fetched");
                &self.fetched
            }
            Event::Failed { error, .. } => {
                tracing::warn!(%error, "collateral cannot be fetched");
                &self.failed
            }
            Event::Served {
                url,
                freshness: Freshness::Stale,
            } => {
                tracing::warn!(url, "collateral served that is out of date");
                &self.stale
            }
            Event::Served {
                freshness: Freshness::Cached,
                ..
            } => &self.cached,
            Event::Served { .. } => return,
            Event::Cache { error } => {
                tracing::warn!(%error, "the collateral cache has a flaw");
                &self.cache_problems
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
